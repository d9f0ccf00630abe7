"""The log lines that belong to one of the doctor's own requests, by its time, its path, its id and who sent it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Log, LogEntry, Logs
from ops.facts.probes import Exchange
from ops.facts.traffic import LoggedRequest

MAX_ERRORS = 3
_TROUBLE = ("warning", "warn", "error", "critical", "crit", "alert", "emerg", "fatal")
# nginx's error log: ngx_http_log_error_handler.
_REQUEST = re.compile(r'request: "([A-Z]+) ([^ "?]*)')


class LocatedLine(msgspec.Struct, frozen=True):
    """One line of a log, with the log's path."""

    path: str
    line: str


def lines_of_probe(logs: Logs, exchange: Exchange, taken_at: float) -> tuple[LocatedLine, ...]:
    """What nginx and the service logged about ``exchange``, which was sent after ``taken_at`` (Unix seconds): the line
    of each access log, then what the error logs say of it."""
    return (*_requests(logs, exchange, taken_at), *_errors(logs, exchange, taken_at))


def latest_trouble(logs: Logs) -> tuple[LocatedLine, ...]:
    """The newest line above information of each error log in the window, where nothing belongs to the probe itself."""
    found = []
    for log in (*logs.nginx_errors.values(), logs.gunicorn_error):
        troubles = [entry for entry in log.entries if entry.level in _TROUBLE] if isinstance(log, Log) else []
        if troubles and isinstance(log, Log):
            found.append(LocatedLine(log.path, _shown(troubles[-1])))
    return tuple(found)


def _requests(logs: Logs, exchange: Exchange, taken_at: float) -> Iterator[LocatedLine]:
    for log in (logs.nginx_access, *logs.nginx_more_access.values(), logs.gunicorn_access):
        if not isinstance(log, AccessLog) or log.traffic is None:
            continue
        request = _own(log.traffic.probes, exchange, taken_at)
        if request is not None:
            yield LocatedLine(log.path, request.line)


def _own(probes: tuple[LoggedRequest, ...], exchange: Exchange, taken_at: float) -> LoggedRequest | None:
    """The request among ``probes``: by its id where the answer names one, else by its status, else the newest alike."""
    path = urlsplit(exchange.url).path or "/"
    # Access logs have whole seconds.
    alike = [
        probe
        for probe in probes
        if probe.line
        and probe.time >= int(taken_at)
        and (probe.method, probe.path) == (exchange.method, path)
    ]
    named = exchange.header("x-request-id")
    by_id = [probe for probe in alike if named and probe.request_id == named]
    by_status = [probe for probe in alike if probe.status == str(exchange.status)]
    return next(iter((by_id or by_status or alike)[::-1]), None)


def _errors(logs: Logs, exchange: Exchange, taken_at: float) -> Iterator[LocatedLine]:
    path = urlsplit(exchange.url).path or "/"
    for log_path, log in logs.nginx_errors.items():
        asked = [(entry, _REQUEST.search(entry.text)) for entry in _since(log, taken_at)]
        own = [entry for entry, match in asked if match and (match[1], match[2]) == (exchange.method, path)]
        yield from (LocatedLine(log_path, _shown(entry)) for entry in own[-MAX_ERRORS:])
    service = logs.gunicorn_error
    troubles = [entry for entry in _since(service, taken_at) if entry.level in _TROUBLE]
    if troubles and isinstance(service, Log):
        about = [entry for entry in troubles if path in entry.text.partition("\n")[0]] or troubles
        yield LocatedLine(service.path, _shown(about[-1]))


def _since(log: Log | NotSeen, taken_at: float) -> list[LogEntry]:
    return [] if isinstance(log, NotSeen) else [e for e in log.entries if e.time >= int(taken_at)]


def _shown(entry: LogEntry) -> str:
    """An entry's first line, and of a traceback the last: the exception."""
    first, _, rest = entry.text.partition("\n")
    last = rest.rstrip().rpartition("\n")[2].strip()
    return f"{first} … {last}" if last else first
