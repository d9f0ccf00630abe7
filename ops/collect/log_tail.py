"""The lines of a log from its end backwards, into the rotated file before it, within a bound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ops.collect.regular_file import open_regular_file

STEP_BYTES = 256 * 1024
MAX_LINE_BYTES = 8 * 1024


@dataclass
class LogTail:
    """Lines newest first. ``since``: a rotated file untouched since then is not looked into (Unix seconds).

    After the lines are used up, ``is_whole`` tells whether the logs' very beginning was reached within ``limit``
    bytes. Raises OSError or ValueError when opened where the log cannot be read."""

    path: str
    since: float
    limit: int
    size: int = 0
    modified: float = 0.0
    is_whole: bool = False
    _left: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        with open_regular_file(self.path) as file:
            status = os.fstat(file.fileno())
        self.size, self.modified = status.st_size, status.st_mtime

    def lines(self) -> Iterator[bytes]:
        """Each line without its end, newest first, at most `MAX_LINE_BYTES` of it."""
        self._left, self.is_whole = self.limit, False
        with open_regular_file(self.path) as file:
            yield from self._backwards(file)
        if self._left <= 0:
            return
        earlier = self.path + ".1"
        if self._touched_since(earlier):
            try:
                with open_regular_file(earlier) as file:
                    yield from self._backwards(file)
            except OSError:
                return
            self.is_whole = self._left > 0
            return
        # A compressed one is not unpacked: the window then begins before what is read.
        self.is_whole = not any(self._touched_since(earlier + end) for end in (".gz", ".zst", ".xz", ".bz2"))

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
                # What is carried is the end of a line whose beginning lies outside.
                return
            step = min(STEP_BYTES, position, self._left)
            position -= step
            self._left -= step
            file.seek(position)
            block = file.read(step)
            if len(block) < step:
                # Truncated under our hands (copytruncate): what was read stands, the rest is gone.
                return
            pieces = (block + carried).split(b"\n")
            carried = pieces[0]
            newest = len(pieces) - 1
            if first and not pieces[newest]:
                newest -= 1
            first = False
            for number in range(newest, 0, -1):
                yield pieces[number][:MAX_LINE_BYTES]
        if carried:
            yield carried[:MAX_LINE_BYTES]
