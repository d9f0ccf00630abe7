"""Files that are whole after a crash: written beside, on disk before they take their name (rename(2), fsync(2))."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def taking_its_name(path: Path, temporary: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A new file at ``temporary``, beside ``path``, to be written in the block; then on disk, and ``path`` at one
    instant.

    ``mode`` is subject to the umask. Where the block or a later step fails there is no ``temporary`` left, and ``path``
    is as it was. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    # O_EXCL: in a directory that others may write to, nobody chooses what is written to.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    flush_directory(path.parent)


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace the file at ``path``: written beside it, on disk before it takes the name. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with taking_its_name(path, path.with_name(f".{path.name}.{os.getpid()}.tmp"), mode) as file:
        file.write(content)


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
    with taking_its_name(path, path.with_name(f".{path.name}.{os.getpid()}~")) as file:
        file.write(content)
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
        for name in os.listxattr(path):
            # A security label may be the system's to set alone.
            with contextlib.suppress(OSError):
                os.setxattr(file.fileno(), name, os.getxattr(path, name))
