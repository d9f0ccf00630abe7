"""Searches in log entries that judges share."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from ops.diagnosis.finding import Evidence, NotJudgedError, quote
from ops.facts.base import NotSeen
from ops.facts.logs import Log, LogEntry, Logs
from ops.interpret.nginx_error_line import own_words

TROUBLE_LEVELS = ("warning", "warn", "error", "critical", "crit", "alert", "emerg", "fatal")
# The last "File" line before the exception names the place that raised it.
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_PACKAGES = re.compile(r"/(?:site|dist)-packages/")
_RAISED = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|[A-Z]\w+))(?:: (.*))?$")


# gunicorn/http/errors.py (LimitRequestLine, LimitRequestHeaders), uvicorn's h11 and httptools protocols.
TOO_LONG = ("Request Line is too large", "limit request headers fields", "Invalid HTTP request received")

# gunicorn/workers/base.py, handle_error; the reasons quote the request as repr() does.
_REFUSAL = "Invalid request from ip="
_QUOTATION = re.compile("[\"']")

# The path of a log file, and an entry of it.
LocatedEntry = tuple[str, LogEntry]


def entries_with(log: Log | NotSeen, *phrases: str) -> tuple[LogEntry, ...]:
    """The entries in which the service says any of ``phrases``, oldest first; none if the log was not seen."""
    if isinstance(log, NotSeen):
        return ()
    return tuple(entry for entry in log.entries if any(phrase in said(entry) for phrase in phrases))


def said(entry: LogEntry) -> str:
    """An entry of the service without what it quotes of a request that gunicorn could not read: a client's text."""
    _, refusal, reason = entry.text.partition(_REFUSAL)
    return entry.text if not refusal else f"{refusal}{_QUOTATION.split(reason, maxsplit=1)[0]}"


def service_logs(logs: Logs) -> tuple[Log, ...]:
    """gunicorn's error log, and the application's own."""
    own = (logs.gunicorn_error,) if isinstance(logs.gunicorn_error, Log) else ()
    return (*own, *logs.application)


def nginx_entries(logs: Logs, *phrases: str) -> tuple[LocatedEntry, ...]:
    """The entries of all nginx error logs in which nginx itself says any of ``phrases``, each with its file, oldest
    first. What a client wrote into a line (its request, host, referrer) is not searched."""
    entries = [
        (path, entry)
        for path, log in logs.nginx_errors.items()
        for entry in (log.entries if isinstance(log, Log) else ())
        if any(phrase in own_words(entry.text) for phrase in phrases)
    ]
    return tuple(sorted(entries, key=lambda pair: pair[1].time))


def require_nginx_log(logs: Logs) -> None:
    """Raises NotJudgedError if none of nginx's error logs was seen."""
    unseen = [log for log in logs.nginx_errors.values() if isinstance(log, NotSeen)]
    if len(unseen) == len(logs.nginx_errors):
        raise NotJudgedError(
            unseen[0] if unseen else NotSeen(reason="nginx writes no error log to a file", is_lasting=True)
        )


def last_trouble(log: Log) -> Evidence | None:
    """Quote the newest entry of level warning or above; None if there is none."""
    troubles = [entry for entry in log.entries if entry.level in TROUBLE_LEVELS]
    return last_quote(log.path, troubles) if troubles else None


def last_quote(path: str, entries: Iterable[LogEntry]) -> Evidence:
    """Quote the first line of the last of ``entries``."""
    *_, last = entries
    return quote(path, last.text.partition("\n")[0])


class Raised(msgspec.Struct, frozen=True):
    """An exception in a log: the entry, the traceback's last line, and ``file:line`` of the code that raised it."""

    entry: LogEntry
    exception: str
    where: str


def raised_in(log: Log) -> tuple[Raised, ...]:
    """Every exception with a traceback in the log, oldest first."""
    pairs = ((entry, exception_in(entry.text)) for entry in log.entries)
    return tuple(Raised(entry, *exception) for entry, exception in pairs if exception is not None)


def raised_by_requests(log: Log) -> list[Raised]:
    """Exceptions of requests. A worker that does not load raises as well, and gunicorn's sync worker raises SystemExit
    in handle_abort if it exceeds the timeout: these are GUN003 and GUN004."""
    return [
        r
        for r in raised_in(log)
        if "Exception in worker process" not in r.entry.text
        and "handle_abort" not in r.entry.text
        and not r.exception.startswith(("SystemExit", "KeyboardInterrupt"))
    ]


def package_frame(text: str) -> str | None:
    """``file:line`` in the package that the application's code called when the exception was raised; None if it was
    raised in that code itself."""
    frames = _FRAME.findall(text)
    own = [number for number, (file, _) in enumerate(frames) if _is_own(file)]
    called = [frame for frame in frames[own[-1] + 1 :] if _PACKAGES.search(frame[0])] if own else []
    return f"{called[0][0]}:{called[0][1]}" if called else None


# Credentials that a call takes by their place, without a name that tells a secret: auth=("a", "b"), login("a", "b").
_CREDENTIALS = re.compile(r"(?i)(?:auth\w*|login|sign_?in|credentials?|passw\w*)\s*[=(]")
_LITERAL = re.compile(r"""(["'])(?:\\.|(?!\1).)*(?:\1|$)""")


def _without_credentials(line: str) -> str:
    """A source line with the strings behind such a word hidden; the log's words are cleaned of all others already."""
    word = _CREDENTIALS.search(line)
    return line if word is None else line[: word.end()] + _LITERAL.sub("'***'", line[word.end() :])


def innermost_own(text: str) -> str:
    """The source line of the innermost frame of the application's code, as the traceback shows it; empty without."""
    lines = text.splitlines()
    own = [
        number for number, line in enumerate(lines) if (match := _FRAME.search(line)) and _is_own(match[1])
    ]
    line = lines[own[-1] + 1].strip() if own and own[-1] + 1 < len(lines) else ""
    return _without_credentials(line)


def exception_in(text: str) -> tuple[str, str] | None:
    """The exception that ends a traceback, and ``file:line`` of the code that raised it; None without a traceback."""
    if "Traceback (most recent call last)" not in text:
        return None
    raised = None
    for line in reversed(text.splitlines()):
        if _RAISED.match(line.strip()):
            raised = line.strip()
            break
        if _FRAME.search(line):
            break
    if raised is None:
        return None
    frames = _FRAME.findall(text.rpartition(raised)[0])
    own = [frame for frame in frames if _is_own(frame[0])]
    frame = (own or frames or [("?", "?")])[-1]
    return raised, f"{frame[0]}:{frame[1]}"


# What code catches to go on another way: it may have had nothing to do with what was raised then.
_OFTEN_CAUGHT = re.compile(r"^(?:ImportError|ModuleNotFoundError|FileNotFoundError|KeyError)\b")
# Python's words between the tracebacks of exceptions that led to each other (its documentation, traceback).
_CHAINED = re.compile(
    r"\n\s*(The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\s*\n"
)


def earlier_exceptions(text: str) -> tuple[str, ...]:
    """The exceptions that the last one of a traceback was raised from or while handling, the newest first; not
    those that were only being handled and that code often catches to go on."""
    parts = _CHAINED.split(text)
    found = [
        (raised[0], words)
        for part, words in zip(parts[:-1:2], parts[1::2], strict=True)
        if (raised := exception_in(part))
    ]
    return tuple(
        exception
        for exception, words in reversed(found)
        if words.startswith("The above") or not _OFTEN_CAUGHT.match(exception)
    )


def is_own_code(where: str) -> bool:
    """Whether ``file:line`` is the application's, or not known."""
    file = where.rpartition(":")[0]
    return file in ("", "?") or _is_own(file)


def _is_own(file: str) -> bool:
    """Whether a frame's file is the application's, and no package's or the interpreter's."""
    return "site-packages" not in file and "/lib/python" not in file and not file.startswith("<")
