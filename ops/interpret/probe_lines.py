"""Find the log lines of gte-ops' own requests, by time, path, request id and client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Log, LogEntry, Logs
from ops.facts.probes import Exchange
from ops.facts.traffic import LoggedRequest
from ops.interpret.address import is_loopback
from ops.interpret.nginx_error_line import request_of

MAX_ERRORS = 3
# At most this many requests of one run are refused (health, prediction, plain HTTP, the challenge, no redirects).
MAX_REFUSED = 8
_TROUBLE = ("warning", "warn", "error", "critical", "crit", "alert", "emerg", "fatal")
# nginx's error log: ngx_http_log_error_handler.


class LocatedLine(msgspec.Struct, frozen=True):
    """One line of a log, with the log's path."""

    path: str
    line: str


def lines_of_probe(logs: Logs, exchange: Exchange, taken_at: float) -> tuple[LocatedLine, ...]:
    """Return the lines of nginx and the service about ``exchange``, which was sent after ``taken_at`` (Unix seconds):
    one from each access log, then those from the error logs."""
    return (*_requests(logs, exchange, taken_at), *_errors(logs, exchange, taken_at))


def of_others(entries: Sequence[LogEntry], logs: Logs, taken_at: float) -> list[LogEntry]:
    """Return those of nginx's ``entries`` that are not about requests of gte-ops.

    Entries of this run have a time after ``taken_at`` and a client on this machine. The log has whole seconds: if there
    are more of these than one run can cause, other local clients sent requests too, and all of them are returned."""
    own = [entry for entry in entries if _is_of_this_run(entry, taken_at)]
    is_exact = len(own) <= MAX_REFUSED
    return [
        entry
        for entry in entries
        if not (is_exact and _is_of_this_run(entry, taken_at))
        and not is_of_earlier_run(entry, logs, taken_at)
    ]


def is_of_earlier_run(entry: LogEntry, logs: Logs, taken_at: float) -> bool:
    """Whether an entry of nginx's error log is about a request that failed in an earlier run of gte-ops: the access log
    contains that request with gte-ops' user agent."""
    request = request_of(entry.text)
    if request is None or entry.time >= int(taken_at):
        return False
    client = _client(entry)
    return any(
        (probe.method, probe.path) == request
        and probe.time < int(taken_at)
        and abs(probe.time - entry.time) <= 1.0
        and probe.status >= "400"
        and probe.client in ("", client)
        for log in (logs.nginx_access, *logs.nginx_more_access.values())
        if isinstance(log, AccessLog) and log.traffic is not None
        for probe in log.traffic.probes
    )


def _is_of_this_run(entry: LogEntry, taken_at: float) -> bool:
    return entry.time >= int(taken_at) and is_loopback(_client(entry))


def _client(entry: LogEntry) -> str:
    return entry.text.partition("client: ")[2].partition(",")[0]


def latest_trouble(logs: Logs) -> tuple[LocatedLine, ...]:
    """Return the newest line of each error log that is a warning or worse, if no line belongs to the probe itself."""
    lines = []
    for log in (*logs.nginx_errors.values(), logs.gunicorn_error):
        troubles = [entry for entry in log.entries if entry.level in _TROUBLE] if isinstance(log, Log) else []
        if troubles and isinstance(log, Log):
            lines.append(LocatedLine(log.path, _shown(troubles[-1])))
    return tuple(lines)


def _requests(logs: Logs, exchange: Exchange, taken_at: float) -> Iterator[LocatedLine]:
    for log in (logs.nginx_access, *logs.nginx_more_access.values(), logs.gunicorn_access):
        if not isinstance(log, AccessLog) or log.traffic is None:
            continue
        request = _own(log.traffic.probes, exchange, taken_at)
        if request is not None:
            yield LocatedLine(log.path, request.line)


def _own(probes: tuple[LoggedRequest, ...], exchange: Exchange, taken_at: float) -> LoggedRequest | None:
    """Return the newest of ``probes`` with the answer's request id, else with its status, else with its path."""
    path = urlsplit(exchange.url).path or "/"
    # Access logs may have whole seconds.
    alike = [
        probe
        for probe in probes
        if probe.line
        and probe.time >= int(taken_at)
        and (probe.method, probe.path) == (exchange.method, path)
    ]
    request_id = exchange.header("x-request-id")
    by_id = [probe for probe in alike if request_id and probe.request_id == request_id]
    by_status = [probe for probe in alike if probe.status == str(exchange.status)]
    return next(iter((by_id or by_status or alike)[::-1]), None)


def _errors(logs: Logs, exchange: Exchange, taken_at: float) -> Iterator[LocatedLine]:
    path = urlsplit(exchange.url).path or "/"
    for log_path, log in logs.nginx_errors.items():
        entries = _since(log, taken_at)
        own = [entry for entry in entries if request_of(entry.text) == (exchange.method, path)]
        yield from (LocatedLine(log_path, _shown(entry)) for entry in own[-MAX_ERRORS:])
    service = logs.gunicorn_error
    troubles = [entry for entry in _since(service, taken_at) if entry.level in _TROUBLE]
    if troubles and isinstance(service, Log):
        about = [entry for entry in troubles if path in entry.text.partition("\n")[0]] or troubles
        yield LocatedLine(service.path, _shown(about[-1]))


def _since(log: Log | NotSeen, taken_at: float) -> list[LogEntry]:
    return [] if isinstance(log, NotSeen) else [e for e in log.entries if e.time >= int(taken_at)]


def _shown(entry: LogEntry) -> str:
    """Return an entry's first line, and its last one if it has several: the exception of a traceback."""
    first, _, rest = entry.text.partition("\n")
    last = rest.rstrip().rpartition("\n")[2].strip()
    return f"{first} … {last}" if last else first
