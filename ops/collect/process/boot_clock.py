"""The clock that counts from the start of the machine: unlike the calendar's, nobody sets it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path


def boot_id() -> str:
    """The id of this boot (random(4), /proc/sys/kernel/random/boot_id); empty if the kernel does not tell."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def calendar_time(since_boot: float) -> float:
    """Unix seconds of a moment of this boot, as the calendar's clock is set now; ``since_boot``: by CLOCK_BOOTTIME."""
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
