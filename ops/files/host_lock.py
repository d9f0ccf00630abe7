"""One command at a time that changes the host: `gte-ops install`, `uninstall`, `adopt`, `upgrade`, `render --install`
and `--remove`, `deploy drain` and `undrain`, `service`, `restore`, `doctor --fix`.

The kernel's lock (flock(2)) ends with its holder, however that ends. Its file is in memory where it can be: a full disk
keeps nobody from restarting the service. It tells who holds the lock, and lies where nobody else can make
or hold it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import pwd
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ops.errors import ErrorKind, OpsError
from ops.files.start_ticks import start_ticks
from ops.text.language import Text
from ops.text.locale_language import reader_language
from ops.text.reasons import NOTHING_CHANGED, chinese
from ops.text.sanitize import safe_line

# Of the lock's file, where several hosts are imitated on one machine (tests/conftest.py).
VARIABLE = "GTE_OPS_HOST_LOCK"
# A drain may load nginx twice and ask a client's five requests as often: such a change is waited for.
SHORT_CHANGE_SECONDS = 120.0
_PLACE = Path("/run/gte-ops.lock")
_MAX_BYTES = 4096
_ASK_AGAIN_SECONDS = 0.1
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
# open(2) of a link, a directory, a socket: never where no file can be made.
_OTHER_KINDS = (errno.ELOOP, errno.EISDIR, errno.ENXIO)


class HostLockedError(OpsError):
    """Another command changes the host; this one has changed nothing."""

    exit_code = 2
    kind = ErrorKind.LOCKED


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock. ``start``: the process's start in clock ticks since boot; ``since``: Unix seconds."""

    pid: int
    start: int
    command: str
    since: float


class HostLock:
    """The lock, while it is held. ``was_taken``: another command held it while a person was last asked."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._is_held = False
        self.was_taken = False

    def take(self, within: float) -> None:
        """Raises HostLockedError if another command still holds the lock after ``within`` seconds."""
        if self._descriptor is None:
            return
        deadline = time.monotonic() + within
        while not _takes(self._descriptor):
            if time.monotonic() >= deadline:
                raise HostLockedError(_held(self._descriptor))
            time.sleep(_ASK_AGAIN_SECONDS)
        self._is_held = True

    def sign(self) -> None:
        """Write into the file who holds it."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                _sign(self._descriptor)

    def _erase(self) -> None:
        if self._descriptor is not None and os.fstat(self._descriptor).st_size:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)

    def end(self) -> None:
        """Release the lock; its file names nobody any more."""
        if self._descriptor is not None and self._is_held:
            self._erase()
            self._is_held = False
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def agreed(self, question: Callable[[], bool]) -> bool:
        """A person's answer to ``question``; other commands may act meanwhile. Raises HostLockedError if it is yes and
        another command is at work for longer than a short change takes; after such an answer nothing is locked."""
        if self._descriptor is None:
            return question()
        self._erase()
        erased = os.fstat(self._descriptor).st_mtime_ns
        self.end()
        agrees = question()
        try:
            self.take(SHORT_CHANGE_SECONDS)
        except HostLockedError:
            if agrees:
                raise
            return False
        # Each holder writes its name into the file.
        self.was_taken = os.fstat(self._descriptor).st_mtime_ns != erased
        self.sign()
        return agrees


@contextlib.contextmanager
def only_change(within: float = 0.0) -> Iterator[HostLock]:
    """Allow one such command at a time. Raises HostLockedError if another one still holds the lock after ``within``
    seconds, or if its file may be somebody else's.

    Where the file cannot be made, nothing is locked, and a line on standard error says so: a host without a writable
    /run must be mendable."""
    descriptor = _open()
    lock = HostLock(descriptor)
    try:
        lock.take(within)
        lock.sign()
        yield lock
    finally:
        lock.end()
        if descriptor is not None:
            os.close(descriptor)


