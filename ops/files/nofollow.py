"""Who may change the file at a path, and opening it so that nobody can substitute another.

The only path resolver: it opens each step by itself, lets the kernel follow no link (openat(2) with O_NOFOLLOW), and
records the owner of each step."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat

from ops.files.ownership import ROOT, PathEntry, distrust
from ops.files.path_steps import PathSteps

_ACCESS_LIST = "system.posix_acl_access"  # acl(5)


def trusted_users() -> frozenset[int]:
    """The users that this run trusts: root, and the user who runs it."""
    return frozenset({ROOT, os.geteuid()})


def path_entries(path: str) -> tuple[PathEntry, ...]:
    """Every step from ``/`` to the target of ``path``. Raises OSError (ELOOP for too many links); ValueError."""
    descriptor, entries = resolve(path)
    os.close(descriptor)
    return entries


def resolve(path: str) -> tuple[int, tuple[PathEntry, ...]]:
    """A descriptor of the target of ``path`` (O_PATH; the caller closes it), and every step to it, links included.

    Raises OSError, ELOOP for more links than the kernel follows; ValueError for an impossible path."""
    steps = PathSteps(path if path.startswith("/") else f"{os.getcwd()}/{path}")  # noqa: PTH109
    current = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    above: list[int] = []  # the descriptors of the directories above, for ``..`` in a link
    entries = [path_entry("/", current)]
    names: list[str] = []
    try:
        while steps:
            name = steps.take()
            if name == "..":
                if above:
                    os.close(current)
                    current = above.pop()
                    names.pop()
                continue
            place = "/" + "/".join((*names, name))
            step = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            try:
                entry = path_entry(place, step)
                entries.append(entry)
                if stat.S_ISLNK(entry.mode):
                    target = os.readlink("", dir_fd=step)
                    steps.follow(target)
                    if target.startswith("/"):
                        while above:
                            os.close(current)
                            current = above.pop()
                        names.clear()
                    continue
                above.append(current)
                current, step = step, -1
                names.append(name)
            finally:
                if step >= 0:
                    os.close(step)
        result, current = current, -1
        return result, tuple(entries)
    finally:
        for descriptor in (*above, current):
            if descriptor >= 0:
                os.close(descriptor)


def reason_not_to_trust(path: str, *, listed: bool = False) -> str | None:
    """Why users other than root and the caller can change what is at ``path``; None if they cannot. ``listed``: it is a
    directory of which every file counts.

    A path that cannot be examined is not trusted."""
    try:
        return distrust(path_entries(path), trusted_users(), listed=listed)
    except (OSError, ValueError) as error:
        return f"{path} cannot be looked at: {getattr(error, 'strerror', None) or error}"


def groups_of(uid: int) -> frozenset[int]:
    """The groups of a user; empty for a user without a name."""
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(account.pw_name, account.pw_gid))


def path_entry(place: str, descriptor: int) -> PathEntry:
    """The owner and the mode of the opened step ``place``. Raises OSError."""
    status = os.fstat(descriptor)
    shared = bool(status.st_mode & stat.S_IWGRP) and not stat.S_ISLNK(status.st_mode)
    return PathEntry(
        path=place,
        uid=status.st_uid,
        mode=status.st_mode,
        is_shared_group=shared
        and (_has_access_list(descriptor) or _has_other_members(status.st_gid, status.st_uid)),
    )


def _has_access_list(descriptor: int) -> bool:
    """With an access control list the group's bits are its mask, and do not tell whom it names (acl(5))."""
    try:
        return bool(os.getxattr(f"/proc/self/fd/{descriptor}", _ACCESS_LIST))
    except OSError as error:
        return error.errno not in (errno.ENODATA, errno.ENOTSUP)


def _has_other_members(gid: int, owner: int) -> bool:
    """Whether a group has members other than root, the caller and the owner; True for a group without a name, whose
    members are unknown."""
    trusted = {*trusted_users(), owner}
    try:
        members = grp.getgrgid(gid).gr_mem
    except KeyError:
        return True
    for name in members:
        with contextlib.suppress(KeyError):
            if pwd.getpwnam(name).pw_uid not in trusted:
                return True
    return any(user.pw_gid == gid and user.pw_uid not in trusted for user in pwd.getpwall())
