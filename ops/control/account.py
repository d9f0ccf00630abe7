"""Act as another user, so that the kernel itself decides what that user may do."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable

import msgspec

SECONDS = 5.0


class UserAccount(msgspec.Struct, frozen=True):
    """A process's user, group and supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def become(account: UserAccount) -> None:
    """Become ``account`` for good: in a child only. Raises OSError if root's powers do not suffice."""
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def as_account(account: UserAccount, do: Callable[[], object]) -> OSError | None:
    """Call ``do`` in a child process as ``account``; its error, None if it had none. It gets `SECONDS`: a user's own
    file system need not answer.

    This process stays as it is: a change of its own user would reach its other threads (nptl(7))."""
    child = os.fork()
    if child == 0:
        code = 255
        with contextlib.suppress(BaseException):
            try:
                become(account)
                do()
                code = 0
            except OSError as error:
                code = min(error.errno or 254, 254)
        os._exit(code)
    code = _exit_code(child)
    if code == 0:
        return None
    number = code if 0 < code < 254 else errno.EPERM
    return OSError(number, os.strerror(number))


def _exit_code(child: int) -> int:
    """A child's exit code, an errno(3); ETIMEDOUT if it had to be killed."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    # Not waited for: a call that blocks in the kernel ends when the kernel lets it.
    return errno.ETIMEDOUT