def _open() -> int | None:
    """The lock's file; None if it cannot be made."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    place = Path()
    try:
        place = _place()
        descriptor = os.open(place, flags, 0o600)
    except OSError as error:
        if error.errno in _OTHER_KINDS:
            raise _not_a_lock(place) from None
        _tell_unlocked(str(error.filename or place), error.strerror or str(error))
        return None
    status = os.fstat(descriptor)
    is_own = stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid())
    if not is_own or status.st_mode & _WRITABLE_BY_OTHERS:
        os.close(descriptor)
        raise _not_a_lock(place)
    return descriptor


def _not_a_lock(place: Path) -> HostLockedError:
    return HostLockedError(
        Text(
            en=f"{place} is no lock that gte-ops made: it must be a regular file of yours that nobody else may write"
            f"{NOTHING_CHANGED.en}: look at it, then remove it",
            zh=f"{place} 不是 gte-ops 建立的锁：它必须是属于你、他人不可写的普通文件"
            f"{NOTHING_CHANGED.zh}：请查看后删除它",
        )
    )


@functools.cache
def _tell_unlocked(place: str, why: str) -> None:
    """Say once that nothing is locked."""
    line = Text(
        en=f"{place}: {why}: other gte-ops commands are not kept from changing this host at the same time",
        zh=f"{place}：{chinese(why)}：无法阻止其他 gte-ops 命令同时改动本机",
    )
    sys.stderr.write(f"gte-ops: {safe_line(line.to(reader_language()))}\n")


def _place() -> Path:
    """Root's, whose commands change what all use; of another user's commands, each user's own, in a directory where
    nobody else can make a file. Raises OSError if there is none."""
    if place := os.environ.get(VARIABLE):
        return Path(place)
    user = os.geteuid()
    if user == 0:
        return _PLACE
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user}")
    if runtime.is_absolute() and _is_own(runtime, user, 0o077):
        return runtime / "gte-ops.lock"
    try:
        state = Path(pwd.getpwuid(user).pw_dir, ".local/state/gte-ops")
    except KeyError:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), "~") from None
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_own(state, user, _WRITABLE_BY_OTHERS):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(state))
    return state / "host.lock"


def _is_own(directory: Path, user: int, denied: int) -> bool:
    """Whether it is a directory of ``user`` whose mode has none of the bits ``denied``."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user and not status.st_mode & denied


def _takes(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int) -> None:
    command = " ".join(("gte-ops", *sys.argv[1:]))[:200].encode(errors="replace").decode()
    holder = Holder(os.getpid(), start_ticks(os.getpid()), command, time.time())
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode(holder), 0)


def _held(descriptor: int) -> Text:
    """Who holds the lock, since when, and what to do. Only a process that is the very one of the record is named: a
    record may be an earlier holder's, or not yet written."""
    try:
        holder = msgspec.json.decode(os.pread(descriptor, _MAX_BYTES, 0), type=Holder)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
        is_alive = holder.pid > 1 and holder.start > 0 and start_ticks(holder.pid) == holder.start
    except (OSError, OverflowError, ValueError, RecursionError, msgspec.MsgspecError):
        is_alive = False
    if not is_alive:
        return Text(
            en="another gte-ops command is changing this host (held by an unknown process); nothing was changed:"
            " wait for its end",
            zh="另一个 gte-ops 命令正在改动本机（持有锁的进程不明）；未作任何改动：请等它结束",
        )
    pid, command = holder.pid, safe_line(holder.command, 120)
    return Text(
        en=f"{command} (process {pid}, since {since}) is changing this host; nothing was changed: wait for its end"
        f" (tail --pid={pid} -f /dev/null); if it hangs, kill {pid} and run it again, which ends or undoes it",
        zh=f"{command}（进程 {pid}，自 {since}）正在改动本机；未作任何改动：请等它结束"
        f"（tail --pid={pid} -f /dev/null）；如果它卡住，先 kill {pid} 再重新运行它，由它自行完成或撤销",
    )
