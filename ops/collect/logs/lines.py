"""The lines of a log, whether it is in a file, the journal or syslog's file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ops.collect.logs.line import Program
from ops.collect.logs.tail import LogTail
from ops.interpret.log_place import LogLocation, LogPlaceKind

# Bytes to read from the end of the current file and the rotated one together.
MAX_BYTES = 4 << 20


class JournalError(OSError):
    """The journal cannot be read; the message says why."""


class LogLines(Protocol):
    """Lines, newest first. ``path`` names the log; ``is_whole``, once they are used up: its beginning was reached."""

    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def modified(self) -> float: ...
    @property
    def is_whole(self) -> bool: ...

    def lines(self) -> Iterator[bytes]: ...


def log_lines(place: LogLocation, since: float, program: Program) -> LogLines:
    """The lines of ``program`` at ``place``. Raises OSError or ValueError if they cannot be read."""
    if place.kind is LogPlaceKind.JOURNAL:
        from ops.collect.logs.journal import JournalTail

        return JournalTail(place.name, since, program)
    if place.kind is LogPlaceKind.SYSLOG:
        from ops.collect.logs.syslog import SyslogTail

        return SyslogTail(place.name, since, MAX_BYTES, place.tags, place.pids)
    return LogTail(place.name, since, MAX_BYTES, place.namer)
