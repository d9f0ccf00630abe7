"""Lanes: the rows of a batch computed side by side, each part by one thread from one layer to the next.

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

# Rows that a lane takes through a layer at once. With fewer the values between two products would stay in its core's
# own cache, but the weights, which come from memory, are read once for every part: 512 tokens in int8 took 415 ms in
# parts of 64 rows, 325 of 128, 259 of 256, and 371 without lanes (8 layers, two cores, 2026-11-28).
_ROWS = 256
# Fewer rows a lane than this are computed by all threads together: each lane would read all the weights for them.
_LEAST_ROWS = 96

# A matrix has a multiple of so many rows: oneDNN compiles code for each number of rows, and keeps it.
GRANULE = 16


class Lanes:
    """Threads that share the rows of a batch. One call at a time."""

    def __init__(self, count: int) -> None:
        """``count`` threads of one OpenMP thread each; with one, the caller's own thread does all."""
        self._count = count
        self._pool: ThreadPoolExecutor | None = None

    def parts(self, rows: int) -> list[slice]:
        """The parts of so many rows, a multiple of ``GRANULE``, in which a layer is computed: one, if they are too few
        to be shared."""
        if rows < self._count * _LEAST_ROWS:
            return [slice(0, rows)]
        # As many for each lane, so that none waits for another's last one.
        number = self._count * -(-rows // (self._count * _ROWS))
        edges = [rows // GRANULE * index // number * GRANULE for index in range(number + 1)]
        return [slice(begin, end) for begin, end in pairwise(edges)]

    def texts_at_once(self, length: int) -> int:
        """How many texts of ``length`` tokens a lane attends to at once."""
        return max(1, _LEAST_ROWS // length)

    def pieces(self, runs: int) -> int:
        """Into how many pieces each of so many runs of texts is cut for all lanes to have work."""
        return self._count if runs < 2 * self._count else 1

    def each(self, work: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Do ``work`` for every item, the first ones first; whoever is free takes the next.

        Raises:
            Exception: what ``work`` raised.
        """
        if self._count == 1 or len(items) == 1:
            _do(work, items)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, "lane", lambda: torch.set_num_threads(1))
        # One iterator for all: next() on a list's is one step of the interpreter.
        shared = iter(items)
        for lane in [self._pool.submit(_do, work, shared) for _ in range(min(self._count, len(items)))]:
            lane.result()

    def rest(self) -> None:
        """End the threads until there is work again: a fork takes none of them along."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _do(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    # The mode is a thread's own.
    with torch.inference_mode():
        for item in items:
            work(item)
