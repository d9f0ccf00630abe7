"""Signals that would end the program during work that must not be left half done."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Defer Ctrl-C, SIGTERM and SIGHUP during the block."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {}
    with contextlib.suppress(ValueError):  # not the main thread
        before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_asked: list[int] = []


def end_in_order() -> None:
    """From here on SIGTERM and SIGHUP end the program as Ctrl-C does, with all cleanup. One that is ignored (nohup(1))
    stays ignored."""

    def interrupted(number: int, _frame: FrameType | None) -> NoReturn:
        _asked.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupted)


def end_if_asked() -> None:
    """Raise KeyboardInterrupt for a signal since `end_in_order` whose own was lost: Python ignores what is raised in a
    weak reference's callback, as the import system has them. Call it before what is not to begin any more."""
    if _asked:
        raise KeyboardInterrupt
