"""Access logs, read from their end within a bound, and counted: by status, and by path and status."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from dataclasses import dataclass, field

from ops.collect.logs.line import DISORDER, OWN_AGENT, Request, request_line
from ops.collect.logs.lines import LogLines
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import Answers, Attempts, LoggedRequest, Spread, Traffic
from ops.interpret.log_format import LogFormat, gunicorn_format, nginx_format
from ops.interpret.traffic import AccessLogSource, general_path
from ops.text.sanitize import safe_line

# Methods, paths and statuses counted apart; what comes beyond is counted in `Traffic.omitted`. Kept of them: the most
# frequent, and before them those that failed.
MAX_COUNTED = 2000
MAX_KEPT = 120
# Of each, so many values for its median (the newest), so many addresses, so many lines.
MAX_VALUES = 200
MAX_ADDRESSES = 16
MAX_LINES = 3
MAX_QUOTED = 60
MAX_LINE_CHARS = 300
MAX_PROBES = 60
_QUERY = re.compile(r"\?[^\s\"']+")


@dataclass(slots=True)
class _Count:
    """Requests of one method, path and status."""

    first: float
    last: float
    count: int = 0
    lengths: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    upstreams: Counter[bytes] = field(default_factory=Counter)
    newest: list[bytes] = field(default_factory=list)

    def add(self, request: Request, raw: bytes) -> None:
        self.count += 1
        self.first = min(self.first, request.time)
        self.last = max(self.last, request.time)
        if self.count <= MAX_VALUES:  # newest first
            for values, value in (
                (self.lengths, request.length),
                (self.sent, request.sent),
                (self.seconds, request.seconds),
            ):
                if value is not None:
                    values.append(value)
        if len(request.upstream) > 1:
            address = _listed(request.upstream)[-1]
            if address in self.upstreams or len(self.upstreams) < MAX_ADDRESSES:
                self.upstreams[address] += 1
        if request.status >= b"400" and len(self.newest) < MAX_LINES:
            self.newest.append(raw)


class TrafficCount:
    """What is counted of one log's requests, newest first."""

    def __init__(
        self,
        source: AccessLogSource,
        log_format: LogFormat | None,
        since: float,
        probed_since: float = math.inf,
    ) -> None:
        self._source = source
        self._format = log_format
        self._since = since
        # Where the format has no agent, what this host asked since then is taken for the probes', by whole seconds.
        names_agents = log_format is None or "agent" in log_format.fields
        self._probed_since = math.inf if names_agents else probed_since - 1.0
        self._counts: dict[tuple[str, str, str], _Count] = {}
        self._by_request: dict[tuple[bytes, bytes, bytes], _Count] = {}
        self._attempts: dict[bytes, tuple[Counter[bytes], float]] = {}
        self._probes: deque[tuple[Request, bytes]] = deque(maxlen=MAX_PROBES)
        self._omitted = 0

    def add(self, request: Request, raw: bytes) -> None:
        """Count one request."""
        if request.time < self._since:
            return
        if request.agent.startswith(OWN_AGENT) or (
            request.time >= self._probed_since and _is_from_here(request.client)
        ):
            if len(self._probes) < MAX_PROBES:
                self._probes.append((request, raw))
            return
        count = self._by_request.get((request.method, request.path, request.status)) or self._count_of(
            request
        )
        if count is None:
            self._omitted += 1
            return
        count.add(request, raw)
        if len(request.upstream) > 1:
            self._attempt(request)

    def _count_of(self, request: Request) -> _Count | None:
        written = (request.method, request.path, request.status)
        method, path, status = (word.decode("utf-8", "replace") for word in written)
        key = (method, general_path(path), status)
        if key not in self._counts:
            if len(self._counts) >= MAX_COUNTED:
                return None
            self._counts[key] = _Count(request.time, request.time)
        if len(self._by_request) < MAX_COUNTED:
            self._by_request[written] = self._counts[key]
        return self._counts[key]

    def _attempt(self, request: Request) -> None:
        statuses = _listed(request.upstream_status)
        for at, address in enumerate(_listed(request.upstream)):
            if address not in self._attempts:
                if len(self._attempts) >= MAX_ADDRESSES:
                    continue
                self._attempts[address] = (Counter(), request.time)
            status = statuses[at] if at < len(statuses) else b"-"
            self._attempts[address][0][status if status.isdigit() else b"-"] += 1

    def traffic(self) -> Traffic:
        """The facts."""
        ranked = sorted(
            self._counts.items(),
            key=lambda item: (item[0][2] < "500" and item[0][2] != "499", -item[1].count),
        )
        kept, left = ranked[:MAX_KEPT], ranked[MAX_KEPT:]
        quoted = 0
        answers = []
        for (method, path, status), count in kept:
            lines = count.newest[: max(0, MAX_QUOTED - quoted)]
            quoted += len(lines)
            answers.append(
                Answers(
                    method=safe_line(method, 20),
                    path=safe_line(path, 200),
                    status=status,
                    count=count.count,
                    first=count.first,
                    last=count.last,
                    lengths=_spread(count.lengths),
                    sent=_spread(count.sent),
                    seconds=_spread(count.seconds),
                    upstreams={_shown(name, 120): number for name, number in count.upstreams.most_common()},
                    newest=tuple(map(shown_line, lines)),
                )
            )
        return Traffic(
            since=self._since,
            answers=tuple(answers),
            attempts=tuple(
                Attempts(
                    address=_shown(address, 120),
                    statuses={
                        _shown(status, 3) or "-": number for status, number in sorted(statuses.items())
                    },
                    last=last,
                )
                for address, (statuses, last) in self._attempts.items()
            ),
            probes=tuple(_logged(request, raw) for request, raw in reversed(self._probes)),
            omitted=self._omitted + sum(count.count for _, count in left),
            tells=self._format.fields if self._format else (),
            is_shared=self._source.is_shared,
            is_conditional=self._source.is_conditional,
        )


