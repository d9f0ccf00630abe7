"""When a process started. Apart from the table of processes, whose library a round of the watchdog need not load."""

from __future__ import annotations

import os
import time
from pathlib import Path


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot (proc(5), stat field 22); 0 where it cannot be read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def start_time(ticks: int) -> float:
    """When a process started (Unix seconds) that started ``ticks`` after the boot, exact to a clock tick.

    Both are counted by CLOCK_BOOTTIME (proc(5), clock_gettime(2)). btime of /proc/stat, by which other tools add it up,
    is the boot in whole seconds: up to a second too early."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age
