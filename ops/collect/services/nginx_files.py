"""Look up the kind of the files that decide how nginx routes a request; never read their content."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from ops.interpret.routing.model import FileKind

# Limit for one request's route: try_files and index name only a few paths.
MAX_PATHS = 200


def look_up(paths: Iterable[str]) -> dict[str, FileKind]:
    """Return the kind of each of ``paths``, following links as nginx does."""
    return {path: _kind(path) for path in list(paths)[:MAX_PATHS]}


def _kind(path: str) -> FileKind:
    try:
        mode = Path(path).stat().st_mode
    except PermissionError:
        return FileKind.FORBIDDEN
    except (OSError, ValueError):
        return FileKind.MISSING
    if stat.S_ISDIR(mode):
        return FileKind.DIRECTORY
    return FileKind.FILE if stat.S_ISREG(mode) else FileKind.MISSING
