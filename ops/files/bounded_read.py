"""Reading a file whose path came from somebody else: never a pipe or a device, never more than a bound, and never a
file that this somebody could not have read."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

import msgspec

from ops.files.nofollow import groups_of, reason_not_to_trust, resolve, trusted_users
from ops.files.ownership import may_write


class UntrustedFileError(OSError):
    """A file that exists and is not opened: whoever named it, or linked to it, could not have read it."""


class RegularFile(msgspec.Struct, frozen=True):
    """The beginning of a file and its inode's facts. ``is_whole``: ``content`` is all of it; ``uid``: its owner;
    ``changed``: st_ctime, which no package and no copy sets back."""

    content: bytes
    size: int
    modified: float
    mode: int
    is_whole: bool
    uid: int
    changed: float


def read_regular_file(path: str, limit: int) -> RegularFile:
    """Read at most ``limit`` bytes of ``path``. Raises OSError; ValueError for an impossible path."""
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
            changed=status.st_ctime,
        )


def open_regular_file(path: str, *, namer: int | None = None) -> BinaryIO:
    """Open ``path`` for reading, without blocking.

    ``namer``: the user whose process says that it writes to this file. Unless that is root or the caller, the file is
    opened only if that user may write it. A link is followed only if root or the caller owns it, or if its owner also
    owns the file it leads to. A file with several names is opened only if others could not have made one of them, or
    own the file. So nothing is read on behalf of users who could not read it themselves.

    Raises OSError: EINVAL if it is no regular file; UntrustedFileError: ELOOP for a link or a name that is not
    followed, EXDEV for a file that ``namer`` may not write. Raises ValueError for an impossible path."""
    descriptor, entries = resolve(path)
    try:
        status = os.fstat(descriptor)
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
        # Opened by its descriptor, so it is the file that was checked, whatever has replaced it since.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.fdopen(os.open(f"/proc/self/fd/{descriptor}", flags), "rb")
    finally:
        os.close(descriptor)
