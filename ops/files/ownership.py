"""The rules for who could change what is at a path, by owners and modes. Pure.

``ops/files/nofollow.py`` reads owners and modes; the rules for processes are in ``ops/interpret/authority.py``."""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence

import msgspec

ROOT = 0


class PathEntry(msgspec.Struct, frozen=True):
    """One step of a path from ``/`` down, links included. ``mode`` with the file's type; ``is_shared_group``: its group
    has members besides the owner, or an access control list names others."""

    path: str
    uid: int
    mode: int
    is_shared_group: bool = True


def distrust(entries: Sequence[PathEntry], trusted: Collection[int], *, listed: bool = False) -> str | None:
    """Why users outside ``trusted`` (user ids) could replace a path's last entry or write to it; None if they could
    not. ``listed``: it is a directory of which every file counts, new ones too.

    In a sticky directory that everybody may write (``/tmp``) nobody can remove a trusted user's file (unlink(2),
    EPERM). Of a link only the owner counts: its mode has no effect (symlink(7))."""
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
