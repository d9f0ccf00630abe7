"""Read a log's lines from its end backwards, on into the previous rotated file, within a bound."""

from __future__ import annotations

import errno
import io
import os
import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ops.files.bounded_read import open_regular_file

# A compressed log is unpacked from its beginning, up to this size; only its end is kept.
MAX_UNPACKED_BYTES = 64 << 20
MAX_LISTED = 10_000
_OTHER_COMPRESSIONS = (".zst", ".xz", ".bz2")
STEP_BYTES = 256 * 1024
MAX_LINE_BYTES = 8 * 1024
# The suffix of a rotated log's name: ``log.1``, or ``log-20261122`` with logrotate's ``dateext``.
_ROTATED = re.compile(r"(?:\.1|-\d{8}[-\d]*)(?:\.(?:gz|zst|xz|bz2))?", re.ASCII)


class LogTail:
    """A log's lines, newest first. ``since``: a rotated file not modified since then is not read (Unix seconds);
    ``namer``: the user whose process named the log (`open_regular_file`).

    Once the lines are used up, ``is_whole`` tells whether the beginning of the logs was reached within ``limit`` bytes.
    Raises OSError or ValueError on construction if the log cannot be read."""

    def __init__(self, path: str, since: float, limit: int, namer: int | None = None) -> None:
        self.path, self.since, self.limit, self.namer = path, since, limit, namer
        self.is_whole = False
        self._left = 0
        with open_regular_file(path, namer=namer) as file:
            status = os.fstat(file.fileno())
        self.size, self.modified = status.st_size, status.st_mtime

    def lines(self) -> Iterator[bytes]:
        """Each line without its newline, newest first; the middle of a line over `MAX_LINE_BYTES` is cut out."""
        self._left, self.is_whole = self.limit, False
        with open_regular_file(self.path, namer=self.namer) as file:
            yield from self._backwards(file)
        if self._left <= 0:
            return
        earlier = self._earlier()
        if earlier is None:
            self.is_whole = True
            return
        if earlier.endswith(_OTHER_COMPRESSIONS):  # not unpacked: the window begins before the lines read
            return
        try:
            with open_regular_file(earlier, namer=self.namer) as file:
                if earlier.endswith(".gz"):
                    plain, is_all = _unpacked(file, self._left)
                    yield from self._backwards(plain)
                else:
                    is_all = True
                    yield from self._backwards(file)
        except (OSError, EOFError, zlib.error):
            return
        self.is_whole = is_all and self._left > 0

    def _earlier(self) -> str | None:
        """The newest rotated file of the log, if it was modified within the window."""
        log = Path(self.path)
        try:
            with os.scandir(log.parent) as entries:
                names = [
                    entry.name
                    for entry in islice(entries, MAX_LISTED)
                    if entry.name.startswith(log.name) and _ROTATED.fullmatch(entry.name, len(log.name))
                ]
            newest = max(names, key=lambda name: (log.parent / name).stat().st_mtime, default=None)
        except (OSError, ValueError):
            return None
        earlier = str(log.parent / newest) if newest else None
        return earlier if earlier and self._touched_since(earlier) else None

    def _touched_since(self, path: str) -> bool:
        try:
            return Path(path).stat().st_mtime >= self.since
        except OSError:
            return False

    def _backwards(self, file: BinaryIO) -> Iterator[bytes]:
        position = file.seek(0, os.SEEK_END)
        carried = b""
        first = True
        while position > 0:
            if self._left <= 0:
                # The carried bytes end a line that begins before the bound.
                return
            step = min(STEP_BYTES, position, self._left)
            position -= step
            self._left -= step
            file.seek(position)
            block = file.read(step)
            if len(block) < step:
                # Truncated during the read (copytruncate): keep the lines read so far, the rest is gone.
                return
            pieces = (block + carried).split(b"\n")
            carried = pieces[0]
            newest = len(pieces) - 1
            if first and not pieces[newest]:
                newest -= 1
            first = False
            for number in range(newest, 0, -1):
                yield _shortened(pieces[number])
        if carried:
            yield _shortened(carried)


def _shortened(line: bytes) -> bytes:
    """A line within `MAX_LINE_BYTES`, with both ends: a status follows a long URL, an exception's name precedes its
    text."""
    if len(line) <= MAX_LINE_BYTES:
        return line
    return line[: MAX_LINE_BYTES // 2] + line[-MAX_LINE_BYTES // 2 :]


def _unpacked(file: BinaryIO, keep: int) -> tuple[BinaryIO, bool]:
    """The last ``keep`` bytes of an unpacked gzip file, and whether they are all of it.

    Raises OSError, EOFError, zlib.error if it is damaged or unpacks to more than `MAX_UNPACKED_BYTES`."""
    import gzip

    end = bytearray()
    total = 0
    with gzip.GzipFile(fileobj=file) as plain:
        while piece := plain.read(STEP_BYTES):
            total += len(piece)
            if total > MAX_UNPACKED_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            end += piece
            if len(end) > 2 * keep:
                del end[:-keep]
    del end[: max(0, len(end) - keep)]
    return io.BytesIO(bytes(end)), total <= keep
