"""Change a pidfile; before a start, remove stale ones.

gunicorn takes any live process for its running self ('Already running on PID', gunicorn/pidfile.py), reads a pipe
for ever, and fails at a link that leads nowhere. The number that a dead master left may be another program's by now,
another gunicorn's too.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from ops.collect.services.gunicorn import read_config
from ops.control.account import UserAccount, as_account
from ops.control.start_command import gunicorn_words
from ops.errors import OpsError
from ops.facts.host import Processes
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import groups_of, resolve, trusted_users
from ops.interpret import gunicorn as gunicorn_topology
from ops.settings import Settings
from ops.text.language import Text, verbatim

# int() takes no more digits (sys.set_int_max_str_digits).
MAX_BYTES = 4300
_MOST_DIGITS = 20
_NUMBER = re.compile(rb"\s*([+-]?\d+)\s*\Z")


class InUseError(OpsError):
    """The pidfile's process is this service after all: nothing may be started beside it."""


class NamedPidfile(msgspec.Struct, frozen=True):
    """A pidfile's path, and the user whose process named it; None if the settings did, which are root's or the
    caller's own word."""

    path: str
    namer: int | None = None


class Stale(msgspec.Struct, frozen=True):
    """A pidfile that was in the way of a start; ``failure``: why it could not be removed, None if it was."""

    path: str
    detail: str
    failure: str | None = None


def pidfiles(settings: Settings, command: tuple[str, ...], cwd: str | None) -> tuple[NamedPidfile, ...]:
    """The pidfiles that matter at a start by ``command`` in ``cwd``: the one of the settings, and the one that gunicorn
    writes by its command line or its configuration file (named by that file's owner)."""
    candidates = [NamedPidfile(settings.gunicorn.pidfile)] if settings.gunicorn.pidfile else []
    options = gunicorn_topology.options(gunicorn_words(command))
    where = Path(cwd or "/")
    if options.get("pid"):
        candidates.append(NamedPidfile(str(where / options["pid"])))
        return _each_once(candidates)
    config_option = options.get("config") or settings.gunicorn.config_file or "gunicorn.conf.py"
    config = str(where / config_option.removeprefix("file:"))
    value = gunicorn_topology.setting("pidfile", "pid", (), read_config(config))
    if isinstance(value, str) and value:
        candidates.append(NamedPidfile(str(where / value), _owner(config)))
    return _each_once(candidates)


def _each_once(candidates: Iterable[NamedPidfile]) -> tuple[NamedPidfile, ...]:
    return tuple({item.path: item for item in reversed(tuple(candidates))}.values())


def _owner(path: str) -> int | None:
    try:
        return Path(path).stat().st_uid
    except OSError:
        return None


def remove_stale(settings: Settings, candidates: Iterable[NamedPidfile]) -> tuple[Stale, ...]:
    """Remove each of ``candidates`` that a start would take for a running master. Call it while no master of this
    service runs.

    Raises InUseError if one of them names this service after all."""
    from ops.collect.process.processes import processes

    stale = []
    everyone: Processes | None = None
    for candidate in candidates:
        why = _in_the_way(candidate.path)
        if why is None:
            continue
        everyone = everyone or processes()
        pid = _names_this_service(settings, everyone, candidate.path)
        if pid is not None:
            raise InUseError(
                f"{candidate.path} names process {pid}, which is this service's gunicorn; nothing was started"
            )
        stale.append(Stale(candidate.path, why, _remove(candidate)))
    return tuple(stale)


def _names_this_service(settings: Settings, everyone: Processes, path: str) -> int | None:
    from ops.collect.locate import completed
    from ops.collect.services.nginx import read_pidfile
    from ops.interpret.target import gunicorn_hints

    pidfile = read_pidfile(path)
    hints = completed(everyone, settings, gunicorn_hints(settings, pidfile, None))
    process = gunicorn_topology.pidfile_process(everyone, hints)
    if process is None or not gunicorn_topology.belongs(everyone, process, hints):
        return None
    return process.pid


