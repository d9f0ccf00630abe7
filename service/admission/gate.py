"""How many predictions may run and wait in one worker process.

Without a bound, predictions take every thread of the worker: ``/health`` waits behind them, and each client waits
longer than the one before until all have given up. With it, a bounded number runs, a bounded number waits in order of
arrival for a bounded time, and the rest is refused at once, so that the accepted ones keep their latency.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Weight of the newest prediction in the running mean of durations, from which Retry-After is estimated.
_NEWEST = 0.1
_LONGEST_RETRY = 30  # seconds


def retry_after(seconds: float) -> int:
    """A ``Retry-After`` value for so many seconds: whole, at least 1, at most 30."""
    return max(1, min(_LONGEST_RETRY, math.ceil(seconds)))


class OverloadedError(Exception):
    """There is no place left. ``retry_after``: seconds in which the current queue should have been served."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class Admission:
    """A gate for ``concurrent`` predictions at once and ``queue`` waiting ones, thread-safe."""

    def __init__(
        self,
        concurrent: int,
        queue: int,
        wait: float,
        waiting_changed: Callable[[int], None] = lambda _: None,
    ) -> None:
        """``wait``: seconds after which a waiting prediction is refused. ``waiting_changed`` is called with
        the number that wait."""
        self._waiting_changed = waiting_changed
        self._concurrent = concurrent
        self._queue = queue
        self._wait = wait
        self._running = 0
        self._waiting = 0
        self._mean_duration = 0.0
        self._changed = threading.Condition()

    @property
    def capacity(self) -> int:
        """Predictions that can be inside at once, running and waiting together."""
        return self._concurrent + self._queue

    @property
    def inside(self) -> int:
        """Predictions that are inside now."""
        return self._running + self._waiting

    @property
    def waiting(self) -> int:
        """Predictions that wait for their turn now."""
        return self._waiting

    @contextmanager
    def admit(self) -> Iterator[float]:
        """Hold a place for the duration of the block. Yields the seconds waited for it.

        Raises:
            OverloadedError: the queue is full, or the wait was too long.
        """
        arrived = time.monotonic()
        self._enter()
        started = time.monotonic()
        try:
            yield started - arrived
        finally:
            self._leave(time.monotonic() - started)

    def _enter(self) -> None:
        with self._changed:
            # In order of arrival: wait behind others, even if a place has just become free.
            if self._running < self._concurrent and not self._waiting:
                self._running += 1
                return
            if self._waiting >= self._queue:
                raise OverloadedError(
                    f"{self._running} predictions are running and {self._waiting} are waiting",
                    self._retry_after(),
                )
            self._waiting += 1
            self._waiting_changed(self._waiting)
            try:
                free = self._changed.wait_for(lambda: self._running < self._concurrent, timeout=self._wait)
                if not free:
                    raise OverloadedError(
                        f"no place became free within {self._wait:g} s", self._retry_after()
                    )
                self._running += 1
            finally:
                self._waiting -= 1
                self._waiting_changed(self._waiting)

    def _leave(self, duration: float) -> None:
        with self._changed:
            self._running -= 1
            self._mean_duration += _NEWEST * (duration - self._mean_duration)
            self._changed.notify()

    def _retry_after(self) -> int:
        return retry_after(self._mean_duration * (self._waiting + 1) / self._concurrent)
