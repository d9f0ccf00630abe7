"""Read the entries that nginx and gunicorn logged within the window, from logs of any size."""

from __future__ import annotations

import math
import os
import re
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ops.collect.logs.access_log import count_requests
from ops.collect.logs.allowed_origins import allowed_origins
from ops.collect.logs.application_source import ApplicationSource
from ops.collect.logs.drawn_keys import drawn_keys
from ops.collect.logs.event_streams import event_streams
from ops.collect.logs.forwarded_reads import forwarded_reads
from ops.collect.logs.line import DISORDER, READERS, LogLine, Program, is_request
from ops.collect.logs.lines import JournalError, LogLines, log_lines
from ops.collect.logs.packed_files import PackedPlace, packed_files
from ops.collect.logs.pages import page_resources, shell_pages
from ops.collect.logs.private_routes import private_routes
from ops.collect.logs.refused_files import refused_files, refused_socket
from ops.collect.logs.service_files import service_files
from ops.collect.logs.source_lines import cookie_domains, handed_over_files, packed_bodies
from ops.collect.logs.unserved_files import unserved_files
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Log, LogEntry, Logs
from ops.facts.service_process import ServiceProcess
from ops.facts.target import Target
from ops.facts.traffic import HeldFile, TextFile, WebSocketRoute
from ops.files.bounded_read import UntrustedFileError
from ops.interpret.log_place import LogLocation, LogPlaceKind
from ops.interpret.target import log_namer
from ops.interpret.traffic import AccessLogSource
from ops.text.sanitize import HIDDEN, safe_line, safe_text, without_controls, without_secrets

MAX_LOGS = 16
# What a route that takes POST alone answers to GET: 405, or 404 where a framework has no such route.
LOST_METHOD = ("405", "404")
# Access logs of the site's locations, besides its own.
MAX_MORE_LOGS = 4
MAX_ENTRIES = 2000
# Entries kept of one shape: a flood of one notice must not displace the one relevant line.
MAX_OF_ONE_SHAPE = 500
MAX_ENTRY_CHARS = 4000
# Lines kept of a long entry, from its start and its end: a traceback ends with the exception's name.
FIRST_LINES = 16
LAST_LINES = 43

# What makes the service's processes worth reading.
_TELLING = ("Traceback (most recent call last)", "WORKER TIMEOUT")
_PRELOAD_FRAME = re.compile(rb'File "[^"]{0,4000}gunicorn/arbiter\.py", line \d+, in setup')
_BASE64_LINE = re.compile(r"^[A-Za-z0-9+/=]{30,}$", re.MULTILINE)
_ELSEWHERE = {
    "off": "it is switched off",
    "/dev/null": "it is thrown away",
    "-": "it goes to the service's standard output or error (see journalctl)",
    "stderr": "it goes to nginx's standard error (see journalctl)",
}


class LogPlaces(msgspec.Struct, frozen=True):
    """The places of the service's logs, and the formats of requests: nginx's log of the site, those of its locations,
    that of plain HTTP, gunicorn's. ``nginx_streams``: error logs of nginx that are not separate files;
    ``gunicorn_error``: the place of gunicorn's if it is not a separate file; ``answering_since``: when the present
    workers began to answer (`ops.interpret.traffic`); ``probed_since``: the start of this run's probes;
    ``nginx_workers``: pids; ``nginx_ignores_headers``: it has proxy_ignore_headers;
    ``packed``: where it has gzip_static; ``file_places``: where it sends files; ``adds_policies``: it adds a
    Content-Security-Policy; ``replaces_words``: it has sub_filter."""

    nginx: AccessLogSource | NotSeen | None = None
    nginx_more: tuple[AccessLogSource, ...] = ()
    nginx_plain: AccessLogSource | None = None
    nginx_streams: tuple[LogLocation | NotSeen, ...] = ()
    gunicorn: AccessLogSource | NotSeen | None = None
    gunicorn_error: LogLocation | NotSeen | None = None
    answering_since: float = 0.0
    probed_since: float = math.inf
    nginx_workers: tuple[int, ...] = ()
    nginx_ignores_headers: bool = False
    packed: tuple[PackedPlace, ...] = ()
    sent_files: tuple[PackedPlace, ...] = ()
    file_places: tuple[PackedPlace, ...] = ()
    adds_policies: bool = False
    replaces_words: bool = False


