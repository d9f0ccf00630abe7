"""The author and the time of a change, from the logs of dpkg, apt, git, certbot and sudo, from rpm's database, and from
marked deployments.

A file's owner does not show who wrote it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ops.baselines.packaged import with_packages
from ops.baselines.rpm import RpmPackage, rpm_packages
from ops.baselines.state import Mark
from ops.baselines.sudo import MAX_SESSION, SudoCommand, command_of_change, sudo_commands, sudo_words
from ops.facts.changes import Change, PlaceKind
from ops.files.bounded_read import open_regular_file
from ops.text.sanitize import safe_line

DPKG_LOG = "/var/log/dpkg.log"
APT_HISTORY = "/var/log/apt/history.log"
CERTBOT_LOG = "/var/log/letsencrypt/letsencrypt.log"
# Read from the end of a log: holds weeks of package changes.
TAIL_BYTES = 256 << 10
# Between a run of certbot or git and the files it writes, seconds.
NEAR = 60.0
# Between a change and the mark of its deployment, which is set when that begins or after it, seconds.
BEFORE_MARK, AFTER_MARK = 900.0, 900.0
MAX_WORDS = 160
_STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
_DPKG = re.compile(rf"^({_STAMP}) (?:upgrade|install|remove) ([\w.+-]+)(?::\w+)? ", re.MULTILINE)
_GIT = re.compile(
    r"^[0-9a-f]{40,64} [0-9a-f]{40,64} (.{0,200}?) <[^>]*> (\d{1,12}) [+-]\d{4}\t(.*)$", re.MULTILINE
)


def with_authors(
    changes: Iterable[Change], app_dir: str | None, letsencrypt_dir: str | None, marks: Sequence[Mark]
) -> tuple[Change, ...]:
    """Return ``changes`` with ``by`` filled in, and with the time if only a log has it."""
    all_changes = list(changes)
    kinds = {change.place for change in all_changes}
    dpkg = _tail(DPKG_LOG) if PlaceKind.HOST_PACKAGE in kinds else ""
    history = _tail(APT_HISTORY) if dpkg else ""
    git = _git_log(app_dir) if app_dir and PlaceKind.APPLICATION in kinds else ""
    rpm = rpm_packages() if PlaceKind.HOST_PACKAGE in kinds else {}
    certbot_at = _modified(CERTBOT_LOG)
    named = [
        _with_author(
            change, dpkg, history, rpm, git, certbot_at, letsencrypt_dir or "/etc/letsencrypt", marks
        )
        for change in all_changes
    ]
    return tuple(
        persons_before_packages(
            list(with_persons(named, sudo_commands)), list(with_packages(named)), _manager_runs
        )
    )


def persons_before_packages(
    by_person: Sequence[Change], by_package: Sequence[Change], runs: Callable[[str], Collection[float]]
) -> Iterator[Change]:
    """Yield the changes of both, which differ in ``by`` alone. Whoever worked as root then put the shipped content
    back, unless the package's manager ran then: ``runs`` gives its times for an author of ``by_package``."""
    for person, package in zip(by_person, by_package, strict=True):
        is_doubtful = bool(person.by) and bool(package.by) and person.by != package.by
        if is_doubtful and not any(_is_near(person.time, at) for at in runs(package.by)):
            yield person
        else:
            yield package if package.by else person


def _manager_runs(author: str) -> Collection[float]:
    """When dpkg or rpm worked on the package of ``author`` (`dpkg: nginx-common`)."""
    manager, _, package = author.partition(": ")
    if manager == "rpm":
        known = rpm_packages().get(package)
        return () if known is None else (known.installed_at,)
    return dpkg_times(_tail(DPKG_LOG), package)


def dpkg_times(log: str, package: str) -> set[float]:
    """When dpkg worked on ``package``, by its log."""
    lines = re.finditer(rf"^({_STAMP}) (?:\S+ ){{1,2}}{re.escape(package)}(?::\w+)? ", log, re.MULTILINE)
    return {at for line in lines if (at := _stamp_time(line[1])) is not None}


def with_persons(
    changes: Sequence[Change], commands_since: Callable[[float], Sequence[SudoCommand]]
) -> Iterator[Change]:
    """Yield ``changes``; of those without an author, the person who worked as root then by sudo.

    ``commands_since`` is asked only if there is such a change."""
    open_times = [change.time for change in changes if not change.by and change.time is not None]
    commands = commands_since(min(open_times) - MAX_SESSION) if open_times else ()
    for change in changes:
        command = (
            command_of_change(commands, change.what, change.time)
            if commands and not change.by and change.time is not None
            else None
        )
        yield (
            change
            if command is None
            else msgspec.structs.replace(change, by=safe_line(sudo_words(command), MAX_WORDS))
        )


def _with_author(
    change: Change,
    dpkg: str,
    history: str,
    rpm: Mapping[str, RpmPackage],
    git: str,
    certbot_at: float | None,
    letsencrypt_dir: str,
    marks: Sequence[Mark],
) -> Change:
    by, at = "", change.time
    if change.place is PlaceKind.HOST_PACKAGE:
        at = _dpkg_time(dpkg, change.what)
        by = _apt_words(history, change.what) or ("dpkg" if at is not None else "")
        if change.what in rpm and not by:
            # The database says when, not who: sudo's log may.
            at = rpm[change.what].installed_at
    elif change.place is PlaceKind.APPLICATION:
        at, by = _git_words(git, change)
    elif change.what.startswith(letsencrypt_dir + "/") and _is_near(at, certbot_at):
        by = "certbot"
    if not by:
        mark = next(
            (m for m in reversed(marks) if at is not None and -AFTER_MARK < at - m.time < BEFORE_MARK), None
        )
        words = f" ({mark.by})" if mark and mark.by else ""
        by = f"gte-ops deploy mark {mark.text}{words}" if mark else ""
    return msgspec.structs.replace(change, time=at, by=safe_line(by, MAX_WORDS))


def _is_near(at: float | None, other: float | None) -> bool:
    return at is not None and other is not None and abs(at - other) < NEAR


def _dpkg_time(log: str, package: str) -> float | None:
    rows = [match for match in _DPKG.finditer(log) if match[2] == package]
    return _stamp_time(rows[-1][1]) if rows else None


def _stamp_time(stamp: str) -> float | None:
    try:
        return time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return None


def _apt_words(history: str, package: str) -> str:
    """Return apt's command line that last changed the package, and the user who ran it (apt's history.log)."""
    for stanza in reversed(history.split("\n\n")):
        if re.search(rf"[ :]{re.escape(package)}(?::\w+)? \(", stanza):
            command = re.search(r"^Commandline: (.*)$", stanza, re.MULTILINE)
            person = re.search(r"^Requested-By: (.*)$", stanza, re.MULTILINE)
            words = command[1] if command else "apt"
            return f"{words} ({person[1]})" if person else words
    return ""


def _git_log(directory: str) -> str:
    for place in (Path(directory), *list(Path(directory).parents)[:3]):
        if (place / ".git").is_dir():
            return _tail(str(place / ".git/logs/HEAD"))
    return ""


def _git_words(log: str, change: Change) -> tuple[float | None, str]:
    """Return time and author of an application change from git's reflog; for the revision, from the last entry."""
    rows = list(_GIT.finditer(log))
    for row in reversed(rows):
        at = float(row[2])
        if change.what == "git" or _is_near(change.time, at):
            return (at if change.what == "git" else change.time), f"git: {row[1]}: {row[3]}"
    return change.time, ""


def _tail(path: str) -> str:
    try:
        with open_regular_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _modified(path: str) -> float | None:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return None
