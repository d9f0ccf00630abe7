"""One command at a time that changes the host: `gte-ops install`, `uninstall`, `adopt`, `upgrade`, `render --install`
and `--remove`, `deploy drain` and `undrain`, `service`, `restore`, `doctor --fix`.

The kernel's lock (flock(2)) ends with its holder, however that ends. Its file is in memory: a full disk keeps nobody
from restarting the service. It tells who holds the lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ops.errors import ErrorKind, OpsError
from ops.text.language import Text
from ops.text.sanitize import safe_line

# Of the lock's file, where several hosts are imitated on one machine (tests/conftest.py).
VARIABLE = "GTE_OPS_HOST_LOCK"
# A drain may load nginx twice and ask a client's five requests as often: such a change is waited for.
SHORT_CHANGE_SECONDS = 120.0
_PLACE = Path("/run/gte-ops.lock")
_MAX_BYTES = 4096
_ASK_AGAIN_SECONDS = 0.1


class HostLockedError(OpsError):
    """Another command changes the host; this one has changed nothing."""

    exit_code = 2
    kind = ErrorKind.LOCKED


@contextlib.contextmanager
def only_change(within: float = 0.0) -> Iterator[None]:
    """Allow one such command at a time. Raises HostLockedError if another one still holds the lock after ``within``
    seconds.

    Where the file cannot be made, nothing is locked: a host without a writable /run must be mendable."""
    try:
        descriptor = os.open(_place(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    deadline = time.monotonic() + within
    try:
        while not _takes(descriptor):
            if time.monotonic() >= deadline:
                raise HostLockedError(_held(descriptor))
            time.sleep(_ASK_AGAIN_SECONDS)
        with contextlib.suppress(OSError):
            _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


def _place() -> Path:
    """Root's, whose commands change what all use; of another user's commands, each user's own."""
    if place := os.environ.get(VARIABLE):
        return Path(place)
    return _PLACE if os.geteuid() == 0 else Path(tempfile.gettempdir(), f"gte-ops-{os.geteuid()}.lock")


def _takes(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int) -> None:
    """Write into the file who holds it."""
    command = " ".join(("gte-ops", *sys.argv[1:]))[:200]
    signature = json.dumps({"pid": os.getpid(), "command": command, "since": time.time()}).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, signature, 0)


def _held(descriptor: int) -> Text:
    """Who holds the lock, since when, and what to do."""
    try:
        signature = json.loads(os.pread(descriptor, _MAX_BYTES, 0))
        pid, command = int(signature["pid"]), safe_line(str(signature["command"]), 120)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(signature["since"])))
    except (OSError, OverflowError, ValueError, KeyError, TypeError):  # it has just been taken
        return Text(
            en="another gte-ops command is changing this host; nothing was changed: wait for its end",
            zh="另一个 gte-ops 命令正在改动本机；未作任何改动：请等它结束",
        )
    return Text(
        en=f"{command} (process {pid}, since {since}) is changing this host; nothing was changed: wait for its end"
        f" (tail --pid={pid} -f /dev/null); if it hangs, kill {pid} and run it again, which ends or undoes it",
        zh=f"{command}（进程 {pid}，自 {since}）正在改动本机；未作任何改动：请等它结束"
        f"（tail --pid={pid} -f /dev/null）；如果它卡住，先 kill {pid} 再重新运行它，由它自行完成或撤销",
    )
