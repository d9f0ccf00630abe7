"""The kinds of entries that a backup can hold."""

from __future__ import annotations

from enum import StrEnum


class EntryKind(StrEnum):
    """What an entry of a directory is, in the words of a backup's manifest."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