def read_logs(target: Target, since: float, now: float, places: LogPlaces | None = None) -> Logs:
    """Read the target's logs from ``since`` to ``now`` (Unix seconds). ``places``: the logs' places by configuration;
    without them the formats of access logs are unknown."""
    if places is None:
        paths = (target.nginx_access_log, target.gunicorn_access_log)
        nginx, gunicorn = (AccessLogSource(path) if path else None for path in paths)
        places = LogPlaces(nginx=nginx, gunicorn=gunicorn)
    times, path = (since, places.answering_since, places.probed_since), target.predict_path
    nginx_errors = {
        safe_line(log, 1000): error_log(LogLocation(LogPlaceKind.FILE, log), since, now, "nginx")
        for log in target.nginx_error_logs[:MAX_LOGS]
    }
    for place in places.nginx_streams:
        stream = place if isinstance(place, NotSeen) else error_log(place, since, now, "nginx")
        nginx_errors[stream.path if isinstance(stream, Log) else "error_log"] = stream
    own = LogLocation(
        LogPlaceKind.FILE, target.gunicorn_error_log or "", log_namer(target, "gunicorn_error_log")
    )
    gunicorn_error = error_log(
        own if target.gunicorn_error_log else places.gunicorn_error, since, now, "gunicorn"
    )
    nginx_access = _access_log(places.nginx, times, path, "nginx")
    gunicorn_access = _access_log(
        places.gunicorn, times, path, "gunicorn", log_namer(target, "gunicorn_access_log")
    )
    source = ApplicationSource(target.app_dir)
    texts, held = _sent_files(places, nginx_access)
    application = _of_application(target, gunicorn_error, (nginx_access, gunicorn_access), since, now)
    return Logs(
        since=since,
        nginx_errors=nginx_errors,
        refused_files=refused_files(nginx_errors, places.nginx_workers),
        refused_socket=refused_socket(nginx_errors, places.nginx_workers),
        unserved_files=unserved_files(nginx_errors, places.nginx_workers),
        serving=(*target.gunicorn_workers, *places.nginx_workers)
        if target.gunicorn_workers and places.nginx_workers
        else (),
        nginx_access=nginx_access,
        gunicorn_error=gunicorn_error,
        service_files=service_files(gunicorn_error, target),
        service_process=_service_process((gunicorn_error, *application), target),
        gunicorn_access=gunicorn_access,
        application=application,
        websocket_routes=_websocket_routes(source, nginx_access),
        allowed_origins=allowed_origins(source, (nginx_access, gunicorn_access)),
        forwarded_reads=forwarded_reads(source, nginx_access, gunicorn_access),
        cookie_domains=cookie_domains(source, nginx_access, gunicorn_access),
        handed_over_files=handed_over_files(source, nginx_access, gunicorn_access),
        packed_bodies=packed_bodies(source, nginx_access) if places.replaces_words else (),
        page_resources=page_resources(places.file_places, source, nginx_access)
        if places.adds_policies
        else (),
        shell_pages=shell_pages(places.file_places, nginx_access),
        event_streams=event_streams(source, nginx_access),
        private_routes=private_routes(source, nginx_access) if places.nginx_ignores_headers else (),
        packed_files=packed_files(places.packed, nginx_access),
        drawn_keys=drawn_keys(source, gunicorn_access, nginx_access),
        text_files=texts,
        held_files=held,
        nginx_plain_access=_access_log(places.nginx_plain, times, path, "nginx")
        if places.nginx_plain is not None
        else None,
        nginx_more_access={
            safe_line(source.path, 1000): _access_log(source, times, path, "nginx")
            for source in places.nginx_more[:MAX_MORE_LOGS]
        },
    )


def _sent_files(
    places: LogPlaces, log: AccessLog | NotSeen
) -> tuple[tuple[TextFile, ...], tuple[HeldFile, ...]]:
    """Files that users were sent, if the configuration may change what they get."""
    if not places.sent_files:
        return (), ()
    from ops.collect.logs.served_files import asked_files, held_files, text_files

    files = asked_files(places.sent_files, log)
    return text_files(files), held_files(files, places.nginx_workers)


def error_log(
    place: LogLocation | NotSeen | None, since: float, now: float, program: Program
) -> Log | NotSeen:
    """Read the entries of one error log from ``since`` on."""
    tail = _opened(place, since, program)
    if isinstance(tail, NotSeen):
        return tail
    read_line = READERS[program]
    gathered = _Gathered()
    continuation = _Continuation()
    newest = now
    has_lines = has_times = found_beginning = False
    try:
        for raw in tail.lines():
            has_lines = has_lines or bool(raw.strip())
            line = read_line(raw, newest)
            if line is None:
                if not is_request(raw):  # both logs may go to one place
                    continuation.add(raw)
                continue
            if not has_times:
                continuation = _without_preload(continuation, tail, since, now, gathered)
            has_times = True
            newest = min(newest, line.time)
            if line.time >= since:
                gathered.add(line, continuation)
            elif line.time < since - DISORDER:
                found_beginning = True
                break
            if continuation.count:
                continuation = _Continuation()
            if gathered.is_full:
                break
    except (OSError, ValueError) as error:
        return _unreadable(tail.path, error)
    if not has_times:
        _without_preload(continuation, tail, since, now, gathered)
    if has_lines and not has_times and not gathered.entries:
        return NotSeen(reason=safe_line(f"{tail.path}: no line in it begins with a time that is understood"))
    return Log(
        path=safe_line(tail.path, 1000),
        size=tail.size,
        modified=tail.modified,
        entries=tuple(reversed(gathered.entries)),
        complete=(found_beginning or tail.is_whole) and not gathered.is_thinned,
    )


def _of_application(
    target: Target,
    gunicorn_error: Log | NotSeen,
    access: tuple[AccessLog | NotSeen, ...],
    since: float,
    now: float,
) -> tuple[Log, ...]:
    """Read the application's own logs, if any request of users was refused or failed."""
    traffics = [log.traffic for log in access if isinstance(log, AccessLog) and log.traffic is not None]
    failed = [item for traffic in traffics for item in traffic.answers if item.status >= "400"]
    if not failed:
        return ()
    worst = [item.last for item in failed if item.status >= "500"] or [item.last for item in failed]
    from ops.collect.logs.application_logs import application_logs

    own = gunicorn_error.path if isinstance(gunicorn_error, Log) else ""
    other_logs = (own, target.gunicorn_error_log or "", target.gunicorn_access_log or "")
    return application_logs(target.gunicorn_workers, other_logs, since, now, max(worst))


def _service_process(logs: Iterable[Log | NotSeen], target: Target) -> ServiceProcess | None:
    """Read a process of the service, if its logs have exceptions or workers that exceeded the timeout."""
    entries = [entry for log in logs if isinstance(log, Log) for entry in log.entries]
    texts = [entry.text for entry in entries if any(word in entry.text for word in _TELLING)]
    if not texts:
        return None
    from ops.collect.process.service_process import service_process

    return service_process(texts, target)


def _websocket_routes(source: ApplicationSource, access: AccessLog | NotSeen) -> tuple[WebSocketRoute, ...]:
    """Search the application's source, if any request of users was refused."""
    if isinstance(access, NotSeen) or access.traffic is None:
        return ()
    if not any(item.status >= "400" and item.method == "GET" for item in access.traffic.answers):
        return ()
    from ops.collect.logs.websocket_routes import websocket_routes

    return websocket_routes(source, (access,))


class _Continuation:
    """Lines without a time of their own, added from the last to the first; they belong to the entry above them."""

    def __init__(self) -> None:
        self.last: list[bytes] = []
        self.first: deque[bytes] = deque(maxlen=FIRST_LINES)
        self.count = 0

    def add(self, line: bytes) -> None:
        self.count += 1
        if len(self.last) < LAST_LINES:
            self.last.append(line)
        else:
            self.first.append(line)

    def lines(self) -> list[bytes]:
        """The lines in the log's order, with a mark in place of those left out."""
        omitted = self.count - len(self.last) - len(self.first)
        mark = [f"… {omitted} lines …".encode()] if omitted else []
        return [*reversed(self.first), *mark, *reversed(self.last)]


def _without_preload(
    lines: _Continuation, tail: LogLines, since: float, now: float, gathered: _Gathered
) -> _Continuation:
    """Return the lines at a log's end; if they hold the traceback of a master that could not load the application
    before it forked, add it to ``gathered`` and return none.

    gunicorn does not log it (preload_app, Arbiter.setup): Python writes it to standard error without a time, and so to
    the error log with capture_output or a redirection. It becomes an entry of its own, with the time of the log's last
    write; the lines above it are older and unrelated."""
    all_lines = lines.lines()
    setup = next(
        (at for at in range(len(all_lines) - 1, -1, -1) if _PRELOAD_FRAME.search(all_lines[at])), None
    )
    if setup is None:
        return lines
    if tail.modified >= since:
        first = LogLine(min(tail.modified, now), "critical", None, b"Traceback (most recent call last):")
        traceback = _Continuation()
        for line in reversed(all_lines[setup:]):
            traceback.add(line)
        gathered.add(first, traceback)
    return _Continuation()


