"""The remaining steps of a path, links included, for every walk that follows links itself. Reads no file."""

from __future__ import annotations

import errno
import os

MAX_LINKS = 40  # Linux: MAXSYMLINKS


class PathSteps:
    """The names of a path, the next one first; a link's target takes the link's place (path_resolution(7)).

    ``.`` and empty names are left out; ``..`` is a step of its own, because the directory it leads to depends on the
    walk.
    """

    def __init__(self, path: str, display_path: str = "") -> None:
        """The steps of ``path``, from the root or from wherever the walk begins. ``display_path``: the path in errors,
        by default ``path``."""
        self._path = display_path or path
        self._waiting = _names(path)
        self._links = 0

    def __len__(self) -> int:
        """How many steps are left."""
        return len(self._waiting)

    def take(self) -> str:
        """The next step. Raises IndexError after the last."""
        return self._waiting.pop()

    def follow(self, target: str) -> None:
        """Insert a link's ``target`` before the remaining steps. Raises OSError, ELOOP for more links than the kernel
        follows in one path."""
        self._links += 1
        if self._links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
        self._waiting += _names(target)


def _names(path: str) -> list[str]:
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
