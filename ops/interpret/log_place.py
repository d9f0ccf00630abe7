"""Locate a program's log lines that are not in a log file of its own, by its streams and settings."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from ops.facts.base import NotSeen
from ops.facts.host import Process
from ops.facts.nginx import Directive


class LogPlaceKind(StrEnum):
    """Where a program's lines lie."""

    FILE = "file"
    JOURNAL = "journal"
    SYSLOG = "syslog"


class LogLocation(msgspec.Struct, frozen=True):
    """One place: a file, a unit of the journal, or a program's lines in syslog's file. ``name``: the path or the unit;
    ``namer``: the user whose process writes to the file (`open_regular_file`); ``tags`` and ``pids``: they identify the
    program's lines in syslog."""

    kind: LogPlaceKind
    name: str
    namer: int | None = None
    tags: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()


def stream_place(
    link: str | None, process: Process | None, unit: str | None, outputs: Sequence[str]
) -> LogLocation | NotSeen:
    """Return the place of a standard stream of ``process``. ``link``: its link in /proc/PID/fd, None if that cannot be
    read; ``unit``: the program's system unit; ``outputs``: the files that supervisord writes the stream to."""
    if process is None or link is None:
        if outputs:
            return LogLocation(LogPlaceKind.FILE, outputs[0])
        if unit:
            return LogLocation(LogPlaceKind.JOURNAL, unit)
        return NotSeen(
            reason="where the standard output goes is not seen",
            needs_root=process is not None and link is None,
        )
    if link.startswith("/dev/null"):
        return NotSeen(reason="it is thrown away", is_lasting=True)
    if link.startswith(("/dev/pts/", "/dev/tty", "/dev/console")):
        return NotSeen(reason="it goes to a terminal, and is kept nowhere", is_lasting=True)
    if link.startswith("/") and link.endswith(" (deleted)"):
        return NotSeen(reason="it goes to a file that was deleted")
    if link.startswith("/"):
        return LogLocation(LogPlaceKind.FILE, link, namer=process.uid)
    if link.startswith("socket:") and unit:
        return LogLocation(LogPlaceKind.JOURNAL, unit)
    if outputs:
        return LogLocation(LogPlaceKind.FILE, outputs[0])
    return NotSeen(reason="it goes to another program, which keeps no file that is known", is_lasting=True)


def nginx_log_place(
    directive: Directive, unit: str | None, syslog_file: str | None
) -> LogLocation | NotSeen | None:
    """Return the place of an error_log or access_log that goes to syslog; None for any other (nginx documentation,
    'Logging to syslog')."""
    if not directive.args or not directive.args[0].startswith("syslog:"):
        return None
    options = dict(part.partition("=")[::2] for part in directive.args[0].removeprefix("syslog:").split(","))
    if not options.get("server", "").startswith("unix:"):
        return NotSeen(reason="it goes to the syslog of another host", is_lasting=True)
    if unit:
        return LogLocation(LogPlaceKind.JOURNAL, unit)
    if syslog_file:
        return LogLocation(LogPlaceKind.SYSLOG, syslog_file, tags=(options.get("tag", "nginx"),))
    return NotSeen(reason="it goes to syslog, which keeps no file that is known", is_lasting=True)
