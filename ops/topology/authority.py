"""Whose word counts: which process, file or record may decide what this program does, and for whom.

A command line and a title are a process's own memory, a pidfile and a record are a file's content: each says what its
owner wants. What the kernel says of it (user, namespaces, owner and mode of a file) is proof. The rule: nobody's word
makes a run of root's do what its owner could not have done itself.

``caller`` is the effective user id of the run that looked; root's and the caller's own word is believed.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import PurePosixPath

import msgspec

from ops.snapshot import Process, Processes

ROOT = 0


class Standing(StrEnum):
    """How far a process's word reaches: for the host, for its own user's files, or in its container alone."""

    HOST = "host"
    USER = "user"
    CONTAINER = "container"


def standing(process: Process, caller: int) -> Standing:
    """A process of root's or of the caller's among this host's own speaks for the host.

    Not one whose program is set-user-ID: whoever called it chose its title."""
    if process.is_nested or process.has_other_root:
        return Standing.CONTAINER
    if process.uid is None:  # a snapshot of before the user id was kept
        return Standing.HOST if process.user == "root" else Standing.USER
    if process.uid in (ROOT, caller) and not process.is_setuid:
        return Standing.HOST
    return Standing.USER


def speaks_for_host(process: Process, caller: int) -> bool:
    """Whether what a process says of programs and configurations is believed."""
    return standing(process, caller) is Standing.HOST


def speaks_for(process: Process, owner: int, caller: int) -> bool:
    """Whether a process is believed about the files of user ``owner``: its own user's, and the host's about all."""
    where = standing(process, caller)
    of_user = where is Standing.USER and process.uid == owner and not process.is_setuid
    return where is Standing.HOST or of_user


def may_name(owner: int, process_uid: int, caller: int) -> bool:
    """Whether a file of user ``owner`` (a pidfile, a progress record) may name a process of ``process_uid``: root's and
    the caller's any, another user's only that user's own."""
    return owner in (ROOT, caller, process_uid)


# --- files --------------------------------------------------------------------------------------------------------


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


# --- nginx --------------------------------------------------------------------------------------------------------

# What the program of an nginx is called: its own name, or that of a well-known build of it, perhaps with a suffix.
_NGINX_PROGRAMS = ("nginx", "openresty", "angie", "tengine", "freenginx")


def is_nginx_program(executable: str | None) -> bool:
    """Whether a process's program may be an nginx; true where it was not seen. The kernel marks a replaced one."""
    if executable is None:
        return True
    return PurePosixPath(executable.removesuffix(" (deleted)")).name.startswith(_NGINX_PROGRAMS)


def posing_as_nginx(processes: Processes) -> tuple[tuple[Process, Standing], ...]:
    """The processes that call themselves nginx's master and do not speak for the host's nginx, and how far each one's
    word reaches."""
    found = []
    for process in processes.processes:
        if not " ".join(process.command).strip().startswith("nginx: master process"):
            continue
        where = standing(process, processes.caller)
        if where is not Standing.HOST:
            found.append((process, where))
        elif not is_nginx_program(process.executable):
            found.append((process, Standing.USER))
    return tuple(found)
