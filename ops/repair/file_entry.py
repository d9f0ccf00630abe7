"""A file as it is to lie at its place: its present owner and mode, and another content."""

from __future__ import annotations

import hashlib
import os
import stat
import time

from ops.archive.manifest import ManifestEntry
from ops.files.entry_kind import EntryKind


def file_entry(path: str, content: bytes) -> ManifestEntry | None:
    """Return the entry of ``content`` at ``path`` (no link in it) with owner and mode of the present file; None if that
    is no plain file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return None
    return ManifestEntry(
        path=path.strip("/"),
        kind=EntryKind.FILE,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        modified_ns=time.time_ns(),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
