"""When a process started: with its pid, what tells it from a later process of the same pid."""

from __future__ import annotations

from pathlib import Path


def start_ticks(pid: int) -> int:
    """The start of a process, in clock ticks since boot (proc(5), stat field 22); 0 if it cannot be read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
