"""The vectors that were computed for requests that then failed.

A client that runs out of time, or whose request does, sends the same request again, and most packages do so by
themselves. Computed anew from its beginning it would run out of time again.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable

from service.engines.vectors import Vectors

# At most 8 MiB with GTE-large's 1,024 dimensions: one request of the largest number of texts.
_MOST = 2048
_SECONDS = 600.0


class UnfinishedVectors:
    """Vectors by what identifies their text, for ten minutes, until they are taken; while nobody asks for vectors, the
    old ones stay in memory. Thread-safe."""

    def __init__(self, most: int = _MOST, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, Vectors]] = OrderedDict()  # the oldest first

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, vectors: Iterable[tuple[Hashable, Vectors | None]]) -> None:
        """Keep those that are there."""
        now = self._now()
        with self._lock:
            for key, vector in vectors:
                if vector is not None:
                    self._kept.pop(key, None)
                    # A copy: a row is a view that would keep its whole batch.
                    self._kept[key] = now, vector.copy()
            self._drop_the_old(now)

    def take(self, keys: Iterable[Hashable]) -> list[Vectors | None]:
        """The vectors of ``keys``, no longer kept; None where there is none."""
        if not self._kept:
            return [None for _ in keys]
        with self._lock:
            self._drop_the_old(self._now())
            taken = [self._kept.pop(key, None) for key in keys]
        return [None if one is None else one[1] for one in taken]

    def _drop_the_old(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) <= self._most and self._kept[oldest][0] > now - _SECONDS:
                break
            del self._kept[oldest]
