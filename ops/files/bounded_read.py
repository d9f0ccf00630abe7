"""Reading a file that somebody else named: never a pipe or a device, never more than a bound, and never another file
than its namer could have read."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

import msgspec

from ops.files.nofollow import groups_of, reason_not_to_trust, resolve, trusted_users
from ops.files.ownership import may_write


class UntrustedFileError(OSError):
    """A file that is there and is not opened: who named it, or laid a link to it, could not have read it."""


class RegularFile(msgspec.Struct, frozen=True):
    """The beginning of a file and its inode's facts. ``is_whole``: nothing lies behind ``content``; ``uid``: its
    owner."""

    content: bytes
    size: int
    modified: float
    mode: int
    is_whole: bool
    uid: int


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
            uid=status.st_uid,
        )


def open_regular_file(path: str, *, namer: int | None = None) -> BinaryIO:
    """``path`` opened for reading, without waiting.

    ``namer``: the user whose process says that it writes to this file; of a user other than root and the caller only a
    file that user may write is opened. A link is followed only where it is root's or the caller's, or leads to a file
    of the link's own owner, and where others could have made another name of a file, it must be their own: what they
    could not read themselves is not read for them.

    Raises OSError, EINVAL for what is no regular file; UntrustedFileError, ELOOP for a link or a name that is not
    followed, EXDEV for a file that ``namer`` may not write; ValueError."""
    found, entries = resolve(path)
    try:
        status = os.fstat(found)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        trusted = trusted_users()
        if os.geteuid() == 0:
            for entry in entries:
                if stat.S_ISLNK(entry.mode) and entry.uid not in (*trusted, status.st_uid):
                    why = f"a link of user {entry.uid} leads to a file of user {status.st_uid}"
                    raise UntrustedFileError(errno.ELOOP, why, path)
            if status.st_nlink > 1 and status.st_uid in trusted:
                directory = entries[-1].path.rpartition("/")[0] or "/"
                if (why_not := reason_not_to_trust(directory, listed=True)) is not None:
                    raise UntrustedFileError(errno.ELOOP, f"it has several names, and {why_not}", path)
            if namer is not None and namer not in trusted:
                groups = groups_of(namer)
                if not may_write(status.st_mode, status.st_uid, status.st_gid, namer, groups):
                    why = f"user {namer} names a file of user {status.st_uid} that it may not write"
                    raise UntrustedFileError(errno.EXDEV, why, path)
        # Opened by its descriptor: the very file that was looked at. A pipe put in its place is not met.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.fdopen(os.open(f"/proc/self/fd/{found}", flags), "rb")
    finally:
        os.close(found)
