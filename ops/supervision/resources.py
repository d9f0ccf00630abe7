"""What the service's processes use and have left: memory, descriptors, and the CPU time of each thread."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

from ops.supervision.observation import Room

# At most this many threads of one worker are read.
MAX_THREADS = 256
# And so many of its descriptors.
MAX_DESCRIPTORS = 4096
_CGROUP = Path("/sys/fs/cgroup")
# A control group without a limit: v1 has a number near 2^63 (cgroup-v1/memory), v2 has "max".
_NO_LIMIT = 1 << 60


def threads(pid: int) -> dict[str, int]:
    """Nanoseconds that each thread of a process has run (kernel: sched-stats, /proc/pid/task/tid/schedstat).

    A thread whose figure has not changed has not run at all in between: its stack is unchanged. Empty if the kernel
    does not keep these figures."""
    run: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for task in sorted(Path(f"/proc/{pid}/task").iterdir())[:MAX_THREADS]:
            with contextlib.suppress(OSError, ValueError, IndexError):
                run[task.name] = int((task / "schedstat").read_text().split()[0])
    return run


def descriptors(pid: int) -> tuple[int, int] | None:
    """How many descriptors a process has open, and its limit; None if that cannot be read."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
        (row,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()), int(row.split()[3])
    except (OSError, ValueError, IndexError):
        return None


def sockets(pid: int) -> tuple[int, ...] | None:
    """The inodes of a process's sockets, among its first descriptors; None if they cannot be read."""
    inodes = []
    try:
        for descriptor in itertools.islice(Path(f"/proc/{pid}/fd").iterdir(), MAX_DESCRIPTORS):
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    inodes.append(int(target[8:-1]))
    except (OSError, ValueError):
        return None
    return tuple(sorted(inodes))


def room(pid: int) -> Room | None:
    """The memory available to a process: the host's, or its control group's, whichever is tighter."""
    rooms = [r for r in (_host(), *_groups(pid)) if r is not None and r.total > 0]
    return min(rooms, key=lambda r: r.available, default=None)


def _host() -> Room | None:
    try:
        rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        sizes = {row[0]: int(row[1]) * 1024 for row in rows if len(row) > 1}
        return Room(sizes["MemAvailable:"] + sizes["SwapFree:"], sizes["MemTotal:"] + sizes["SwapTotal:"])
    except (OSError, ValueError, KeyError):
        return None


def _groups(pid: int) -> list[Room | None]:
    """The process's control group and those above it, if they limit memory."""
    try:
        rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    except OSError:
        return []
    rooms = []
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
            rooms.append(_group(group, *names))
            group = group.parent
    return rooms


def _group(group: Path, limit_name: str, usage_name: str, reclaimable: str) -> Room | None:
    try:
        limit = int((group / limit_name).read_text())  # ValueError for "max": no limit
        if limit >= _NO_LIMIT:
            return None
        usage = int((group / usage_name).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # The kernel reclaims pages of files that have not been used lately before memory runs out.
        return Room(max(0, limit - usage + int(stat.get(reclaimable, 0))), limit)
    except (OSError, ValueError):
        return None
