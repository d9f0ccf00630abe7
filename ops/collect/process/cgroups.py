"""The control groups of a process, and their limits (Linux: admin-guide/cgroup-v2.rst, cgroup-v1/)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ops.facts.machine import CpuGroup, MemoryGroup

MAX_FILE_BYTES = 64 * 1024


class Throttling(msgspec.Struct, frozen=True):
    """A group's counters since its creation: periods in which it ran, periods in which it was throttled, and the
    seconds lost to throttling."""

    periods: int
    throttled: int
    seconds: float


def cpu_counters(pids: Iterable[int]) -> dict[str, Throttling]:
    """The counters of every group with a CPU quota that one of ``pids`` is in, by the group's directory."""
    counters: dict[str, Throttling] = {}
    for directory in _directories(pids, "cpu"):
        name = str(directory)
        if name in counters or not _has_quota(directory):
            continue
        pairs = _pairs(directory / "cpu.stat")
        if "nr_periods" in pairs:
            seconds = pairs.get("throttled_usec", 0) / 1e6 + pairs.get("throttled_time", 0) / 1e9
            counters[name] = Throttling(pairs["nr_periods"], pairs.get("nr_throttled", 0), seconds)
    return counters


def cpu_groups(before: dict[str, Throttling], after: dict[str, Throttling]) -> tuple[CpuGroup, ...]:
    """The difference of each group's counters between two readings."""
    return tuple(
        CpuGroup(
            path=path,
            periods=now.periods - was.periods,
            throttled=now.throttled - was.throttled,
            seconds=now.seconds - was.seconds,
        )
        for path, now in after.items()
        if (was := before.get(path)) is not None
    )


def memory_groups(pids: Iterable[int]) -> tuple[MemoryGroup, ...]:
    """Every group with a memory limit that one of ``pids`` is in. ``used`` excludes inactive file cache: the kernel
    drops it before it denies memory."""
    groups: dict[str, MemoryGroup] = {}
    for directory in _directories(pids, "memory"):
        limit = _number(directory / "memory.max") or _number(directory / "memory.limit_in_bytes")
        current = _number(directory / "memory.current") or _number(directory / "memory.usage_in_bytes")
        # Version 1 writes 'no limit' as the largest number of whole pages.
        if limit is None or current is None or limit > 1 << 60:
            continue
        pairs = _pairs(directory / "memory.stat")
        cache = pairs.get("total_inactive_file", pairs.get("inactive_file", 0))
        groups[str(directory)] = MemoryGroup(path=str(directory), limit=limit, used=max(0, current - cache))
    return tuple(groups.values())


def _directories(pids: Iterable[int], controller: str) -> Iterator[Path]:
    """The directories of each process's group for one controller, and of its parent groups, as mounted here."""
    mounts = _mounts()
    visited: set[Path] = set()
    for pid in pids:
        for line in _lines(Path(f"/proc/{pid}/cgroup")):
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            key = "" if number == "0" and not controllers else controller
            if (key and controller not in controllers.split(",")) or key not in mounts or "/.." in path:
                continue
            place, root = mounts[key]
            inside = path.removeprefix(root.rstrip("/")) if path.startswith(root) else path
            directory = Path(place + inside.rstrip("/"))
            while directory not in visited and str(directory).startswith(place):
                visited.add(directory)
                yield directory
                directory = directory.parent


def _mounts() -> dict[str, tuple[str, str]]:
    """The mount point and the mounted group of each hierarchy, by controller; "" for version 2 (proc(5))."""
    mounts: dict[str, tuple[str, str]] = {}
    for line in _lines(Path("/proc/self/mountinfo")):
        head, _, right = line.partition(" - ")
        fields, tail = head.split(), right.split()
        if len(fields) < 5 or len(tail) < 3:
            continue
        if tail[0] == "cgroup2":
            mounts.setdefault("", (fields[4], fields[3]))
        elif tail[0] == "cgroup":
            for name in tail[2].split(","):
                if name in ("cpu", "memory"):
                    mounts.setdefault(name, (fields[4], fields[3]))
    return mounts


def _has_quota(directory: Path) -> bool:
    quota = next(iter(_lines(directory / "cpu.max")), None)
    if quota is not None:
        return not quota.startswith("max")
    microseconds = _number(directory / "cpu.cfs_quota_us")
    return microseconds is not None and microseconds > 0


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES * 16).decode(errors="replace").splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    text = next(iter(_lines(path)), "").strip()
    try:
        return int(text)
    except ValueError:
        return None


def _pairs(path: Path) -> dict[str, int]:
    """Parse a file with ``name number`` on each line."""
    pairs = (line.split() for line in _lines(path))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
