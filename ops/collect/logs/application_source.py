"""The application's own source, read once in a run for everything that searches it. It is never run.

Whoever wrote it may have written anything: it is read within bounds, and a line that no person writes is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from ops.files.bounded_read import read_regular_file

MAX_FILES = 300
MAX_DIRECTORIES = 200
MAX_FILE_BYTES = 256 << 10
# Of all files together: 200,000 lines.
MAX_BYTES = 8 << 20
MAX_LINE = 2000  # characters
# What one search yields, at most.
MAX_ROUTES = 20
_NOT_SOURCE = frozenset(
    {
        "node_modules",
        "__pycache__",
        "venv",
        ".venv",
        "env",
        "site-packages",
        "static",
        "media",
        "tests",
        ".git",
    }
)


class SourceFile:
    """A file of the source. ``text``: its beginning, if it is long."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text

    @cached_property
    def lines(self) -> tuple[tuple[int, str], ...]:
        """The lines with their numbers, without those of more than MAX_LINE characters."""
        return tuple(
            (number, line) for number, line in enumerate(self.text.splitlines(), 1) if len(line) <= MAX_LINE
        )

    @cached_property
    def _lowered(self) -> str:
        return self.text.lower()

    def has(self, *words: str) -> bool:
        """Whether one of ``words`` (small letters) is in it, in any case: a quick look before a search."""
        return any(word in self._lowered for word in words)

    def place(self, number: int) -> str:
        return f"{self.path}:{number}"


class ApplicationSource:
    """The source below a directory; none below the empty name."""

    def __init__(self, app_dir: str) -> None:
        self.app_dir = app_dir

    @cached_property
    def files(self) -> tuple[SourceFile, ...]:
        """Its files, read when they are first asked for."""
        files: list[SourceFile] = []
        left = MAX_BYTES
        for path in _paths(self.app_dir) if self.app_dir else ():
            try:
                content = read_regular_file(str(path), min(MAX_FILE_BYTES, left)).content
            except (OSError, ValueError):
                continue
            left -= len(content)
            if content:
                files.append(SourceFile(str(path), content.decode("utf-8", "replace")))
            if left <= 0:
                break
        return tuple(files)


def _paths(app_dir: str) -> Iterator[Path]:
    files = 0
    for directories, (directory, names, file_names) in enumerate(os.walk(app_dir), 1):
        names[:] = sorted(name for name in names if name not in _NOT_SOURCE)
        for name in sorted(file_names):
            if name.endswith(".py"):
                files += 1
                yield Path(directory) / name
                if files >= MAX_FILES:
                    return
        if directories >= MAX_DIRECTORIES:
            return
