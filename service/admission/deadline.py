"""The deadline of a prediction, checked between the steps of the work.

A Python thread cannot be stopped from outside, so a step that has begun runs to its end: an engine checks the deadline
before each step (``check``), or waits no longer than the time left (``remaining``, ``at_most``). What is computed in
another thread is not waited for beyond the deadline; its remaining steps are dropped. A result that exists is returned
even if it is late. A request that never ends is a matter for the watchdog, which sees it in the progress records.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from service.admission import client
from service.admission.errors import ClientGoneError, DeadlineError

_ends: ContextVar[float | None] = ContextVar("prediction_deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give the prediction in this block, in this thread, ``seconds``."""
    token = _ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(token)


def remaining() -> float | None:
    """Seconds left for this thread's prediction, at least 0; None if there is no deadline."""
    ends = _ends.get()
    return None if ends is None else max(0.0, ends - time.monotonic())


def at_most(seconds: float) -> float:
    """``seconds``, or the time left for this thread's prediction if that is less."""
    seconds_left = remaining()
    return seconds if seconds_left is None else min(seconds, seconds_left)


def check() -> None:
    """Check that there is time left, and a client that waits for the answer.

    Raises:
        DeadlineError: there is no time left. ClientGoneError: the client has left.
    """
    if remaining() == 0.0:
        raise DeadlineError()
    if client.current().is_gone():
        raise ClientGoneError
