"""Files that a crash leaves old or new, never half written: written beside, flushed, then renamed (rename(2),
fsync(2))."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def taking_its_name(path: Path, temporary: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Yield a new file at ``temporary``, beside ``path``; after the block it is flushed and atomically renamed to
    ``path``.

    ``mode`` is subject to the umask. If the block or a later step fails, ``temporary`` is removed and ``path`` is
    unchanged. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    # O_EXCL: in a directory that others may write to, they could have placed a file or link there.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # of a write, the system does not say where
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    flush_directory(path.parent)


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace the file at ``path`` atomically; the content is flushed to disk first. It has ``mode``, whatever the
    umask. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with taking_its_name(path, path.with_name(f".{path.name}.{os.getpid()}.tmp"), mode) as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)


def flush_directory(directory: Path) -> None:
    """Make renames and removals in ``directory`` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(directory)) from None
    finally:
        os.close(descriptor)


def replace_content(path: Path, content: bytes) -> None:
    """Replace the content of the file at ``path`` atomically; owner, mode and extended attributes stay.

    A reader sees the old or the new content, never a mixture, also after a crash. Raises OSError."""
    status = path.stat()
    with taking_its_name(path, path.with_name(f".{path.name}.{os.getpid()}~")) as file:
        file.write(content)
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
        for name in os.listxattr(path):
            # Only the system may set some security labels.
            with contextlib.suppress(OSError):
                os.setxattr(file.fileno(), name, os.getxattr(path, name))
