"""The journal's lines of one unit, as a log file would hold them: read through journalctl, within bounds."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, NamedTuple

from ops.collect.logs.line import READERS, Program, access_line, is_request
from ops.collect.logs.lines import JournalError
from ops.files.programs import refused_program, trusted_program

# journalctl finds a unit's entries by its index, the newest first. Limits: entries, bytes, seconds.
MAX_LINES = 5000
MAX_BYTES = 4 << 20
SECONDS = 1.5
MAX_MESSAGE_BYTES = 16 * 1024
# The lines of one traceback are written within so many seconds.
SAME_WRITE = 1.0
_FIELDS = "MESSAGE,PRIORITY,_PID,SYSLOG_IDENTIFIER"
# syslog(3)
_LEVELS = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_NGINX_LEVELS = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
_NGINX_START = re.compile(rb"nginx: \[(\w{1,10})\] (.*)", re.DOTALL)
# The prefix of nginx's and gunicorn's messages to syslog: the host (unless configured away) and the tag.
_TAGGED = re.compile(rb"(?:[\w.-]{1,64} )?[\w.-]{1,64}: ?(.*)", re.DOTALL)
_UNIT = re.compile(r"[\w@:.\\][\w@:.\\-]{0,199}")


class JournalRecord(NamedTuple):
    """One entry of the journal. ``time``: Unix seconds; ``priority``: as in syslog(3)."""

    time: float
    pid: int | None
    priority: int
    message: bytes


@dataclass
class JournalTail:
    """A unit's lines, newest first, like `LogTail`. ``program``: the program that writes them.

    Raises JournalError if the journal cannot be read."""

    unit: str
    since: float
    program: Program
    path: str = ""
    size: int = 0
    modified: float = 0.0
    is_whole: bool = False
    _lines: list[bytes] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.path = f"journalctl -u {self.unit}"
        records, self.is_whole = unit_records(self.unit, self.since)
        if not records and os.geteuid() != 0:
            raise JournalError("the journal shows nothing of this unit to this user")
        self._lines = journal_lines(records, self.program)
        self.size = sum(map(len, self._lines))
        self.modified = max((record.time for record in records), default=0.0)

    def lines(self) -> Iterator[bytes]:
        """Each line, newest first."""
        yield from self._lines


def unit_records(unit: str, since: float, lines: int = MAX_LINES) -> tuple[list[JournalRecord], bool]:
    """The newest ``lines`` entries of a unit, oldest first, and whether they are all after ``since`` (Unix seconds).

    Raises JournalError if journalctl cannot be run, or ``unit`` is no name of a unit."""
    if not _UNIT.fullmatch(unit):
        raise JournalError("no name of a unit")
    return _records(f"--unit={unit}", since, lines)


def program_records(path: str, since: float, lines: int = MAX_LINES) -> tuple[list[JournalRecord], bool]:
    """The newest entries that the executable ``path`` wrote itself, like `unit_records`: the kernel says which it is
    (_EXE, systemd.journal-fields(7)). Raises JournalError if journalctl cannot be run."""
    return _records(f"_EXE={path}", since, lines)


def _records(match: str, since: float, lines: int) -> tuple[list[JournalRecord], bool]:
    program = trusted_program("journalctl")
    if program is None:
        raise JournalError(refused_program("journalctl") or "journalctl is not installed")
    command = [
        program,
        "--output=json",
        f"--output-fields={_FIELDS}",
        "--quiet",
        "--no-pager",
        "--reverse",
        f"--lines={lines}",
        f"--since=@{since:.0f}",
        match,
    ]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise JournalError(f"journalctl: {error.strerror}") from None
    try:
        assert process.stdout is not None  # noqa: S101  stdout is a pipe
        content, is_all = _read(process.stdout, time.monotonic() + SECONDS)
    finally:
        process.kill()
        process.wait()
    records = list(parsed_records(content))
    records.reverse()
    return records, is_all and len(records) < lines


def _read(stream: IO[bytes], deadline: float) -> tuple[bytes, bool]:
    """Read until the end, the bound or the deadline; return the bytes, and whether the end was reached."""
    content = bytearray()
    while len(content) < MAX_BYTES:
        ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return bytes(content), False
        piece = os.read(stream.fileno(), 1 << 16)
        if not piece:
            return bytes(content), True
        content += piece
    return bytes(content), False


def parsed_records(content: bytes) -> Iterator[JournalRecord]:
    """Parse the output of ``journalctl --output=json``; skip a line that was cut off."""
    for line in content.splitlines():
        try:
            record = json.loads(line)
            yield JournalRecord(
                time=int(record["__REALTIME_TIMESTAMP"]) / 1e6,
                pid=int(record["_PID"]) if str(record.get("_PID", "")).isdigit() else None,
                priority=min(7, max(0, int(record.get("PRIORITY", 6)))),
                message=_message(record.get("MESSAGE")),
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            continue


def _message(value: object) -> bytes:
    """The bytes of a message: journalctl's JSON has text as a string, other bytes as numbers, null if too large."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES]
    if isinstance(value, list):
        return bytes(
            number for number in islice(value, MAX_MESSAGE_BYTES) if type(number) is int and 0 <= number < 256
        )
    return b""


def journal_lines(records: Iterable[JournalRecord], program: Program) -> list[bytes]:
    """The lines of ``records`` (oldest first) as a log file would have them, newest first.

    A line without a time gets the journal's, unless it continues the previous one: then it is part of a traceback."""
    lines: list[bytes] = []
    before: JournalRecord | None = None
    for record in records:
        for at, line in enumerate(record.message.split(b"\n")):
            tagged = _TAGGED.match(line)
            if tagged is not None and _has_time(tagged[1], record.time, program):
                line = tagged[1]
            goes_on = at > 0 or (
                before is not None and before.pid == record.pid and record.time - before.time <= SAME_WRITE
            )
            is_part = goes_on and not is_request(line) and not line.startswith(b"nginx: [")
            is_dated = _has_time(line, record.time, program)
            lines.append(line if is_dated or is_part else _stamped(line, record, program))
        before = record
    lines.reverse()
    return lines


def _has_time(line: bytes, newest: float, program: Program) -> bool:
    return READERS[program](line, newest) is not None or access_line(line) is not None


def _stamped(line: bytes, record: JournalRecord, program: Program) -> bytes:
    if program == "nginx":
        match = _NGINX_START.match(line)
        level = match[1] if match else _NGINX_LEVELS[record.priority].encode()
        stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(record.time))
        return f"{stamp} [{level.decode()}] {record.pid or 0}#0: ".encode() + (match[2] if match else line)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(record.time))
    return f"[{stamp}] [{record.pid or 0}] [{_LEVELS[record.priority].upper()}] ".encode() + line
