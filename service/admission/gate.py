"""How many predictions may be inside one worker process, whose they may be, and how many may compute in its threads.

Without a bound, predictions take every thread of the worker: ``/health`` waits behind them, and each client waits
longer than the one before until all have given up. With it, a bounded number is inside, and the rest is refused at
once, so that the accepted ones keep their latency.

A place is held while a request is inside (``Places``); it costs a thread, hardly any processor time. To do anything in
that thread, parsing included, a request needs a turn besides (``Turns``), of which there are as many as cores: of
threads that all want the interpreter lock each gets it rarely, and the main loop, which answers ``/health`` and
refuses, is only one of them. The encoder and the extractor compute elsewhere, behind queues of their own
(``service/engines/worker``): who waits there has no turn any more, so that a millisecond's work never waits behind
theirs.
"""

import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from service.admission import deadline
from service.admission.client import Client
from service.admission.errors import ClientGoneError, DeadlineError, EngineTimeoutError
from service.admission.fair_order import FairOrder, rank_of

# Weight of the newest prediction in the running mean of durations, from which Retry-After is estimated.
_NEWEST = 0.1
_LONGEST_RETRY = 30  # seconds
# A client, or all dear work together, may hold so many times the places that are free: three quarters of all if it is
# alone, less the more others hold (Choudhury and Hahne, "Dynamic Queue Length Thresholds", 1998).
_SHARE = 3
# Seconds of a turn that a client is charged for at most before it has used them.
_MOST_CHARGED = 0.1
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


@functools.lru_cache
def _all_taken(capacity: int, seconds: int) -> OverloadedError:
    return OverloadedError(f"all {capacity} places are taken", seconds)


class Place:
    """A place that ``client`` holds, until it calls ``leave``."""

    def __init__(self, places: "Places", client: Client) -> None:
        self.client = client
        self.is_dear = False
        self.is_held = True
        self.began = time.monotonic()
        self._places = places
        self._turn: Turn | None = None
        self._take_turn: Callable[[], Turn] | None = None
        self._missed: Exception | None = None

    def make_dear(self) -> None:
        """The request turns out to be one for the encoder or the extractor.

        Raises:
            OverloadedError: such requests hold too many places.
        """
        self._places.make_dear(self)

    def wait_for_turn(self, turns: "Turns", size: int) -> None:
        """Take a turn for a request of so many bytes. If none comes, ``require_turn`` says why."""
        self._take_turn = partial(turns.take, self.client, size)
        try:
            self._turn = self._take_turn()
        except (OverloadedError, ClientGoneError, EngineTimeoutError) as error:
            self._missed = error

    def require_turn(self) -> float:
        """The seconds that the request waited for its turn.

        Raises:
            OverloadedError: the wait was too long. ClientGoneError: the client left meanwhile.
        """
        if self._missed is not None:
            raise self._missed
        return self._turn.waited if self._turn else 0.0

    def end_turn(self) -> bool:
        """Let others compute; nothing happens the second time. Returns whether there was a turn to end."""
        return self._turn is not None and self._turn.end()

    def take_turn_again(self) -> None:
        """Wait for another turn, after one that has ended.

        Raises:
            OverloadedError, ClientGoneError, EngineTimeoutError: as ``Turns.take``.
        """
        if self._take_turn is not None:
            self._turn = self._take_turn()

    def leave(self) -> None:
        """Give the place back, and the turn; nothing happens the second time."""
        self.end_turn()
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

    def overload(self) -> OverloadedError | None:
        """What a request is refused with, whoever sends it; None: there is a place. Not to be raised: under overload
        it is the same for each."""
        if self._inside < self.capacity:
            return None
        return _all_taken(self.capacity, retry_after(self._mean_duration))

    def take(self, client: Client, *, dear: bool = False) -> Place:
        """A place for a request of ``client``; see ``Place.make_dear`` for ``dear``.

        Raises:
            OverloadedError: there is none, or the client or dear work holds too many.
        """
        with self._lock:
            overload = self.overload()
            if overload is not None:
                raise OverloadedError(overload.detail, overload.retry_after)
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
def arrived_with(place: Place, turns: "Turns", size: int) -> Iterator[Place]:
    """In this block, in this thread, a request of so many bytes is served that holds ``place``, in its turn."""
    token = _arrived.set(place)
    try:
        place.wait_for_turn(turns, size)
        yield place
    finally:
        _arrived.reset(token)
        place.leave()


