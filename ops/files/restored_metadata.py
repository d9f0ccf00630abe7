"""Restoring owner, permissions and times of files after a program has run."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def restored_metadata(paths: Iterable[Path]) -> Iterator[None]:
    """At the end of the block, restore owner, permissions and modification time of ``paths``.

    This works on descriptors opened at the start, so the same files are restored, whatever has their names by then. A
    file whose content has changed keeps its new time."""
    with contextlib.ExitStack() as descriptors:
        before: list[tuple[int, os.stat_result]] = []
        for path in dict.fromkeys(paths):
            try:
                descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            except (OSError, ValueError):
                continue
            descriptors.callback(os.close, descriptor)
            before.append((descriptor, os.fstat(descriptor)))
        try:
            yield
        finally:
            for descriptor, facts in before:
                with contextlib.suppress(OSError):  # not permitted to the caller
                    _put_back(f"/proc/self/fd/{descriptor}", facts, os.fstat(descriptor))


def _put_back(place: str, before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_uid, before.st_gid) != (after.st_uid, after.st_gid):
        os.chown(place, before.st_uid, before.st_gid)
    if before.st_mode != after.st_mode:
        os.chmod(place, stat.S_IMODE(before.st_mode))  # noqa: PTH101  a descriptor's own path
    is_same = stat.S_ISDIR(before.st_mode) or before.st_size == after.st_size
    if before.st_mtime_ns != after.st_mtime_ns and is_same:
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
