"""Giving up on reads that may never end.

/proc/PID/cmdline and /proc/PID/environ are the process's own memory: if that is mapped from a file system that does not
answer (a user's FUSE, for example), the reader waits in state D. Such a thread cannot be ended, only abandoned.
`AbandonedReads` counts them, so that a resident process does not collect one at every read.

`within` bounds one read as a whole. The table of processes (`ops/collect/process/processes.py`) bounds each of many
reads, and must go on with the others: a thread for each of hundreds of processes would cost more than reading them, so
one thread reads until it blocks, and only then is it abandoned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")
# While this many abandoned reads have not ended, `within` starts no other.
MAX_ABANDONED = 4


class BlockedError(Exception):
    """A read did not end in time."""


class AbandonedReads:
    """Abandoned threads, by the key of what they read, until the read ends after all."""

    def __init__(self) -> None:
        self._threads: dict[Hashable, threading.Thread] = {}

    def add(self, key: Hashable, thread: threading.Thread) -> None:
        """Abandon ``thread``, which reads ``key``."""
        self._threads[key] = thread

    def keys(self) -> frozenset[Hashable]:
        """The keys that are still being read."""
        self._threads = {key: thread for key, thread in self._threads.items() if thread.is_alive()}
        return frozenset(self._threads)

    def join(self, seconds: float) -> None:
        """Wait for each of them, at most ``seconds``."""
        for thread in self._threads.values():
            thread.join(seconds)


_abandoned = AbandonedReads()


def within(seconds: float, read: Callable[[], T]) -> T:
    """Return or raise the result of ``read``. Raises BlockedError if it takes longer; its thread is then abandoned."""
    if len(_abandoned.keys()) >= MAX_ABANDONED:
        raise BlockedError("earlier reads have not ended yet")
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(read())
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="read", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _abandoned.add(thread, thread)
        raise BlockedError(f"not read within {seconds:g} s")
    if errors:
        raise errors[0]
    return results[0]
