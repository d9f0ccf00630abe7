"""A backup file that cannot be used."""

from __future__ import annotations

from pathlib import Path

from ops.errors import OpsError
from ops.text.sanitize import safe_line


class ArchiveError(OpsError):
    """The archive at ``path`` is refused. ``reason`` is one line without the path."""

    exit_code = 2

    def __init__(self, path: Path | str, reason: str) -> None:
        """``reason``: its defect; it may quote the archive and is sanitised."""
        self.path = str(path)
        self.reason = safe_line(reason, 500)
        super().__init__(f"{path}: {self.reason}")


class LockedArchiveError(ArchiveError):
    """The archive is encrypted, and no identity was given or none of those given opens it."""
