"""How many predictions may be inside one worker process, whose they may be, and how many may compute in its threads.

Without a bound, predictions take every thread of the worker: ``/health`` waits behind them, and each client waits
longer than the one before until all have given up. With it, a bounded number is inside, and the rest is refused at
once, so that the accepted ones keep their latency.

A place is held while a request is inside (``Places``); it costs a thread, hardly any processor time. What computes in
the request's own thread needs a turn besides (``Turns``), of which there are as many as cores. The encoder and the
extractor compute elsewhere, behind queues of their own (``service/engines/worker``), so that a millisecond's work never
waits behind theirs.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from service.admission import deadline
from service.admission.client import Client
from service.admission.errors import ClientGoneError, EngineTimeoutError
from service.admission.fair_order import FairOrder, rank_of

# Weight of the newest prediction in the running mean of durations, from which Retry-After is estimated.
_NEWEST = 0.1
_LONGEST_RETRY = 30  # seconds
# A client, or all dear work together, may hold so many times the places that are free: three quarters of all if it is
# alone, less the more others hold (Choudhury and Hahne, "Dynamic Queue Length Thresholds", 1998).
_SHARE = 3
_CLIENT_CHECK = 0.25  # seconds between two checks whether a client that waits for its turn is still there


def retry_after(seconds: float) -> int:
    """A ``Retry-After`` value for so many seconds: whole, at least 1, at most 30."""
    return max(1, min(_LONGEST_RETRY, math.ceil(seconds)))


class OverloadedError(Exception):
    """There is no place left. ``retry_after``: seconds in which the current queue should have been served."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class Place:
    """A place that ``client`` holds, until it calls ``leave``."""

    def __init__(self, places: "Places", client: Client) -> None:
        self.client = client
        self.is_dear = False
        self.is_held = True
        self.began = time.monotonic()
        self._places = places

    def make_dear(self) -> None:
        """The request turns out to be one for the encoder or the extractor.

        Raises:
            OverloadedError: such requests hold too many places.
        """
        self._places.make_dear(self)

    def leave(self) -> None:
        """Give the place back; nothing happens the second time."""
        self._places.leave(self)


