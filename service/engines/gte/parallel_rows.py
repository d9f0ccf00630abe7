"""ParallelRows: the rows of a batch computed side by side, each part by one thread from one layer to the next.

The other way, several threads in every single operation, makes them wait for each other at the end of each of its
thousand operations a batch; attention over short texts gains nothing from a second thread at all. A lane waits twice a
layer.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch

Item = TypeVar("Item")

# Rows that a thread takes through a layer at once. With fewer, the values between two products would stay in its core's
# own cache, but the weights, which come from memory, are read once for every part: 512 tokens in int8 took 415 ms in
# parts of 64 rows, 325 of 128, 259 of 256, and 371 without parts (8 layers, two cores, 2026-11-28).
_ROWS = 256
# Fewer rows a thread than this are computed as one part: each thread would read all the weights for them.
_LEAST_ROWS = 96

# The number of rows of a matrix is a multiple of this: oneDNN compiles and caches code for each number of rows.
GRANULE = 16


class ParallelRows:
    """Threads that share the rows of a batch. One call at a time."""

    def __init__(self, count: int) -> None:
        """``count`` threads of one OpenMP thread each; with one, the caller's thread does everything."""
        self._count = count
        self._pool: ThreadPoolExecutor | None = None

    def parts(self, rows: int) -> list[slice]:
        """The parts in which a layer of ``rows`` rows, a multiple of ``GRANULE``, is computed: one part, if there
        are too few rows to share."""
        if rows < self._count * _LEAST_ROWS:
            return [slice(0, rows)]
        # The same number for each thread, so that none waits for another's last part.
        number = self._count * -(-rows // (self._count * _ROWS))
        edges = [rows // GRANULE * index // number * GRANULE for index in range(number + 1)]
        return [slice(begin, end) for begin, end in pairwise(edges)]

    def texts_at_once(self, length: int) -> int:
        """How many texts of ``length`` tokens a thread attends to at once."""
        return max(1, _LEAST_ROWS // length)

    def pieces(self, runs: int) -> int:
        """Into how many pieces each of ``runs`` runs of texts is cut so that all threads have work."""
        return self._count if runs < 2 * self._count else 1

    def each(self, work: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Do ``work`` for every item in order; a thread that is free takes the next.

        Raises:
            Exception: what ``work`` raised.
        """
        if self._count == 1 or len(items) == 1:
            _do(work, items)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, "rows", lambda: torch.set_num_threads(1))
        # All threads share one iterator: next() on a list iterator is atomic under the interpreter lock.
        shared = iter(items)
        for future in [self._pool.submit(_do, work, shared) for _ in range(min(self._count, len(items)))]:
            future.result()

    def end_threads(self) -> None:
        """End the threads until there is work again, because threads do not survive a fork."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _do(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    # The mode is local to a thread.
    with torch.inference_mode():
        for item in items:
            work(item)
