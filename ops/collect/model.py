"""The model directory as it lies on disk: whether it is there, too deep, or still an archive."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ops.quoting import safe_line
from ops.snapshot import ModelFiles, NotSeen

MAX_ENTRIES = 200
# What `modelscope download` and people who copy models leave beside the directory.
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar")
CONFIG = "config.json"


def model_files(path: str | None) -> ModelFiles | NotSeen:
    """What lies at ``path`` and beside it; NotSeen where none is configured or it may not be looked into."""
    if not path:
        return NotSeen(reason="no model directory is configured")
    directory = Path(os.path.normpath(path))
    try:
        return _look(directory)
    except PermissionError as error:
        return NotSeen(reason=safe_line(f"{error.filename or path}: permission denied"), needs_root=True)
    except (OSError, ValueError) as error:
        return NotSeen(reason=safe_line(f"{path}: {getattr(error, 'strerror', None) or error}"))


def _look(directory: Path) -> ModelFiles:
    mode = _mode(directory)
    is_directory = mode is not None and stat.S_ISDIR(mode)
    entries = _names(directory) if is_directory else ()
    parent = directory.parent
    parent_mode = _mode(parent)
    beside = _names(parent) if parent_mode is not None and stat.S_ISDIR(parent_mode) else ()
    return ModelFiles(
        path=str(directory),
        exists=mode is not None,
        is_directory=is_directory,
        entries=tuple(safe_line(name, 255) for name in entries[:MAX_ENTRIES]),
        has_config=CONFIG in entries,
        nested=_mode(directory / directory.name / CONFIG) is not None,
        archives=tuple(
            safe_line(str(parent / name), 1000) for name in beside if is_archive(name, directory.name)
        ),
        parent_exists=parent_mode is not None,
    )


def is_archive(name: str, model: str) -> bool:
    """Whether ``name`` is what ``model`` would be unpacked from: its own name and an archive's ending."""
    lower, stem = name.lower(), model.lower()
    if not lower.startswith(stem) or lower == stem:
        return False
    rest = lower[len(stem) :]
    return ".tar." in rest or rest.endswith(ARCHIVE_SUFFIXES)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _names(directory: Path) -> tuple[str, ...]:
    with os.scandir(directory) as entries:
        return tuple(sorted(entry.name for entry in entries))
