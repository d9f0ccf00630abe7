"""Whether something is at a path, without an error for what may not be looked at."""

from __future__ import annotations

from pathlib import Path


def is_there(path: Path | str) -> bool | None:
    """Whether there is a file or directory; None if that cannot be seen (a directory above it is closed to us)."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return None


def is_file(path: Path | str) -> bool:
    """Whether a regular file is seen there, or at the end of a link; not if a directory above it is closed to us."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_directory(path: Path | str) -> bool:
    """Whether a directory is seen there, or at the end of a link; not if a directory above it is closed to us."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False
