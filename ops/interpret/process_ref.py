"""An unambiguous reference to a process: a pid alone may belong to another process when it is used."""

from __future__ import annotations

import msgspec


class ProcessRef(msgspec.Struct, frozen=True):
    """A pid and the process's start time in clock ticks since boot (proc(5), stat field 22)."""

    pid: int
    start_ticks: int
