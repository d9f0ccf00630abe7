"""The archives that this host made: a list that only root can write, in the backup directory.

An archive's own statement of its origin can be forged. A directory copied from another host does not count: the list
names the machine that it belongs to (machine-id(5), hashed)."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
from pathlib import Path

from ops.archive.checksum import checksum_line
from ops.files.atomic_file import write_atomically

LIST_NAME = ".gte-ops-made-here"
KEPT = 10_000
MAX_BYTES = 8 << 20
_LINE = re.compile(rb"([0-9a-f]{64})  [^/\n]{1,255}")


def record(backups: Path, digest: str, name: str) -> None:
    """Record that the archive with this SHA-256 was made here. Raises OSError."""
    lines = [*_lines(backups)[-KEPT:], checksum_line(digest, name).rstrip()]
    write_atomically(backups / LIST_NAME, b"\n".join((_heading(), *lines)) + b"\n")


def was_made_here(backups: Path, digest: str) -> bool:
    """Whether an archive with this SHA-256 was made on this host."""
    return any(line.startswith(digest.encode() + b" ") for line in _lines(backups))


def _lines(backups: Path) -> list[bytes]:
    """The lines of this machine's list; none if there is no list, or others may have written it."""
    try:
        descriptor = os.open(backups / LIST_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            own = stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid())
            if not own or status.st_mode & 0o022:
                return []
            heading, *lines = file.read(MAX_BYTES).split(b"\n")
    except (OSError, ValueError):
        return []
    return [line for line in lines if _LINE.fullmatch(line)] if heading == _heading() else []


def _heading() -> bytes:
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except (OSError, ValueError):
        machine = ""
    digest = hashlib.sha256(f"gte-ops-backup {machine or platform.node()}".encode()).hexdigest()
    return f"# made by gte-ops on machine {digest[:32]}".encode()
