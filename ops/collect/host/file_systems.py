"""The file systems the service writes to: the free space on each, and the biggest consumer if one is short."""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from pathlib import Path

from ops.facts.machine import FileSystem
from ops.text.sanitize import safe_line

# Search for the biggest consumer if less than this share of space or inodes is free.
SHORT = 0.10
# The search for the consumer ends after so many entries or seconds, whichever comes first.
MAX_ENTRIES = 40_000
WALK_SECONDS = 0.6
MAX_PLACES = 64


def file_systems(places: Iterable[str]) -> tuple[FileSystem, ...]:
    """The writable file systems that hold ``places`` (directories, existing or not)."""
    places_by_device: dict[int, list[str]] = defaultdict(list)
    for place in list(dict.fromkeys(places))[:MAX_PLACES]:
        there = _existing(place)
        if there is not None:
            places_by_device[there.stat().st_dev].append(str(there))
    facts = (_file_system(tuple(dict.fromkeys(there))) for there in places_by_device.values())
    return tuple(fact for fact in facts if fact is not None)


def _existing(place: str) -> Path | None:
    """The directory, or its nearest existing ancestor."""
    try:
        path = Path(os.path.realpath(place))
        while not path.is_dir():
            if path == path.parent:
                return None
            path = path.parent
    except (OSError, ValueError):
        return None
    return path


def _file_system(places: tuple[str, ...]) -> FileSystem | None:
    try:
        facts = os.statvfs(places[0])
    except OSError:
        return None
    # Like df: space reserved for root is neither used nor free.
    total = (facts.f_blocks - facts.f_bfree + facts.f_bavail) * facts.f_frsize
    if total <= 0 or facts.f_flag & os.ST_RDONLY:
        return None
    mount = mount_of(Path(places[0]))
    free = facts.f_bavail * facts.f_frsize
    consumer, size, entries = None, 0, 0
    if free < SHORT * total or (facts.f_files and facts.f_favail < SHORT * facts.f_files):
        by_entries = free >= SHORT * total
        consumer, size, entries = biggest(mount, places, by_entries=by_entries)
    return FileSystem(
        mount=safe_line(str(mount), 500),
        places=tuple(safe_line(place, 500) for place in places),
        total=total,
        free=free,
        inodes=facts.f_files,
        inodes_free=facts.f_favail,
        consumer=consumer and safe_line(consumer, 500),
        consumer_bytes=size,
        consumer_entries=entries,
    )


def mount_of(path: Path) -> Path:
    """The topmost ancestor of ``path`` on the same file system."""
    device = path.stat().st_dev
    while path != path.parent and path.parent.stat().st_dev == device:
        path = path.parent
    return path


def biggest(mount: Path, places: Iterable[str], *, by_entries: bool) -> tuple[str | None, int, int]:
    """Find the biggest consumer of ``mount`` in a bounded search, the service's own ``places`` first; return its path,
    bytes and entries.

    Each step down goes to a child with more than half of its parent's total, the first step to the largest child. The
    path is None if nothing was seen. ``by_entries``: count inodes, not bytes."""
    device = mount.stat().st_dev
    sizes: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    children: dict[str, set[str]] = defaultdict(set)
    ends = time.monotonic() + WALK_SECONDS
    root = str(mount)
    queue = deque([*dict.fromkeys(places), root])
    visited: set[str] = set()
    looked = 0
    while queue and looked < MAX_ENTRIES and time.monotonic() < ends:
        directory = queue.popleft()
        if directory in visited:
            continue
        visited.add(directory)
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    looked += 1
                    if looked >= MAX_ENTRIES or (looked % 512 == 0 and time.monotonic() > ends):
                        break
                    facts = entry.stat(follow_symlinks=False)
                    if facts.st_dev != device:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(entry.path)
                    _add(entry.path, facts.st_blocks * 512, root, sizes, counts, children)
        except OSError:
            continue
    measure = counts if by_entries else sizes
    if not measure.get(root):
        return None, 0, 0
    place = root
    while (heaviest := max(children[place], key=lambda c: measure[c], default=None)) is not None:
        if measure[heaviest] * 2 <= measure[place] and place != root:
            break
        place = heaviest
    return place, sizes[place], counts[place]


def _add(
    path: str,
    size: int,
    root: str,
    sizes: dict[str, int],
    counts: dict[str, int],
    children: dict[str, set[str]],
) -> None:
    """Count one entry for itself and every directory above it, up to ``root``."""
    while True:
        sizes[path] += size
        counts[path] += 1
        above = os.path.dirname(path)  # noqa: PTH120  once per entry: building a Path costs more than the stat
        if path == root or above == path:
            return
        children[above].add(path)
        path = above
