"""Detect changes by the files' status alone, without reading any, for the watchdog at each cycle."""

from __future__ import annotations

import os
import stat

from ops.baselines.state import Baseline

Signature = tuple[tuple[int, ...] | None, ...]


def stored_signature(baseline: Baseline) -> Signature:
    """Return the value that `present_signature` has while nothing has changed."""
    files = (
        (file.size, file.mtime, file.ctime, file.inode, file.mode, file.uid, file.gid)
        for file in baseline.files.values()
    )
    return (*files, *((moment,) for moment in baseline.directories.values()))


def present_signature(baseline: Baseline) -> Signature:
    """Return the present status of each file and directory of the baseline; None if it is gone or not accessible.

    A link's target shows in the inode. Values that no file's status shows (an address, the kernel) are left out."""
    return (
        *(_status(path) for path in baseline.files),
        *(_directory(path) for path in baseline.directories),
    )


def _status(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return (
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
    )


def _directory(path: str) -> tuple[int, ...] | None:
    try:
        return (os.stat(path).st_mtime_ns,)  # noqa: PTH116
    except (OSError, ValueError):
        return None
