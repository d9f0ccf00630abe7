"""Files that are whole after a crash: written beside, on disk before they take their name (rename(2), fsync(2))."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace the file at ``path``: written beside it, on disk before it takes the name. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Makes renames and removals in ``directory`` last. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_content(path: Path, content: bytes) -> None:
    """Give the file at ``path`` other content at one instant: owner, mode and extended attributes stay.

    Who reads it meets the old or the new content, never half of it; so does a crash. Raises OSError."""
    status = path.stat()
    temporary = path.with_name(f".{path.name}.{os.getpid()}~")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    # O_EXCL: in a directory that others may write to, nobody chooses what is written to.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
            for name in os.listxattr(path):
                # A security label may be the system's to set alone.
                with contextlib.suppress(OSError):
                    os.setxattr(file.fileno(), name, os.getxattr(path, name))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    flush_directory(path.parent)
