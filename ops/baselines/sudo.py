"""Who worked as root by sudo shortly before a change, by the journal or by the log of logins.

A command near a change is no proof that it made it: what it says is its time and its words.
"""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from ops.collect.logs.journal import program_records
from ops.collect.logs.lines import JournalError
from ops.collect.logs.tail import LogTail
from ops.text.sanitize import safe_line, without_secrets

# Debian's and RHEL's logs of logins (rsyslog); only root may read them.
LOGIN_LOGS = ("/var/log/auth.log", "/var/log/secure")
SUDO = "/usr/bin/sudo"
MAX_LOG_BYTES = 4 << 20
# Between the beginning of a command that names the file, or of a shell, and the change, seconds.
MAX_SESSION = 3600.0
# Between another command and the change, seconds.
NEAR = 60.0
# Clocks of a log and of an inode differ by the log's whole seconds.
SLACK = 1.5
MAX_COMMAND_CHARS = 120
_SHELLS = frozenset({"bash", "sh", "dash", "zsh", "fish", "su"})
# sudo(8), "EVENT LOGGING": user : fields ; COMMAND=words. A refused attempt has other words before the fields.
_SUDO = re.compile(
    r"\s*(?P<user>[^\s:;=]{1,64}) : (?:[A-Z]{1,16}=[^;]{0,500} ; ){0,8}COMMAND=(?P<command>.{1,4000})",
    re.DOTALL,
)
# rsyslog's formats: RFC 3339, and the traditional one, which has no year.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:[+-]\d\d:\d\d|Z)) \S+ sudo(?:\[\d+\])?: (.*)"
)
_TRADITIONAL = re.compile(r"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) \S+ sudo(?:\[\d+\])?: (.*)")
_HALF_A_YEAR = 183 * 86400.0


class SudoCommand(NamedTuple):
    """One command that ``user`` began as root at ``time`` (Unix seconds)."""

    time: float
    user: str
    command: str


def sudo_commands(since: float, logs: Sequence[str] = LOGIN_LOGS) -> list[SudoCommand]:
    """The commands since then, the oldest first: by the journal, else by the first log of logins that has any."""
    commands = _of_journal(since)
    for path in () if commands else logs:
        commands = _of_log(path, since)
        if commands:
            break
    return sorted(commands)


def _of_journal(since: float) -> list[SudoCommand]:
    # _EXE comes from the kernel: nobody else's message has it (systemd.journal-fields(7)).
    try:
        records, _ = program_records(SUDO, since)
    except JournalError:
        return []
    parsed = (parse_message(record.time, record.message.decode("utf-8", "replace")) for record in records)
    return [command for command in parsed if command is not None]


def _of_log(path: str, since: float) -> list[SudoCommand]:
    commands: list[SudoCommand] = []
    try:
        for raw in LogTail(path, since, MAX_LOG_BYTES).lines():
            command = parse_line(raw.decode("utf-8", "replace"), time.time())
            if command is not None and command.time < since:
                break
            if command is not None:
                commands.append(command)
    except (OSError, ValueError):
        return []
    return commands


def parse_line(line: str, now: float) -> SudoCommand | None:
    """A line of a log of logins; None if it is no command of sudo's."""
    try:
        if match := _RFC3339.match(line):
            return parse_message(datetime.fromisoformat(match[1]).timestamp(), match[2])
        if match := _TRADITIONAL.match(line):
            return parse_message(_without_year(match[1], now), match[2])
    except (ValueError, OverflowError):  # no such date or time
        return None
    return None


def _without_year(stamp: str, now: float) -> float:
    """The time of a stamp without a year: the one of the last twelve months."""
    year = time.localtime(now).tm_year
    at = datetime.strptime(f"{year} {stamp}", "%Y %b %d %H:%M:%S").timestamp()  # noqa: DTZ007  local time
    if at - now > _HALF_A_YEAR:
        at = datetime.strptime(f"{year - 1} {stamp}", "%Y %b %d %H:%M:%S").timestamp()  # noqa: DTZ007  local time
    return at


def parse_message(at: float, message: str) -> SudoCommand | None:
    """A message of sudo's; None if it is of another kind, such as a refused attempt."""
    match = _SUDO.fullmatch(message.rstrip("\n"))
    return SudoCommand(at, safe_line(match["user"], 64), match["command"]) if match else None


def command_of_change(commands: Iterable[SudoCommand], what: str, at: float) -> SudoCommand | None:
    """The command that is most likely the one of a change of ``what``: one that names it; else a shell as root; else
    the last one of the minute before."""
    earlier = [command for command in commands if 0 <= at + SLACK - command.time < MAX_SESSION]
    for matching in (
        [command for command in earlier if _names(command.command, what)],
        [command for command in earlier if _is_shell(command.command)],
        [command for command in earlier if at - command.time < NEAR],
    ):
        if matching:
            return matching[-1]
    return None


def _names(command: str, path: str) -> bool:
    words = list(_words(command))
    return path in words or posixpath.basename(path) in {posixpath.basename(word) for word in words}


def _words(command: str) -> Iterator[str]:
    """The words of a command; sudo writes a blank within one as \\040 or with a backslash."""
    for word in re.split(r"(?<!\\) ", command):
        yield word.replace("\\ ", " ").replace("\\040", " ")


def _is_shell(command: str) -> bool:
    return posixpath.basename(command.split(" ", 1)[0]) in _SHELLS and " -c" not in command


def sudo_words(command: SudoCommand) -> str:
    """Who it was, when, and what: not that it made the change."""
    moment = time.strftime("%H:%M:%S", time.localtime(command.time))
    words = safe_line(without_secrets(command.command), MAX_COMMAND_CHARS)
    return f"sudo: {command.user} {moment}: {words}"
