"""The one clock of a trial: seconds since boot, alike in every process of the machine (clock_gettime(2))."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def from_wall(wall: float) -> float:
    """A Unix time on this clock."""
    return wall - (time.time() - now())
