"""Who could change what lies at a path, by owners and modes alone: the rules, without looking.

``ops/files/nofollow.py`` looks; who may say what of processes stands in ``ops/interpret/authority.py``."""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence

import msgspec

ROOT = 0


class PathEntry(msgspec.Struct, frozen=True):
    """One step of a path from ``/`` down, links included. ``mode`` with the file's type; ``is_shared_group``: somebody
    beside the owner is in its group, or an access control list names others."""

    path: str
    uid: int
    mode: int
    is_shared_group: bool = True


def distrust(entries: Sequence[PathEntry], trusted: Collection[int], *, listed: bool = False) -> str | None:
    """Why somebody outside ``trusted`` (user ids) could put another file in the place of a path's last entry, or write
    to it; None where nobody could. ``listed``: it is a directory of which every file counts, new ones too.

    A sticky directory that everybody may write (``/tmp``) keeps what is a trusted user's (unlink(2), EPERM), and of a
    link only the owner counts: its mode is never looked at (symlink(7))."""
    for number, entry in enumerate(entries, 1):
        if entry.uid not in trusted:
            return f"{entry.path} belongs to user {entry.uid}"
        keeps = stat.S_ISDIR(entry.mode) and entry.mode & stat.S_ISVTX
        if stat.S_ISLNK(entry.mode) or (keeps and not (listed and number == len(entries))):
            continue
        if entry.mode & stat.S_IWOTH:
            return f"everybody may write {entry.path}"
        if entry.mode & stat.S_IWGRP and entry.is_shared_group:
            return f"{entry.path} may be written by its group"
    return None


def may_write(mode: int, owner: int, group: int, uid: int, groups: Collection[int]) -> bool:
    """Whether user ``uid``, a member of ``groups``, may write to a file by its mode (path_resolution(7))."""
    if uid == ROOT:
        return True
    if uid == owner:
        return bool(mode & stat.S_IWUSR)
    if group in groups:
        return bool(mode & stat.S_IWGRP)
    return bool(mode & stat.S_IWOTH)