def _in_the_way(path: str) -> str | None:
    """Why gunicorn would not start with this in its pidfile's place; None if it would.

    A directory or a device never was a pidfile: it is left to the operator."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return "it is a pipe or a socket"
    is_link = stat.S_ISLNK(status.st_mode)
    if not is_link and not stat.S_ISREG(status.st_mode):
        return None
    try:
        content = read_regular_file(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return "it is a link that leads to no file of its owner's" if is_link else None
    match = _NUMBER.match(content.content) if content.is_whole else None
    return _counts_as_running(int(match[1])) if match else None


def _counts_as_running(number: int) -> str | None:
    """What gunicorn would find at a number by kill(2) with signal 0; None for nothing."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return None
    except OverflowError:
        return "its number is no process's"
    except PermissionError:
        pass
    if number == 0:
        return None
    return (
        f"it names process {number}, which is another program" if number > 0 else "its number is no process's"
    )


def _remove(pidfile: NamedPidfile) -> str | None:
    """Remove what is in a pidfile's place; why not, None if it is gone."""
    try:
        refusal = change_pidfile(pidfile)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return refusal.en if refusal is not None else None


def change_pidfile(
    pidfile: NamedPidfile, *, content: bytes | None = None, number: int | None = None
) -> Text | None:
    """Remove what is in a pidfile's place, or give it other ``content``; why it was left alone, None if it was changed.

    If a user other than root and the caller decides what the path leads to, the change is made as that user: the
    kernel refuses what that user could not do itself. No link is followed. ``number``: only a regular file with a
    single name, of the deciding user if there is one, that holds this number is touched. Raises OSError, ValueError;
    FileNotFoundError if the file is another one by now."""
    directory, _, name = pidfile.path.rpartition("/")
    parent, entries = resolve(directory or "/")
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        owner = status.st_uid if number is not None else None
        users = deciders((*(entry.uid for entry in entries), owner, pidfile.namer), trusted_users())
        if len(users) > 1:
            return Text(en="several users decide where it lies", zh="它的位置由多个用户决定")
        if number is not None and (refusal := _reason_to_leave(status, users)) is not None:
            return refusal

        def change() -> None:
            _must_be_the_same(parent, name, status, number)
            if content is None:
                os.unlink(name, dir_fd=parent)
            else:
                _replace(parent, name, status, content)

        if os.geteuid() != 0 or not users:
            change()
            return None
        (uid,) = users
        error = as_account(UserAccount(uid, _group_of(uid), tuple(groups_of(uid))), change)
        return None if error is None else verbatim(f"user {uid}: {error.strerror}")
    finally:
        os.close(parent)


def _reason_to_leave(status: os.stat_result, users: frozenset[int]) -> Text | None:
    """Why a file is not taken for a pidfile of ``users``, those who decide where it lies."""
    if users and status.st_uid not in users:
        return Text(
            en=f"user {min(users)} decides what lies there, and the file is user {status.st_uid}'s",
            zh=f"那里放什么由用户 {min(users)} 决定，而文件属于用户 {status.st_uid}",
        )
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        return Text(en="it is not a regular file with a single name", zh="它不是只有一个名字的普通文件")
    return None


def _must_be_the_same(parent: int, name: str, status: os.stat_result, number: int | None) -> None:
    """Raises FileNotFoundError if ``name`` is another file than ``status`` is of, or no longer holds ``number``."""
    if number is None:
        present = os.stat(name, dir_fd=parent, follow_symlinks=False)
        is_number = True
    else:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=parent)
        try:
            present = os.fstat(descriptor)
            is_number = os.read(descriptor, _MOST_DIGITS + 1).strip() == str(number).encode()
        finally:
            os.close(descriptor)
    if (present.st_dev, present.st_ino) != (status.st_dev, status.st_ino) or not is_number:
        raise FileNotFoundError(errno.ENOENT, "it has changed meanwhile", name)


def _replace(parent: int, name: str, status: os.stat_result, content: bytes) -> None:
    """Put a new file with ``content`` in the place of ``name``, with the owner and the mode of the old one."""
    temporary = f".{name}.{os.getpid()}~"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode) & 0o777)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        os.unlink(temporary, dir_fd=parent)
        raise


def deciders(uids: Iterable[int | None], trusted: Collection[int]) -> frozenset[int]:
    """The users beside root and the caller who have a say in what a path leads to."""
    return frozenset(uid for uid in uids if uid is not None and uid not in trusted)


def _group_of(uid: int) -> int:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid
