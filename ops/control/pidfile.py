"""Stale pidfiles: what stands in the way of a start, removed before it.

gunicorn takes any live process for its running self ('Already running on PID', gunicorn/pidfile.py), reads a pipe for
ever, and fails at a link that leads nowhere. The number that a dead master left may be another program's by now,
another gunicorn's too.
"""

from __future__ import annotations

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

# int() takes no more digits (sys.set_int_max_str_digits).
MAX_BYTES = 4300
_NUMBER = re.compile(rb"\s*([+-]?\d+)\s*\Z")


class InUseError(OpsError):
    """The pidfile's process is this service after all: nothing may be started beside it."""


class NamedPidfile(msgspec.Struct, frozen=True):
    """Where a pidfile lies, and which user says so: the settings are root's or the caller's own word (None)."""

    path: str
    namer: int | None = None


class Stale(msgspec.Struct, frozen=True):
    """A pidfile that was in the way; ``kept``: why it could not be removed, None where it was."""

    path: str
    detail: str
    kept: str | None = None


def pidfiles(settings: Settings, command: tuple[str, ...], cwd: str | None) -> tuple[NamedPidfile, ...]:
    """The pidfiles that count at a start by ``command`` in ``cwd``: the settings', and the one that gunicorn will
    write by its command line or its configuration file, whose word is its owner's."""
    found = [NamedPidfile(settings.gunicorn.pidfile)] if settings.gunicorn.pidfile else []
    options = gunicorn_topology.options(gunicorn_words(command))
    where = Path(cwd or "/")
    if options.get("pid"):
        found.append(NamedPidfile(str(where / options["pid"])))
        return _each_once(found)
    given = options.get("config") or settings.gunicorn.config_file or "gunicorn.conf.py"
    config = str(where / given.removeprefix("file:"))
    value = gunicorn_topology.setting("pidfile", "pid", (), read_config(config))
    if isinstance(value, str) and value:
        found.append(NamedPidfile(str(where / value), _owner(config)))
    return _each_once(found)


def _each_once(named: Iterable[NamedPidfile]) -> tuple[NamedPidfile, ...]:
    return tuple({item.path: item for item in reversed(tuple(named))}.values())


def _owner(path: str) -> int | None:
    try:
        return Path(path).stat().st_uid
    except OSError:
        return None


def remove_stale(settings: Settings, named: Iterable[NamedPidfile]) -> tuple[Stale, ...]:
    """Remove whatever of ``named`` a start would take for a running master. Call it where no master of this service
    runs.

    Raises InUseError where one of them names this service after all."""
    from ops.collect.process.processes import processes

    found = []
    everyone: Processes | None = None
    for item in named:
        why = _in_the_way(item.path)
        if why is None:
            continue
        everyone = everyone or processes()
        pid = _names_this_service(settings, everyone, item.path)
        if pid is not None:
            raise InUseError(
                f"{item.path} names process {pid}, which is this service's gunicorn; nothing was started"
            )
        found.append(Stale(item.path, why, _remove(item)))
    return tuple(found)


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
    """Why gunicorn would not start with this in its pidfile's place; None where it would.

    A directory or a device is no pidfile that became stale, and left to the operator."""
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
    """What gunicorn would find at a number, by kill(2) with signal 0; None where nothing."""
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


def _remove(named: NamedPidfile) -> str | None:
    """Remove what lies there; why not, None where it is gone.

    Where another user decides what the path leads to, it is done as that user: nothing is removed that it could not
    remove itself."""
    directory, _, name = named.path.rpartition("/")
    try:
        parent, entries = resolve(directory or "/")
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    try:
        deciding = deciders((*(entry.uid for entry in entries), named.namer), trusted_users())
        if len(deciding) > 1:
            return "several users decide where it lies"
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)

        def unlink() -> None:
            now = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
                raise FileNotFoundError
            os.unlink(name, dir_fd=parent)

        if os.geteuid() != 0 or not deciding:
            unlink()
            return None
        (uid,) = deciding
        account = UserAccount(uid, _group_of(uid), tuple(groups_of(uid)))
        failed = as_account(account, unlink)
        return failed.strerror if failed is not None else None
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(parent)


def deciders(uids: Iterable[int | None], trusted: Collection[int]) -> frozenset[int]:
    """The users beside root and the caller who have a say in what a path leads to."""
    return frozenset(uid for uid in uids if uid is not None and uid not in trusted)


def _group_of(uid: int) -> int:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid
