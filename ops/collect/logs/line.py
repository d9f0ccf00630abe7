"""Parse one line of a log: nginx's and gunicorn's error logs, and access logs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Literal, NamedTuple

from ops.interpret.log_format import LogFormat

LEVELS = (
    "debug",
    "info",
    "notice",
    "warning",
    "warn",
    "error",
    "critical",
    "crit",
    "alert",
    "emerg",
    "fatal",
)
# Seconds by which an entry's time may be later than that of the entry written after it.
DISORDER = 60.0


class LogLine(NamedTuple):
    """The first line of an entry. ``level`` is lower case, empty if the line has none."""

    time: float
    level: str
    pid: int | None
    text: bytes


_NGINX = re.compile(rb"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(\w{1,10})\] (\d{1,10})#\d+: ?(.*)", re.DOTALL)
# The formats of gunicorn, of Flask ([date,ms] LEVEL in module: ...), and of logging.basicConfig and the like.
_DATE = rb"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.,]\d{1,9})?"
_STAMPED = re.compile(rb"\[?" + _DATE + rb" ?(Z|[+-]\d\d:?\d\d)?\]?[ :|-]*(.*)", re.DOTALL)
_GUNICORN = re.compile(rb"\[(\d{1,10})\] \[([A-Za-z]{1,10})\] ?(.*)", re.DOTALL)
_LEVELLED = re.compile(rb"(?i)\[?\b(" + "|".join(LEVELS).encode() + rb")\b\]?[ :|-]*(.*)", re.DOTALL)
_LEVEL_WORD = re.compile(rb"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)\b")


def nginx_line(line: bytes, newest: float) -> LogLine | None:
    """Parse a line of nginx's error log; None if it has no time of its own. ``newest``: see `local_time`."""
    match = _NGINX.match(line)
    if match is None:
        return None
    stamp, level, pid, text = match.groups()
    at = local_time(_fields(stamp), newest)
    return None if at is None else LogLine(at, level.decode().lower(), int(pid), text)


def gunicorn_line(line: bytes, newest: float) -> LogLine | None:
    """Parse a line of gunicorn's error log, of Flask's or Python's logging in it, or JSON; None without a time."""
    if line.startswith(b"{"):
        return _json_line(line, newest)
    match = _STAMPED.match(line)
    if match is None:
        return None
    at = stamp_time(tuple(map(int, match.groups()[:6])), match[7], newest)
    if at is None:
        return None
    rest = match[8]
    own = _GUNICORN.match(rest)
    if own is not None:
        return LogLine(at, own[2].decode().lower(), int(own[1]), own[3])
    levelled = _LEVELLED.match(rest)
    if levelled is not None:
        return LogLine(at, levelled[1].decode().lower(), None, levelled[2])
    word = _LEVEL_WORD.search(rest[:80])
    return LogLine(at, word[1].decode().lower() if word else "", None, rest)


_JSON_TIMES = ("time", "timestamp", "ts", "asctime", "@timestamp", "datetime")
_JSON_LEVELS = ("level", "levelname", "severity", "log_level")
_JSON_TEXTS = ("message", "msg", "event")
_JSON_TRACES = ("exc_info", "exception", "traceback", "stack_info", "stack")


def _json_line(line: bytes, newest: float) -> LogLine | None:
    try:
        record = json.loads(line)
        return _of_record(record, newest)
    except (ValueError, RecursionError):
        return None


def _of_record(record: object, newest: float) -> LogLine | None:
    """The line that a JSON record holds. Raises RecursionError if it is nested too deeply to be shown."""
    if not isinstance(record, dict):
        return None
    at = next((t for key in _JSON_TIMES if (t := _json_time(record.get(key), newest)) is not None), None)
    if at is None:
        return None
    level = next((str(record[key]) for key in _JSON_LEVELS if key in record), "")
    pid = record.get("pid", record.get("process"))
    words = [str(record[key]) for key in (*_JSON_TEXTS, *_JSON_TRACES) if record.get(key)]
    return LogLine(
        at,
        level[:10].lower(),
        pid if type(pid) is int and 0 < pid < 1 << 31 else None,
        "\n".join(words).encode("utf-8", "replace"),
    )


def _json_time(value: object, newest: float) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 1e9 < value < 1e14:
            return None
        # Seconds, or milliseconds as in JavaScript.
        return value / 1000 if value > 1e11 else float(value)
    if not isinstance(value, str):
        return None
    match = _STAMPED.match(value.encode("utf-8", "replace"))
    return stamp_time(tuple(map(int, match.groups()[:6])), match[7], newest) if match else None


Program = Literal["nginx", "gunicorn"]
# The parser of each program's error log.
READERS: dict[Program, Callable[[bytes, float], LogLine | None]] = {
    "nginx": nginx_line,
    "gunicorn": gunicorn_line,
}