def place_on_arrival() -> Place | None:
    """The place that the request in this thread has held since it arrived, or None."""
    place = _arrived.get()
    return place if place is not None and place.is_held else None


def end_turn() -> bool:
    """The request in this thread is about to wait for something else than a turn: let others compute. Returns whether
    it had one."""
    place = _arrived.get()
    return place is not None and place.end_turn()


def take_turn_again() -> None:
    """The request in this thread goes on computing after ``end_turn``.

    Raises:
        OverloadedError, ClientGoneError, EngineTimeoutError: as ``Turns.take``.
    """
    place = _arrived.get()
    if place is not None:
        place.take_turn_again()


class _Waiter:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.granted = threading.Event()


class Turn:
    """A turn that was granted after ``waited`` seconds, until ``end`` is called, in the same thread."""

    def __init__(self, end: Callable[[float], None], waited: float) -> None:
        self.waited = waited
        self._began = time.monotonic()
        self._end: Callable[[float], None] | None = end

    def end(self) -> bool:
        """Let others compute; nothing happens the second time. Returns whether this is the first."""
        end, self._end = self._end, None
        if end is None:
            return False
        end(time.monotonic() - self._began)
        return True


class Turns:
    """``count`` turns to compute in the request's own thread, in a fair order. Thread-safe."""

    def __init__(
        self, count: int, wait: float, waiting_changed: Callable[[int], None] = lambda _: None
    ) -> None:
        """``wait``: seconds after which a request that waits is refused. ``waiting_changed`` is called with the number
        that wait."""
        self._free = count
        self._wait = wait
        self._waiting_changed = waiting_changed
        self._order: FairOrder[_Waiter] = FairOrder()
        self._lock = threading.Lock()
        self._seconds_per_byte = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn now."""
        return len(self._order)

    def take(self, client: Client, size: int) -> Turn:
        """Wait for a turn, for a request of so many bytes.

        Raises:
            OverloadedError: the wait was too long. ClientGoneError: the client left meanwhile. EngineTimeoutError: the
            prediction's time is over.
        """
        arrived = time.monotonic()
        seconds = size * self._seconds_per_byte
        # How long it takes is known only afterwards: a request may be large and leave its work to the encoder.
        charged = min(seconds, _MOST_CHARGED)
        self._begin(client, charged, rank_of(arrived, seconds, self._wait / 2), arrived)

        def end(took: float) -> None:
            with self._lock:
                if size:
                    self._seconds_per_byte += (_NEWEST if self._seconds_per_byte else 1.0) * (
                        took / size - self._seconds_per_byte
                    )
                self._order.settle(client.name, took - charged)
                self._hand_on()

        return Turn(end, time.monotonic() - arrived)

    def _begin(self, client: Client, seconds: float, rank: float, arrived: float) -> None:
        waiter = _Waiter(seconds)
        with self._lock:
            self._order.add(waiter, client.name, rank)
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
                raise DeadlineError()
            if time.monotonic() >= ends:
                raise OverloadedError(f"no turn came within {self._wait:g} s", retry_after(self._wait / 2))

    def _hand_on(self) -> None:
        if not len(self._order):
            self._free += 1
            return
        self._grant(self._order.first())
        self._waiting_changed(len(self._order))

    def _grant(self, waiter: _Waiter) -> None:
        self._order.charge(waiter, waiter.seconds)
        self._order.remove(waiter)
        waiter.granted.set()