def _is_from_here(client: bytes) -> bool:
    return not client or client.startswith((b"127.", b"::1", b"unix:")) or client == b"-"


def shown_line(raw: bytes) -> str:
    """A line of a log as it is kept: without queries, secrets and control characters, bounded."""
    return safe_line(_QUERY.sub("?…", raw.decode("utf-8", "replace")), MAX_LINE_CHARS)


def _logged(request: Request, raw: bytes) -> LoggedRequest:
    return LoggedRequest(
        time=request.time,
        method=_shown(request.method, 20),
        path=_shown(request.path.partition(b"?")[0], 200),
        status=_shown(request.status, 3),
        line=shown_line(raw),
        client=_shown(request.client, 60),
        request_id=_shown(request.request_id, 80),
        upstream=_shown(request.upstream, 200),
        upstream_status=_shown(request.upstream_status, 60),
    )


def _shown(word: bytes, limit: int) -> str:
    """A value of a line; empty for the dash of one that is not there."""
    return "" if word == b"-" else safe_line(word.decode("utf-8", "replace"), limit)


def _listed(written: bytes) -> list[bytes]:
    """nginx's lists: a comma between servers that were tried, a colon between groups (ngx_http_upstream_module)."""
    return written.replace(b" : ", b", ").split(b", ")


def _spread(values: list[float]) -> Spread | None:
    if not values:
        return None
    ordered = sorted(values)
    return Spread(least=ordered[0], median=ordered[len(ordered) // 2], most=ordered[-1])


def count_requests(
    tail: LogLines,
    source: AccessLogSource,
    since: float,
    counted_since: float,
    predict_path: str,
    *,
    of_nginx: bool,
    probed_since: float = math.inf,
) -> AccessLog | NotSeen:
    """An access log from ``since`` on; its traffic from ``counted_since`` on; ``probed_since``: when this run's probes
    began (Unix seconds).

    Raises OSError or ValueError where the log cannot be read."""
    compiled = nginx_format(source.written, source.escape) if of_nginx and source.written else None
    if not of_nginx and source.written:
        compiled = gunicorn_format(source.written)
    traffic = TrafficCount(source, compiled, max(since, float(int(counted_since))), probed_since)
    statuses: Counter[str] = Counter()
    requests = 0
    last: float | None = None
    predictions: list[float] = []
    prediction = f" {predict_path} ".encode()
    has_lines = has_times = found_beginning = False
    for raw in tail.lines():
        has_lines = has_lines or bool(raw.strip())
        request = request_line(raw, compiled)
        # Among the lines of another log, what has no status is no request.
        if request is None or (source.place is not None and not request.status):
            continue
        has_times = True
        if request.time < since - DISORDER:
            found_beginning = True
            break
        if request.time < since:
            continue
        requests += 1
        last = request.time if last is None else max(last, request.time)
        if prediction in raw:
            predictions.append(request.time)
        if request.status:
            statuses[request.status.decode()] += 1
            traffic.add(request, raw)
    if has_lines and not has_times:
        return NotSeen(reason=safe_line(f"{source.path}: no line in it carries a time that is understood"))
    return AccessLog(
        path=safe_line(tail.path, 1000),
        size=tail.size,
        modified=tail.modified,
        requests=requests,
        statuses=dict(sorted(statuses.items())),
        last=last,
        last_prediction=max(predictions, default=None),
        first_prediction=min(predictions, default=None),
        complete=found_beginning or tail.is_whole,
        traffic=traffic.traffic(),
    )
