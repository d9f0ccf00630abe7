"""When a process started. Apart from the table of processes, whose library a round of the watchdog need not load."""

from __future__ import annotations

from pathlib import Path


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot (proc(5), stat field 22); 0 where it cannot be read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
