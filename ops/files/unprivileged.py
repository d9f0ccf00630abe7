"""Running a program that reads foreign bytes with no privilege of its caller's: not root, no capability, no gain by
set-user-ID, and where it needs none, no network.

Used for what parses data that somebody else wrote: the nginx of a backup's configuration, the sender of notifications.
A caller that is not root has no privilege to give up but the capabilities that its unit gave it (AmbientCapabilities=),
which stay its own; its programs run as itself.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pwd
import secrets
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

NOBODY = 65534  # Linux: overflowuid, the kernel's own nobody
# Where systemd takes the users of DynamicUser= from (systemd: UIDs and GIDs): no package and no administrator allocates
# there. Of nobody's processes and files there may be others on the host; of a fresh number's there are none.
_DYNAMIC = range(61184, 65520)
_ATTEMPTS = 20
# linux/sched.h, linux/prctl.h, linux/sockios.h, net/if.h
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 1, 38, 47, 4
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SIGKILL = 9


class UnprivilegedAccount(msgspec.Struct, frozen=True):
    """A user id and a group id that own nothing on this host."""

    uid: int
    gid: int


def unprivileged_account() -> UnprivilegedAccount | None:
    """An account for one run; None where the caller cannot become another user: it is not root, or root of a user
    namespace that has no other user."""
    if os.geteuid() != 0:
        return None
    in_use = _users_of_processes()
    for _ in range(_ATTEMPTS):
        uid = secrets.choice(_DYNAMIC)
        if uid not in in_use and not _has_name(uid) and _is_mapped(uid):
            return UnprivilegedAccount(uid, uid)
    return UnprivilegedAccount(NOBODY, NOBODY) if _is_mapped(NOBODY) else None


def drop_privileges(account: UnprivilegedAccount | None, *, network: bool) -> Callable[[], None]:
    """What a child does between fork and exec (`subprocess.Popen`, ``preexec_fn``) to become ``account``.

    ``network``: whether it keeps the host's network; without it has a loopback interface of its own and nothing else.
    The child ends with its parent. Raises OSError in the child, which Popen passes on as SubprocessError: nothing is
    run with more than was meant."""
    # Loaded before the fork: between fork and exec no import and no allocation of locks is safe.
    libc = ctypes.CDLL(None, use_errno=True)

    def drop() -> None:
        if account is not None:
            if not network:
                _call(libc.unshare(_CLONE_NEWNET))
                _bring_up_loopback()
            os.setgroups([])
            os.setresgid(account.gid, account.gid, account.gid)
            # Leaving uid 0 clears the effective, permitted and ambient capabilities (capabilities(7)).
            os.setresuid(account.uid, account.uid, account.uid)
        _clear_ambient(libc)
        _call(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        # A change of user clears it (prctl(2)): last.
        _call(libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))

    return drop


def keep_capabilities() -> None:
    """Pass the capabilities that a unit or setpriv(1) gave to this process on to no program that it starts.

    Without it, whatever a process that is not root starts has them too (capabilities(7), ambient)."""
    if os.geteuid() != 0:
        _clear_ambient(ctypes.CDLL(None))


def give(path: Path, account: UnprivilegedAccount | None) -> None:
    """Give a directory tree that this process made for ``account`` to it. Links are given, not followed. Raises
    OSError."""
    if account is None:
        return
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(Path(directory, name), account.uid, account.gid, follow_symlinks=False)


def _clear_ambient(libc: ctypes.CDLL) -> None:
    # It fails on kernels before 4.3 alone, which know no ambient capabilities.
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _bring_up_loopback() -> None:
    """netdevice(7): a network namespace begins with its loopback interface down, and 127.0.0.1 on nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def _users_of_processes() -> set[int]:
    users = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                users.add(entry.stat().st_uid)
            except OSError:  # it ended
                continue
    return users


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _is_mapped(uid: int) -> bool:
    """Whether this user namespace has such a user (user_namespaces(7), uid_map): in a small one it may not."""
    try:
        rows = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except OSError:
        return True
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in rows)