# --- access logs ---

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_COMMON_TIME = re.compile(rb"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})")
_ISO_TIME = re.compile(_DATE + rb" ?(Z|[+-]\d\d:?\d\d)")
_UNIX_TIME = re.compile(rb"[\"'](?:msec|ts|time|timestamp)[\"']\s*:\s*[\"']?(\d{10})(?:\.\d+)?\b")
# $request as nginx and gunicorn quote it; quotes inside are escaped (\x22, \").
_INSIDE = rb"[^\"\\]*(?:\\.[^\"\\]*)*"
_QUOTED = re.compile(rb"\"" + _INSIDE + rb"\"", re.DOTALL)
# The combined format, the most common: one match instead of three.
_COMBINED = re.compile(rb"[^\[\"{]*\[([^\]]{26})\] \"" + _INSIDE + rb"\" (\d{3})(?: |$)", re.DOTALL)
_STATUS_BEHIND = re.compile(rb" (\d{3})(?: |$)")
_STATUS_NAMED = re.compile(rb"\bstatus[\"']?\s*[=:]\s*[\"']?(\d{3})\b")


class Access(NamedTuple):
    """One request as logged. ``status`` is None if the format does not contain it."""

    time: float
    status: str | None


def access_line(line: bytes) -> Access | None:
    """Parse a line of an access log: combined, any format with its bracketed time, or JSON. None without a time."""
    combined = _COMBINED.match(line)
    if combined is not None and (at := _common_time(combined[1])) is not None:
        return Access(at, combined[2].decode())
    match = _COMMON_TIME.search(line)
    if match is not None:
        at = _common_time(match[0])
        end = match.end()
    else:
        match = _ISO_TIME.search(line)
        if match is not None:
            at, end = _zoned(tuple(map(int, match.groups()[:6])), match[7]), match.end()
        else:
            match = _UNIX_TIME.search(line)
            if match is None:
                return None
            at, end = float(match[1]), match.end()
    if at is None:
        return None
    return Access(at, _status(line, end))


class Request(NamedTuple):
    """One request as logged; a field that its line lacks is empty or None. Sizes are bytes, ``seconds`` the duration;
    ``path`` may have a query, ``upstream`` and ``upstream_status`` are nginx's lists; ``forwarded``: the client as a
    proxy in front of nginx names it; ``host``: the name that was asked for, or the first of the server block's;
    ``port``: the one that the client reached."""

    time: float
    status: bytes
    method: bytes = b""
    path: bytes = b""
    length: float | None = None
    sent: float | None = None
    seconds: float | None = None
    upstream: bytes = b""
    upstream_status: bytes = b""
    agent: bytes = b""
    client: bytes = b""
    request_id: bytes = b""
    forwarded: bytes = b""
    host: bytes = b""
    port: bytes = b""


def request_line(line: bytes, log_format: LogFormat | None) -> Request | None:
    """Parse a line of an access log by its configured format; if there is none, or the line was written with another,
    by the parts that such lines share. None without a time; ``status`` is empty if the line has none."""
    values = log_format.values(line) if log_format is not None else None
    if log_format is None or values is None:
        return _unformatted(line)
    stamp, request, method, path, status, length, sent_bytes, seconds, *others = values
    at = logged_time(stamp)
    if at is None:
        return None
    if request:
        method, path = _split_request(request)
    took = _number(seconds)
    return Request(
        at,
        status,
        method,
        path,
        _number(length),
        _number(sent_bytes),
        None if took is None else took / log_format.divisor,
        *others,
    )


_ASKED = re.compile(rb"\"[A-Z]{2,20} \S{1,8000} HTTP/[\d.]+\\?\"[^\"]{0,40}\b\d{3}\b")


def is_request(line: bytes) -> bool:
    """Whether a line belongs to an access log: some programs write both logs to one place."""
    return _ASKED.search(line) is not None


_REQUEST = re.compile(rb"\"([A-Z][A-Z_-]{1,20}) (\S{1,8000})(?: HTTP/[\d.]+)?\"(?: \d{3} (\d+)\b)?")
# The names that applications use in JSON, by field.
_JSON_NAMES = {
    "method": ("method", "request_method", "verb", "http_method"),
    "path": ("path", "uri", "request_uri", "url", "request_path"),
    "request": ("request",),
    "sent": ("body_bytes_sent", "bytes_sent", "bytes", "size", "response_length"),
    "agent": ("http_user_agent", "user_agent", "agent"),
    "client": ("remote_addr", "remote_ip", "client", "client_ip", "ip"),
    "upstream": ("upstream_addr", "upstream"),
    "upstream_status": ("upstream_status",),
    "request_id": ("request_id", "req_id"),
    "forwarded": ("http_x_forwarded_for", "x_forwarded_for", "xff"),
    "host": ("server_name", "host", "http_host", "vhost"),
}


