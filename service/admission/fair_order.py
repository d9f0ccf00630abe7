"""Whose work is next: the client that has been served least, and of its own requests the one of the lowest rank.

Without it whoever asks for most gets most: a client that sends eight long texts at a time, again and again, leaves
nothing to one that sends a short text now and then. Pure: no clock and no thread, so the order can be tested in
simulated time.

Work is counted as in start-time fair queuing (Goyal, Vin and Cheng, SIGCOMM 1996): a client that comes anew begins at
the virtual time, which grows by each piece of work divided by the number of clients that want some. So who was away has
no claim to what others used meanwhile, and who went away and came back at once is not served as if new.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")

# Clients that are remembered although nothing of theirs waits; the least served of more are forgotten.
_MOST_ABSENT = 1024
# A request gives way to shorter ones that come up to so many times its own duration later.
_GIVES_WAY = 4.0


def rank_of(arrived: float, seconds: float, longest: float) -> float:
    """The rank of a request that arrived at ``arrived`` (seconds of any clock) and takes about ``seconds``: the shorter
    first, but each only for a while, at most ``longest`` seconds. With time a long one precedes every newer one."""
    return arrived + min(_GIVES_WAY * seconds, longest)


@dataclass(eq=False)
class _Place(Generic[ItemT]):
    item: ItemT
    client: str
    rank: float


class FairOrder(Generic[ItemT]):
    """Items that wait, of several clients. Not thread-safe."""

    def __init__(self) -> None:
        self._places: dict[int, _Place[ItemT]] = {}
        self._counts: dict[str, int] = {}  # of the items of each client that waits
        self._served: dict[str, float] = {}
        self._virtual = 0.0
        self._in_hand = 0.0

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[ItemT]:
        return (place.item for place in self._places.values())

    def __contains__(self, item: object) -> bool:
        return id(item) in self._places

    def add(self, item: ItemT, client: str, rank: float) -> None:
        """``item`` waits, of ``client``; of its items that of the lowest ``rank`` is first."""
        if client not in self._counts:
            self._served[client] = max(self._virtual, self._served.get(client, 0.0))
        self._counts[client] = self._counts.get(client, 0) + 1
        self._places[id(item)] = _Place(item, client, rank)

    def remove(self, item: ItemT) -> None:
        """``item`` waits no longer; nothing happens if it did not wait."""
        place = self._places.pop(id(item), None)
        if place is None:
            return
        self._counts[place.client] -= 1
        if not self._counts[place.client]:
            del self._counts[place.client]
            self._forget()

    def first(self) -> ItemT:
        """The item that is next. There must be one."""
        served = self._served
        return min(self._places.values(), key=lambda place: (served[place.client], place.rank)).item

    def charge(self, item: ItemT, work: float) -> None:
        """So much ``work`` is about to be done for ``item``, which waits."""
        self._served[self._places[id(item)].client] += work
        # What is in hand counts with the next piece only: until then whoever comes anew is before all who are served.
        self._virtual += self._in_hand
        self._in_hand = work / len(self._counts)

    def settle(self, client: str, work: float) -> None:
        """What was charged to ``client`` turned out to be so much more work, or less if negative."""
        if work > 0 or client in self._served:
            self._served[client] = max(self._virtual, self._served.get(client, self._virtual)) + work

    def ahead(self, client: str, rank: float, work: Callable[[ItemT], float]) -> float:
        """The work that would be done before that of another item, about: the client's own of lower ranks, and of each
        other client as much again, if it has so much. ``work`` tells that of an item."""
        own = sum(
            work(place.item)
            for place in self._places.values()
            if place.client == client and place.rank <= rank
        )
        debt = max(0.0, self._served.get(client, 0.0) - self._virtual)
        total = own
        for other in self._counts:
            if other != client:
                theirs = sum(work(place.item) for place in self._places.values() if place.client == other)
                total += min(theirs, own + debt)
        return total

    def _forget(self) -> None:
        absent = [client for client in self._served if client not in self._counts]
        for client in absent:
            if self._served[client] <= self._virtual:
                del self._served[client]
        absent = [client for client in absent if client in self._served]
        for client in sorted(absent, key=self._served.__getitem__)[: max(0, len(absent) - _MOST_ABSENT)]:
            del self._served[client]
