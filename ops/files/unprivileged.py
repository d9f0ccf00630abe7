"""Running a program that reads untrusted data without its caller's privileges: not root, no capability, no gain by
set-user-ID, and no network unless it needs one.

For programs that parse data written by others: the nginx that loads a backup's configuration, the sender of
notifications. A caller that is not root has only the capabilities of its unit (AmbientCapabilities=), which it does not
pass on; its programs run as the same user.
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
# The range of systemd's DynamicUser= (systemd: UIDs and GIDs), in which no package or administrator allocates. Other
# processes and files of nobody may exist on the host; a fresh number has none.
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
    """An account for one run; None if the caller cannot become another user: it is not root, or root of a user
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
    """A function for a child to call between fork and exec (`subprocess.Popen`, ``preexec_fn``) to become ``account``.

    ``network``: whether it keeps the host's network; otherwise it has only a loopback interface of its own. The child
    ends with its parent. Raises OSError in the child, which Popen reports as SubprocessError: the program never runs
    with more privileges than intended."""
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
        # Last, because a change of user clears it (prctl(2)).
        _call(libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))

    return drop


def keep_capabilities() -> None:
    """Keep the capabilities that a unit or setpriv(1) gave to this process from the programs that it starts.

    Otherwise the programs of a process that is not root inherit them (capabilities(7), ambient)."""
    if os.geteuid() != 0:
        _clear_ambient(ctypes.CDLL(None))


def give(path: Path, account: UnprivilegedAccount | None) -> None:
    """Change the owner of a directory tree that this process made to ``account``. Links are changed, not followed.
    Raises OSError."""
    if account is None:
        return
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(Path(directory, name), account.uid, account.gid, follow_symlinks=False)


def _clear_ambient(libc: ctypes.CDLL) -> None:
    # It fails only on kernels before 4.3, which have no ambient capabilities.
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _bring_up_loopback() -> None:
    """Bring up loopback: in a new network namespace it is down and without 127.0.0.1 (netdevice(7))."""
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
    """Whether this user namespace has such a user (user_namespaces(7), uid_map); a small one may not."""
    try:
        rows = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except OSError:
        return True
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in rows)
