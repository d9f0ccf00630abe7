"""Whether anything has changed, by the files' status alone: what the watchdog asks at each cycle. Nothing is read."""

from __future__ import annotations

import os
import stat

from ops.baselines.state import Baseline

Signature = tuple[tuple[int, ...] | None, ...]


def stored_signature(baseline: Baseline) -> Signature:
    """What `present_signature` is while nothing has changed."""
    files = (
        (file.size, file.mtime, file.ctime, file.inode, file.mode, file.uid, file.gid)
        for file in baseline.files.values()
    )
    return (*files, *((moment,) for moment in baseline.directories.values()))


def present_signature(baseline: Baseline) -> Signature:
    """The status of each file and directory of the baseline now; None for one that is gone or may not be looked at.

    Where a link leads shows in the inode. What no file's status tells (an address, the kernel) is not asked."""
    return (
        *(_status(path) for path in baseline.files),
        *(_directory(path) for path in baseline.directories),
    )


def _status(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return (
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_ino,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
    )


def _directory(path: str) -> tuple[int, ...] | None:
    try:
        return (os.stat(path).st_mtime_ns,)  # noqa: PTH116
    except (OSError, ValueError):
        return None
