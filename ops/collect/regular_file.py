"""Reading a file that somebody else named: never a pipe or a device, never more than a bound."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

import msgspec


class RegularFile(msgspec.Struct, frozen=True):
    """The beginning of a file and its inode's facts. ``is_whole``: nothing lies behind ``content``."""

    content: bytes
    size: int
    modified: float
    mode: int
    is_whole: bool


def read_regular_file(path: str, limit: int) -> RegularFile:
    """At most ``limit`` bytes of ``path``. Raises OSError; ValueError for an impossible path."""
    with open_regular_file(path) as file:
        status = os.fstat(file.fileno())
        content = file.read(limit + 1)
        return RegularFile(
            content=content[:limit],
            size=status.st_size,
            modified=status.st_mtime,
            mode=stat.S_IMODE(status.st_mode),
            is_whole=len(content) <= limit,
        )


def open_regular_file(path: str) -> BinaryIO:
    """``path`` opened for reading. Raises OSError, EINVAL for what is no regular file; ValueError."""
    # Opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
