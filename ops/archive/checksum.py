"""The SHA-256 beside each archive, in the form that `sha256sum --check` reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ops.archive.name import checksum_path

CHUNK_BYTES = 1 << 18
_LINE = re.compile(rb"([0-9a-f]{64})  ([^/\n]{1,255})\n")


def checksum_line(digest: str, name: str) -> bytes:
    """The content of the checksum file of the archive called ``name``."""
    return f"{digest}  {name}\n".encode()


def hash_stream(file: BinaryIO, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256, in hex, of the rest of ``file``; ``progress`` is called with the number of bytes of each step."""
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    while count := file.readinto(view):  # type: ignore[attr-defined]
        digest.update(view[:count])
        if progress:
            progress(count)
    return digest.hexdigest()


def checksum_problem(archive: Path) -> str | None:
    """How ``archive`` differs from its checksum file, None if it does not. Raises FileNotFoundError if it has no
    checksum file, OSError if either cannot be read."""
    with checksum_path(archive).open("rb") as file:
        line = _LINE.fullmatch(file.read(1024))
    if line is None:
        return f"{checksum_path(archive).name} is not a line of sha256sum: it is damaged"
    if line[2] != archive.name.encode():
        return f"{checksum_path(archive).name} is that of another file"
    with archive.open("rb", buffering=0) as content:
        digest = hash_stream(content)
    return (
        None if digest == line[1].decode() else "its SHA-256 is not the one written beside it: it is damaged"
    )
