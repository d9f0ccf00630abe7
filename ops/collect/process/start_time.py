"""Start times of processes. Separate from the table of processes, whose library the watchdog's rounds do not load."""

from __future__ import annotations

import os
import time
from pathlib import Path


def start_ticks(pid: int) -> int:
    """The start of a process, in clock ticks since boot (proc(5), stat field 22); 0 if it cannot be read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def start_time(ticks: int) -> float:
    """Convert a start ``ticks`` after boot to Unix seconds, exact to a clock tick.

    Both use CLOCK_BOOTTIME (proc(5), clock_gettime(2)). Other tools add btime of /proc/stat, which is the boot time in
    whole seconds: up to a second too early."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age
