"""Start times of processes. Separate from the table of processes, whose library the watchdog's rounds do not load."""

from __future__ import annotations

import os

from ops.collect.process.boot_clock import calendar_time
from ops.files.start_ticks import start_ticks as start_ticks


def start_time(ticks: int) -> float:
    """Convert a start ``ticks`` after boot to Unix seconds, exact to a clock tick.

    Both use CLOCK_BOOTTIME (proc(5), clock_gettime(2)). Other tools add btime of /proc/stat, which is the boot time in
    whole seconds: up to a second too early."""
    return calendar_time(ticks / os.sysconf("SC_CLK_TCK"))
