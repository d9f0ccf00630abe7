"""Packed copies (FILE.gz) that nginx sends in place of files, and that hold another content than the file beside them.

Sources: nginx documentation, ngx_http_gzip_static_module; RFC 1952 (a file may have several members).
"""

from __future__ import annotations

import gzip
import stat
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import PackedFile

MAX_FILES = 20
MAX_BYTES = 4 << 20
# A deployment writes both within so many seconds; the packed one may come first.
SAME_DEPLOYMENT = 60.0


class PackedPlace(msgspec.Struct, frozen=True):
    """A location with gzip_static: the prefix of its paths, and the directory; ``replaces``: the directory stands for
    the prefix (alias)."""

    prefix: str
    directory: str
    replaces: bool

    def file(self, path: str) -> str:
        """The file that nginx sends for ``path``."""
        return self.directory + (path.removeprefix(self.prefix) if self.replaces else path)


def packed_files(places: Iterable[PackedPlace], log: AccessLog | NotSeen) -> tuple[PackedFile, ...]:
    """The files that users were sent and whose packed copy is older and another."""
    found = tuple(places)
    if not found or not isinstance(log, AccessLog) or log.traffic is None:
        return ()
    asked = (
        item.path for item in log.traffic.answers if item.method == "GET" and item.status in ("200", "304")
    )
    return tuple(_different(found, asked))[:MAX_FILES]


def _different(places: tuple[PackedPlace, ...], paths: Iterable[str]) -> Iterator[PackedFile]:
    for path in paths:
        place = max(
            (p for p in places if path.startswith(p.prefix)), key=lambda p: len(p.prefix), default=None
        )
        if place is None or "*" in path or ".." in path or path.endswith("/"):
            continue
        file = place.file(path)
        age = _age_of_another_content(Path(file))
        if age is not None:
            yield PackedFile(request_path=path, path=file, age=age)


def _age_of_another_content(file: Path) -> float | None:
    """How much older the copy is, in seconds, if it holds another content; None if not, or if that was not seen."""
    try:
        plain, packed = file.stat(), Path(f"{file}.gz").stat()
        age = plain.st_mtime - packed.st_mtime
        if age < SAME_DEPLOYMENT or not all(stat.S_ISREG(s.st_mode) for s in (plain, packed)):
            return None
        if max(plain.st_size, packed.st_size) > MAX_BYTES:
            return None
        with gzip.open(f"{file}.gz") as content:
            is_same = content.read(plain.st_size + 1) == file.read_bytes()
    except (OSError, EOFError, zlib.error):
        return None
    return None if is_same else age
