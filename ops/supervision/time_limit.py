"""A limit for reads that may never end: /proc/PID/cmdline and /proc/PID/environ are the process's own memory, and wait
where that lies on a file system that does not answer (state D), a user's own (FUSE) included."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# Reads that never ended keep their threads; with so many of them no more is begun.
MAX_STUCK = 4
_stuck: list[threading.Thread] = []


class BlockedError(Exception):
    """A read did not end in time."""


def within(seconds: float, read: Callable[[], T]) -> T:
    """What ``read`` returns or raises. Raises BlockedError where it takes longer; its thread is left behind."""
    _stuck[:] = [thread for thread in _stuck if thread.is_alive()]
    if len(_stuck) >= MAX_STUCK:
        raise BlockedError("earlier reads have not ended yet")
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(read())
        except BaseException as error:  # noqa: BLE001  raised again where it was asked for
            errors.append(error)

    thread = threading.Thread(target=run, name="read", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _stuck.append(thread)
        raise BlockedError(f"not read within {seconds:g} s")
    if errors:
        raise errors[0]
    return results[0]
