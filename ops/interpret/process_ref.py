"""A process beyond doubt: a pid alone may be another process's by the time it is used."""

from __future__ import annotations

import msgspec


class ProcessRef(msgspec.Struct, frozen=True):
    """A pid and the process's start time in clock ticks since boot (proc(5), stat field 22)."""

    pid: int
    start_ticks: int