class _Gathered:
    """The entries kept, newest first."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.is_thinned = False
        self._shapes: Counter[bytes] = Counter()

    @property
    def is_full(self) -> bool:
        return len(self.entries) >= MAX_ENTRIES

    def add(self, line: LogLine, continuation: _Continuation) -> None:
        shape = line.text[:60].translate(None, b"0123456789")
        self._shapes[shape] += 1
        if self._shapes[shape] > MAX_OF_ONE_SHAPE:
            self.is_thinned = True
            return
        text = entry_text(line.text, continuation.lines())
        self.entries.append(LogEntry(time=line.time, level=line.level, pid=line.pid, text=text))


def entry_text(first: bytes, continuation: list[bytes]) -> str:
    """The text kept of an entry; if it is long, its middle is cut out."""
    text = "\n".join(line.decode("utf-8", "replace").rstrip("\r") for line in (first, *continuation))
    if "PRIVATE KEY-----" in text:
        # If the middle with its BEGIN line were cut out first, the key would not be recognised.
        text = _BASE64_LINE.sub(HIDDEN, text)
    room = MAX_ENTRY_CHARS - 100
    if len(text) > room:
        # Hide secrets before cutting: half a secret would not be recognised.
        text = without_secrets(without_controls(text))
    if len(text) > room:
        head = room // 4
        text = f"{safe_text(text[:head], head)}\n…\n{safe_text(text[head - room :], room - head)}"
    return safe_text(text, MAX_ENTRY_CHARS)


def _access_log(
    source: AccessLogSource | NotSeen | None,
    times: tuple[float, float, float],
    predict_path: str,
    program: Program,
    namer: int | None = None,
) -> AccessLog | NotSeen:
    """Count one access log. ``times``: the window's start, `LogPlaces.answering_since`, `LogPlaces.probed_since`."""
    since, counted_since, probed_since = times
    if source is None or isinstance(source, NotSeen):
        return source or NotSeen(reason="no such log is configured", is_lasting=True)
    tail = _opened(source.place or LogLocation(LogPlaceKind.FILE, source.path, namer), since, program)
    if isinstance(tail, NotSeen):
        return tail
    try:
        return count_requests(
            tail,
            source,
            since,
            counted_since,
            predict_path,
            of_nginx=program == "nginx",
            probed_since=probed_since,
        )
    except (OSError, ValueError) as error:
        return _unreadable(tail.path, error)


def _opened(place: LogLocation | NotSeen | None, since: float, program: Program) -> LogLines | NotSeen:
    if place is None or isinstance(place, NotSeen):
        return place or NotSeen(reason="no such log is configured", is_lasting=True)
    elsewhere = _elsewhere(place.name) if place.kind is LogPlaceKind.FILE else None
    if elsewhere is not None:
        return NotSeen(reason=safe_line(f"{place.name}: {elsewhere}"))
    try:
        return log_lines(place, since, program)
    except JournalError as error:
        return NotSeen(reason=safe_line(str(error)), needs_root=os.geteuid() != 0)
    except (OSError, ValueError) as error:
        return _unreadable(place.name, error)


def _elsewhere(path: str) -> str | None:
    """The destination of a log that is no file: a keyword of the configuration, or (in containers) a link to a stream;
    None for a file."""
    if path in _ELSEWHERE:
        return _ELSEWHERE[path]
    if path.startswith(("syslog:", "memory:", "syslog+", "udp:")):
        return "it goes to syslog or memory, not to a file"
    place = path
    for _ in range(8):
        if place.startswith(("/dev/std", "/dev/fd/", "/proc/")):
            # Opening it would open this program's own stream.
            return "it goes to a standard stream of the service, not to a file"
        try:
            place = str(Path(place).parent / os.readlink(place))  # noqa: PTH115  one link, not the whole chain
        except (OSError, ValueError):
            return None
    return None


def _unreadable(path: str, error: OSError | ValueError) -> NotSeen:
    if isinstance(error, PermissionError):
        return NotSeen(reason=safe_line(f"{path}: permission denied"), needs_root=os.geteuid() != 0)
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    is_refused = isinstance(error, UntrustedFileError)
    return NotSeen(reason=safe_line(f"{path}: {words.lower()}"), is_refused=is_refused)
