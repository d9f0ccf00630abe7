"""What the service's processes have left and use: memory, descriptors, and whether their threads run at all."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ops.supervision.observation import Room

# Threads of one worker that are looked at; with more, the first so many.
MAX_THREADS = 256
_CGROUP = Path("/sys/fs/cgroup")
# A control group without a limit: v1 says a number near 2^63 (cgroup-v1/memory), v2 says "max".
_NO_LIMIT = 1 << 60


def threads(pid: int) -> dict[str, int]:
    """Nanoseconds that each thread of a process has run (kernel: sched-stats, /proc/pid/task/tid/schedstat).

    A thread whose figure stands has not run at all meanwhile: its stack is what it was. Empty where the kernel does
    not keep these figures."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for task in sorted(Path(f"/proc/{pid}/task").iterdir())[:MAX_THREADS]:
            with contextlib.suppress(OSError, ValueError, IndexError):
                found[task.name] = int((task / "schedstat").read_text().split()[0])
    return found


def descriptors(pid: int) -> tuple[int, int] | None:
    """How many descriptors a process has open, and how many it may have; None where that may not be seen."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
        (row,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()), int(row.split()[3])
    except (OSError, ValueError, IndexError):
        return None


def room(pid: int) -> Room | None:
    """What memory is still to be had for a process: the host's, or its control group's, whichever is tighter."""
    found = [r for r in (_host(), *_groups(pid)) if r is not None and r.total > 0]
    return min(found, key=lambda r: r.available, default=None)


def _host() -> Room | None:
    try:
        rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        known = {row[0]: int(row[1]) * 1024 for row in rows if len(row) > 1}
        return Room(known["MemAvailable:"] + known["SwapFree:"], known["MemTotal:"] + known["SwapTotal:"])
    except (OSError, ValueError, KeyError):
        return None


def _groups(pid: int) -> list[Room | None]:
    """The process's own control group and those above it, as far as they limit memory."""
    try:
        rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    except OSError:
        return []
    found = []
    for _, controllers, path in (row for row in rows if len(row) == 3):
        if controllers == "":
            root, names = _CGROUP, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _CGROUP / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = root / path.lstrip("/")
        while group != root.parent and group.is_relative_to(root):
            found.append(_group(group, *names))
            group = group.parent
    return found


def _group(group: Path, limit_name: str, usage_name: str, given_back: str) -> Room | None:
    try:
        limit = int((group / limit_name).read_text())  # "max" is no number: no limit
        if limit >= _NO_LIMIT:
            return None
        used = int((group / usage_name).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Pages of files that nobody has used lately are given back before anything runs out.
        return Room(max(0, limit - used + int(stat.get(given_back, 0))), limit)
    except (OSError, ValueError):
        return None