def _unformatted(line: bytes) -> Request | None:
    access = access_line(line)
    if access is None:
        return None
    status = (access.status or "").encode()
    if line.startswith(b"{"):
        return _json_request(line, access.time, status)
    match = _REQUEST.search(line)
    if match is None:
        return Request(access.time, status)
    # gte-ops' own requests are known by their agent, anywhere after the request.
    agent = OWN_AGENT if OWN_AGENT in line[match.end() :] else b""
    client = line.partition(b" ")[0] if match.start() > line.find(b" ") else b""
    return Request(
        access.time, status, match[1], match[2], sent=_number(match[3]), agent=agent, client=client
    )


def _json_request(line: bytes, at: float, status: bytes) -> Request:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return Request(at, status)
    values = {
        field: next((record[name] for name in names if isinstance(record.get(name), str | int)), "")
        for field, names in _JSON_NAMES.items()
    }
    words = {field: str(value)[:8000].encode("utf-8", "replace") for field, value in values.items()}
    method, path = _split_request(words["request"])
    return Request(
        at,
        status,
        words["method"] or method,
        words["path"] or path,
        sent=_number(words["sent"]),
        upstream=words["upstream"],
        upstream_status=words["upstream_status"],
        agent=words["agent"],
        client=words["client"],
        request_id=words["request_id"],
        forwarded=words["forwarded"],
        host=words["host"],
    )


# The beginning of the User-Agent of every request of gte-ops (ops/collect/net/http_probe.py).
OWN_AGENT = b"gte-ops"


def _split_request(request: bytes) -> tuple[bytes, bytes]:
    """Method and path of a request line; empty if it is none."""
    words = request.split(b" ", 2)
    return (words[0], words[1]) if len(words) > 1 and words[0].isalpha() else (b"", b"")


def _number(value: bytes | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None


def logged_time(stamp: bytes) -> float | None:
    """Parse a time as nginx and gunicorn write it: $time_local, %(t)s, $time_iso8601, $msec."""
    at = _common_time(stamp.strip(b"[]"))
    if at is not None:
        return at
    match = _ISO_TIME.match(stamp)
    if match is not None:
        return _zoned(tuple(map(int, match.groups()[:6])), match[7])
    return _number(stamp)


def _status(line: bytes, start: int) -> str | None:
    if line[start : start + 1] == b'"':
        start += 1  # the time itself was quoted
    if not line.startswith(b"{"):
        # Check each quoted string once, from left to right: a status inside a request is skipped with it.
        while (opening := line.find(b'"', start)) >= 0:
            quoted = _QUOTED.match(line, opening)
            if quoted is None:
                break
            behind = _STATUS_BEHIND.match(line, quoted.end())
            if behind is not None:
                return behind[1].decode()
            start = quoted.end()
    match = _STATUS_NAMED.search(line)
    return match[1].decode() if match else None


# --- time ---


@lru_cache(maxsize=4096)
def _common_time(stamp: bytes) -> float | None:
    match = _COMMON_TIME.match(stamp)
    if match is None or match[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[place]) for place in (1, 3, 4, 5, 6))
    return _zoned((year, _MONTHS[match[2]], day, hour, minute, second), match[7])


def stamp_time(fields: tuple[int, ...], zone: bytes | None, newest: float) -> float | None:
    """Unix seconds of year, month, day, hour, minute, second in ``zone`` (+0800, +08:00, Z), or in local time."""
    return local_time(fields, newest) if not zone else _zoned(fields, zone)


@lru_cache(maxsize=4096)
def _zoned(fields: tuple[int, ...], zone: bytes) -> float | None:
    digits = zone[1:].replace(b":", b"")
    offset = timedelta() if zone == b"Z" else timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if zone[:1] == b"-":
        offset = -offset
    try:
        year, month, day, hour, minute, second = fields
        # Count a leap second (60) as 59: datetime does not accept it, and no program we know logs it.
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone(offset))
        return moment.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def local_time(fields: tuple[int, ...], newest: float) -> float | None:
    """Unix seconds of a local time. In the hour that clocks repeat, the latest reading that is not after ``newest``
    (give or take DISORDER), the time of the entry written after this one."""
    readings = _local_readings(fields)
    if len(readings) < 2:
        return readings[0] if readings else None
    return max((at for at in readings if at <= newest + DISORDER), default=readings[0])


@lru_cache(maxsize=4096)
def _fields(text: bytes) -> tuple[int, ...]:
    return tuple(map(int, _NUMBER.findall(text)))


_NUMBER = re.compile(rb"\d+")


@lru_cache(maxsize=4096)
def _local_readings(fields: tuple[int, ...]) -> tuple[float, ...]:
    readings = set()
    for dst in (0, 1):
        try:
            at = time.mktime((*fields, 0, 0, dst))  # type: ignore[arg-type]
            if tuple(time.localtime(at)[:6]) == fields:
                readings.add(at)
        except (OverflowError, ValueError):
            continue
    return tuple(sorted(readings))
