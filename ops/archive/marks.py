"""What an operator says of a backup: its label, and that it is pinned. Files beside the archive."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ops.archive.name import label_path, pin_path
from ops.errors import UsageError
from ops.files.atomic_file import flush_directory, write_atomically
from ops.files.bounded_read import read_regular_file
from ops.text.language import Text
from ops.text.sanitize import safe_line

MAX_LABEL = 100
# UTF-8 takes at most four bytes a character.
_MAX_BYTES = 4 * MAX_LABEL


def check_label(label: str) -> str:
    """The label as it is kept. Raises UsageError for one that is empty, too long or no single line."""
    words = label.strip()
    if not words or len(words) > MAX_LABEL or safe_line(words, MAX_LABEL) != words:
        raise UsageError(
            Text(
                en=f"--label: one line of at most {MAX_LABEL} characters, not {safe_line(label, 40)!r}",
                zh=f"--label：须是一行，最多 {MAX_LABEL} 个字符，不能是 {safe_line(label, 40)!r}",
            )
        )
    return words


def write_label(archive: Path, label: str) -> None:
    """Give ``archive`` this label, checked before. Raises OSError."""
    write_atomically(label_path(archive), f"{label}\n".encode())


def read_label(archive: Path) -> str:
    """The label of ``archive``; empty if it has none that can be read."""
    with suppress(OSError, ValueError):
        content = read_regular_file(str(label_path(archive)), _MAX_BYTES).content
        return safe_line(content.decode("utf-8", "replace").strip(), MAX_LABEL)
    return ""


@contextmanager
def held(archive: Path) -> Iterator[None]:
    """Hold ``archive`` while it is pinned or removed: of the two, the later one sees what the earlier one did. Not the
    directory's lock, which a run holds for as long as it reads archives. Raises OSError; FileNotFoundError if it is
    gone."""
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with suppress(OSError):  # NFS has no exclusive lock for a reader
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not os.path.lexists(archive):  # who held it removed it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(archive))
        yield
    finally:
        os.close(descriptor)


def is_pinned(archive: Path) -> bool:
    """Whether ``archive`` is kept whatever the policy says."""
    return os.path.lexists(pin_path(archive))


def pin(archive: Path) -> None:
    """Keep ``archive`` whatever the policy says. Raises OSError."""
    write_atomically(pin_path(archive), b"")


def unpin(archive: Path) -> None:
    """Leave ``archive`` to the policy. Raises OSError."""
    pin_path(archive).unlink(missing_ok=True)
    flush_directory(archive.parent)
