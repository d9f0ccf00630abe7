"""How long one prediction may take: looked at between the steps of the work.

A thread of Python cannot be stopped from outside, so a step that has begun ends by itself: an engine looks at the
deadline before each step (``check``), or waits no longer than is left (``remaining``, ``at_most``). A result that is
there is given, even when it is late. What never ends is the watchdog's: the progress records show it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from service.admission.errors import EngineTimeoutError

_ends: ContextVar[float | None] = ContextVar("prediction_deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """The prediction in this block, and in this thread, has ``seconds``."""
    token = _ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(token)


def remaining() -> float | None:
    """Seconds that are left to the prediction of this thread, not below 0; None where there is no deadline."""
    ends = _ends.get()
    return None if ends is None else max(0.0, ends - time.monotonic())


def at_most(seconds: float) -> float:
    """``seconds``, or what is left to the prediction of this thread where that is less."""
    left = remaining()
    return seconds if left is None else min(seconds, left)


def check() -> None:
    """Go on only while there is time.

    Raises:
        EngineTimeoutError: there is none left.
    """
    if remaining() == 0.0:
        raise EngineTimeoutError("the time of this prediction is over")