class Places:
    """The places for requests inside. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}  # by client
        self._inside = 0
        self._dear = 0
        self._mean_duration = 0.0

    @property
    def inside(self) -> int:
        """Places that are held now."""
        return self._inside

    def take(self, client: Client, *, dear: bool = False) -> Place:
        """A place for a request of ``client``; see ``Place.make_dear`` for ``dear``.

        Raises:
            OverloadedError: there is none, or the client or dear work holds too many.
        """
        with self._lock:
            if self._inside >= self.capacity:
                raise OverloadedError(
                    f"all {self.capacity} places are taken", retry_after(self._mean_duration)
                )
            held = self._held.get(client.name, 0)
            free = self.capacity - self._inside
            self._require(
                held, free, f"{held} of {self.capacity} places are this client's, as many as it may hold now"
            )
            place = Place(self, client)
            if dear:
                self._count_dear(place, free)
            self._inside += 1
            self._held[client.name] = held + 1
            return place

    def make_dear(self, place: Place) -> None:
        """See ``Place.make_dear``."""
        with self._lock:
            if not place.is_dear:
                # Its own place counts as free, as when it came.
                self._count_dear(place, self.capacity - self._inside + 1)

    def leave(self, place: Place) -> None:
        """See ``Place.leave``."""
        with self._lock:
            if not place.is_held:
                return
            place.is_held = False
            self._inside -= 1
            self._dear -= place.is_dear
            self._held[place.client.name] -= 1
            if not self._held[place.client.name]:
                del self._held[place.client.name]
            self._mean_duration += _NEWEST * (time.monotonic() - place.began - self._mean_duration)

    def _count_dear(self, place: Place, free: int) -> None:
        self._require(
            self._dear, free, f"{self._dear} of {self.capacity} places are held by requests for a large model"
        )
        place.is_dear = True
        self._dear += 1

    def _require(self, held: int, free: int, otherwise: str) -> None:
        if held >= _SHARE * free:
            raise OverloadedError(otherwise, retry_after(self._mean_duration))


_arrived: ContextVar[Place | None] = ContextVar("arrived", default=None)


@contextmanager
def arrived_with(place: Place | None) -> Iterator[None]:
    """In this block, in this thread, a request is served that already holds ``place``, if it is not None."""
    token = _arrived.set(place)
    try:
        yield
    finally:
        _arrived.reset(token)
        if place is not None:
            place.leave()


def place_on_arrival() -> Place | None:
    """The place that the request in this thread has held since it arrived, or None."""
    place = _arrived.get()
    return place if place is not None and place.is_held else None


class _Waiter:
    def __init__(self, work: float) -> None:
        self.work = work
        self.granted = threading.Event()


class Turns:
    """``count`` turns to compute in the request's own thread, in a fair order. Thread-safe."""

    def __init__(
        self, count: int, wait: float, waiting_changed: Callable[[int], None] = lambda _: None
    ) -> None:
        """``wait``: seconds after which a request that waits is refused. ``waiting_changed`` is called with the number
        that wait."""
        self._free = count
        self._count = count
        self._wait = wait
        self._waiting_changed = waiting_changed
        self._order: FairOrder[_Waiter] = FairOrder()
        self._lock = threading.Lock()
        self._rate = 0.0  # work a second

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn now."""
        return len(self._order)

    @contextmanager
    def turn(self, client: Client, work: float) -> Iterator[float]:
        """Hold a turn for the duration of the block, in which so much ``work`` is done. Yields the seconds waited.

        Raises:
            OverloadedError: the wait was too long. ClientGoneError: the client left meanwhile. EngineTimeoutError: the
            prediction's time is over.
        """
        arrived = time.monotonic()
        self._begin(client, work, arrived)
        began = time.monotonic()
        try:
            yield began - arrived
        finally:
            self._end(work, time.monotonic() - began)

    def _begin(self, client: Client, work: float, arrived: float) -> None:
        waiter = _Waiter(work)
        with self._lock:
            seconds = work / self._rate if self._rate else 0.0
            self._order.add(waiter, client.name, rank_of(arrived, seconds, self._wait / 2))
            if self._free:
                # Nobody else waits: whoever frees a turn hands it on.
                self._free -= 1
                self._grant(waiter)
                return
            self._waiting_changed(len(self._order))
        try:
            self._until_granted(waiter, client, arrived)
        except BaseException:
            with self._lock:
                if waiter in self._order:
                    self._order.remove(waiter)
                    self._waiting_changed(len(self._order))
                else:
                    self._hand_on()
            raise

    def _until_granted(self, waiter: _Waiter, client: Client, arrived: float) -> None:
        ends = arrived + self._wait
        while not waiter.granted.wait(
            min(_CLIENT_CHECK, deadline.at_most(max(0.0, ends - time.monotonic())))
        ):
            if client.is_gone():
                raise ClientGoneError
            if deadline.remaining() == 0.0:
                raise EngineTimeoutError("the time of this prediction is over")
            if time.monotonic() >= ends:
                raise OverloadedError(f"no turn came within {self._wait:g} s", retry_after(self._wait / 2))

    def _end(self, work: float, seconds: float) -> None:
        with self._lock:
            self._rate += (_NEWEST if self._rate else 1.0) * (work / max(seconds, 1e-6) - self._rate)
            self._hand_on()

    def _hand_on(self) -> None:
        if not len(self._order):
            self._free += 1
            return
        self._grant(self._order.first())
        self._waiting_changed(len(self._order))

    def _grant(self, waiter: _Waiter) -> None:
        self._order.charge(waiter, waiter.work)
        self._order.remove(waiter)
        waiter.granted.set()
