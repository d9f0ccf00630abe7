"""Waiting for a condition instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable


class NotInTimeError(AssertionError):
    """A condition did not come about before its deadline."""


def wait_for(
    condition: Callable[[], object], what: str, *, within: float = 10.0, every: float = 0.005
) -> None:
    """Returns as soon as ``condition()`` is true, asking every ``every`` seconds.

    Raises NotInTimeError, naming ``what`` was waited for, after ``within`` seconds.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise NotInTimeError(f"waited {within:g} s in vain for {what}")
        time.sleep(every)
