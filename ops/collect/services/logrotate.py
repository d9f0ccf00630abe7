"""The rotation rules in force, and the service's logs to be rotated."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from ops.collect.logs.line import access_line, gunicorn_line, nginx_line
from ops.facts.base import NotSeen
from ops.facts.safeguards import LogFile, Rotation, RotationRule
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import groups_of, resolve
from ops.interpret.logrotate import TABOO, LogPlace, RotationAccount, parse
from ops.settings import LogrotateSettings
from ops.text.sanitize import safe_line

MAIN_FILE = "/etc/logrotate.conf"
MAX_FILE_BYTES = 1 << 20
MAX_FILES = 500
# Of a log, to see when its first line was written.
MAX_LINE_BYTES = 8 << 10


def rotation(settings: LogrotateSettings, target: Target) -> Rotation:
    """Return the rules of the configured files; if none are configured, those of the whole system as well."""
    paths: tuple[str, ...] = settings.config_files
    if paths == LogrotateSettings().config_files:
        paths = (MAIN_FILE, *paths)
    reader = _Reader()
    for path in paths:
        reader.read(path, {})
    return Rotation(
        files=tuple(reader.seen),
        rules=tuple(reader.rules),
        unread=tuple(reader.unread),
        logs=tuple(service_logs(target)),
    )


def rules_of(files: Iterable[str]) -> tuple[RotationRule, ...]:
    """Return the rules in exactly these files and their includes."""
    reader = _Reader()
    for path in files:
        if not path.endswith(TABOO):
            reader.read(path, {})
    return tuple(reader.rules)


def service_logs(target: Target) -> Iterator[LogFile]:
    """Yield the logs of this service, existing or not, with links resolved."""
    names = (
        target.nginx_access_log,
        next(iter(target.nginx_error_logs), None),
        target.gunicorn_access_log,
        target.gunicorn_error_log,
    )
    for name in dict.fromkeys(filter(None, names)):
        path = Path(name)
        try:
            real = path.resolve()
            yield LogFile(
                path=name,
                resolved=str(real),
                is_file=path.is_file(),
                first_line=_first_line(name),
                loose_directory=_loose_directory(real),
            )
        except (OSError, RuntimeError):  # a loop of links
            continue


def _first_line(path: str) -> float | None:
    """When the first line was written; None if there is none, or it has no time."""
    try:
        line = read_regular_file(path, MAX_LINE_BYTES).content.partition(b"\n")[0]
    except (OSError, ValueError):
        return None
    now = time.time()
    entry = nginx_line(line, now) or gunicorn_line(line, now) or access_line(line)
    return None if entry is None else entry.time


def _loose_directory(log: Path) -> str:
    """The log's directory if everybody may write it, or a group other than root's (logrotate.c, 'parent directory has
    insecure permissions'); else empty."""
    try:
        status = log.parent.stat()
    except OSError:
        return ""
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid != 0
    return str(log.parent) if by_group or status.st_mode & stat.S_IWOTH else ""


def log_place(path: str) -> LogPlace | None:
    """Return a log's directories, file and owners; None if its directory does not exist. Raises OSError; ValueError for
    an impossible path."""
    try:
        directory, directories = resolve(str(PurePosixPath(path).parent))
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        status = os.fstat(directory)
    finally:
        os.close(directory)
    place = LogPlace(
        path=path,
        directories=directories,
        directory_owner=account(status.st_uid, status.st_gid),
        directory_mode=status.st_mode,
    )
    try:
        log, steps = resolve(path)
    except FileNotFoundError:
        return place
    try:
        status = os.fstat(log)
    finally:
        os.close(log)
    return msgspec.structs.replace(
        place,
        directories=steps[:-1],
        file=steps[-1],
        links=status.st_nlink,
        owner=account(status.st_uid, status.st_gid),
    )


def account(uid: int, gid: int) -> RotationAccount:
    """Return a user and a group with their names, or their numbers as names if they have none."""
    user, group = str(uid), str(gid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(gid).gr_name
    return RotationAccount(uid, gid, user, group)


def user_groups(uid: int) -> tuple[RotationAccount, ...]:
    """Return a user in each of its groups, the primary one first; a user without a name has the group of its own
    number."""
    try:
        first = pwd.getpwuid(uid).pw_gid
    except KeyError:
        first = uid
    return tuple(account(uid, gid) for gid in dict.fromkeys((first, *sorted(groups_of(uid)))))


class _Reader:
    """Reads files and their includes, each once."""

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}
        self.rules: list[RotationRule] = []
        self.unread: list[NotSeen] = []

    def read(self, path: str, inherited: dict[str, str]) -> dict[str, str]:
        """Read one file and return the options in force after it."""
        real = os.path.realpath(path)
        if real in self.seen or len(self.seen) >= MAX_FILES:
            return inherited
        try:
            file = read_regular_file(path, MAX_FILE_BYTES)
        except FileNotFoundError:
            return inherited
        except PermissionError:
            self.unread.append(NotSeen(reason=f"{path} may not be read", needs_root=True))
            return inherited
        except (OSError, ValueError) as error:
            self.unread.append(NotSeen(reason=safe_line(f"{path} cannot be read: {error}")))
            return inherited
        self.seen[real] = None
        # logrotate ignores files that others could have written (logrotate(8), include).
        if file.mode & 0o022:
            self.unread.append(NotSeen(reason=f"{path} is ignored by logrotate: writable by group or others"))
            return inherited
        # Those of another user too, where root runs it; whose own rules a user's logrotate reads.
        if file.uid not in (0, os.geteuid()):
            self.unread.append(NotSeen(reason=f"{path} is ignored by logrotate: user {file.uid} owns it"))
            return inherited
        reading = parse(file.content.decode("utf-8", "replace"), path, inherited)
        self.rules += [msgspec.structs.replace(rule, file_changed=file.changed) for rule in reading.rules]
        options = reading.options
        for included in reading.includes:
            for inner in _included(included):
                options = self.read(inner, options)
        return options


def _included(path: str) -> Iterable[str]:
    try:
        entries = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    except OSError:
        return ()
    return [str(entry) for entry in entries if entry.is_file() and not entry.name.endswith(TABOO)]
