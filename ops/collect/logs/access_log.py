"""Read access logs from their end within a bound, and count requests by status, and by method, path and status."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter

import msgspec

from ops.collect.logs.line import DISORDER, OWN_AGENT, Request, logged_time, request_line
from ops.collect.logs.lines import LogLines
from ops.collect.logs.request_patterns import TURNS, RequestPatterns, asker
from ops.collect.logs.senders import SenderCount
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import Answers, Attempts, LoggedRequest, Spread, Traffic
from ops.interpret.log_format import LogFormat, gunicorn_format, nginx_format
from ops.interpret.traffic import AccessLogSource, general_path
from ops.text.sanitize import safe_line

# Combinations of method, path and status that are counted; further ones are counted in `Traffic.omitted`. Of them the
# failures are kept first, then the most frequent.
MAX_COUNTED = 2000
MAX_KEPT = 120
# Limits for each combination: values for its median (the newest), addresses, lines.
MAX_VALUES = 200
MAX_ADDRESSES = 16
MAX_PAIRS = 64
MAX_TIMES = 4096
MAX_LINES = 3
MAX_QUOTED = 60
MAX_LINE_CHARS = 300
MAX_PROBES = 60
# Seconds between two requests of one client of which the second came at once; both times are whole seconds.
AT_ONCE = 1.0
_QUERY = re.compile(r"\?[^\s\"']+")


class _Count(msgspec.Struct):
    """Requests of one method, path and status. For failures (5xx): ``answered`` are the counts of the same method and
    path with other statuses (except 499), ``followed`` the number of those after the newest failure, ``passed`` after
    the oldest failure read so far. ``later``: the request read before, which came after."""

    first: float
    last: float
    count: int = 0
    lengths: list[float] = msgspec.field(default_factory=list)
    sent: list[float] = msgspec.field(default_factory=list)
    seconds: list[float] = msgspec.field(default_factory=list)
    upstreams: Counter[tuple[bytes, bytes]] = msgspec.field(default_factory=Counter)
    gaps: list[float] = msgspec.field(default_factory=list)
    newest: list[bytes] = msgspec.field(default_factory=list)
    answered: list[_Count] | None = None
    followed: int = 0
    passed: int = 0
    quick: int = 0
    alternating: int = 0
    later: Request | None = None

    def successes(self) -> int:
        """The number of requests in ``answered``, in the lines read so far."""
        return sum(count.count for count in self.answered or ())

    def add(self, request: Request, raw: bytes) -> None:
        self._number()
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
            self.answered_by(request.upstream, request.upstream_status)
        if request.status >= b"300" and len(self.newest) < MAX_LINES:
            self.newest.append(raw)
        if self.later is not None and request.client and self.later.client == request.client:
            gap = self.later.time - request.time
            self.quick += gap <= AT_ONCE
            if request.status == b"101" and gap >= 0 and len(self.gaps) < MAX_VALUES:
                self.gaps.append(gap)
        self.later = request

    def _number(self) -> None:
        self.count += 1
        if self.answered is not None:
            self.passed = self.successes()
            if self.count == 1:
                self.followed = self.passed

    def answered_by(self, upstream: bytes, status: bytes) -> None:
        """Count the addresses that nginx lists for one request, with their statuses."""
        pair = (upstream, status)
        if pair in self.upstreams or len(self.upstreams) < MAX_PAIRS:
            self.upstreams[pair] += 1

    def repeat(self, at: float) -> None:
        """Count one more request without its values, after `MAX_VALUES` newer ones."""
        self._number()
        if at < self.first:
            self.first = at
        elif at > self.last:
            self.last = at

    def addresses(self) -> dict[str, int]:
        """The number of requests by the last address tried, the most frequent first."""
        counter: Counter[str] = Counter()
        for (upstream, _), number in self.upstreams.items():
            counter[_shown(_listed(upstream)[-1], 120)] += number
        return dict(counter.most_common(MAX_ADDRESSES))


class TrafficCount:
    """Counts of one log's requests, added newest first."""

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
        # If the format has no agent, requests from this host since then count as probes (times are whole seconds).
        names_agents = log_format is None or "agent" in log_format.fields
        self._probed_since = math.inf if names_agents else probed_since - 1.0
        # Only lines of this run's probes are shown (`ops/interpret/probe_lines.py`).
        self._quoted_since = probed_since - 1.0 if math.isfinite(probed_since) else -math.inf
        self._counts: dict[tuple[str, str, str], _Count] = {}
        self._by_request: dict[tuple[bytes, bytes, bytes], _Count] = {}
        self._answered: dict[tuple[str, str], list[_Count]] = {}
        self._probes: deque[tuple[Request, bytes]] = deque(maxlen=MAX_PROBES)
        self._omitted = 0
        self._senders = SenderCount()
        self._patterns = RequestPatterns()
        self._refused: dict[tuple[bytes, bytes, bytes], list[_Count]] = {}
        self._unclear = 0

    def is_another_site_s(self, request: Request) -> bool:
        """Whether the line is another site's by what it says."""
        return self._is_ours(request) is False

    def _is_ours(self, request: Request) -> bool | None:
        shared = self._source.shared
        if shared is None:
            return True
        return shared.is_ours(
            host=request.host,
            port=request.port,
            upstream=request.upstream,
            path=request.path,
            status=request.status,
        )

    def add(self, request: Request, raw: bytes) -> _Count | None:
        """Count one request and return its count; None if it is not counted."""
        if request.time < self._since:
            return None
        if request.agent.startswith(OWN_AGENT) or (
            request.time >= self._probed_since and _is_from_here(request.client)
        ):
            if len(self._probes) < MAX_PROBES:
                self._probes.append((request, raw))
            return None
        if not self._is_ours(request):
            self._unclear += 1
            return None
        self._senders.add(request)
        count = self._by_request.get((request.method, request.path, request.status)) or self._count_of(
            request
        )
        if count is None:
            self._omitted += 1
            return None
        count.add(request, raw)
        self._note(request, count)
        return count

    def _note(self, request: Request, count: _Count) -> None:
        """Note who was refused, and the refusals that stand between two good answers."""
        key = asker(request)
        proven = self._patterns.add(request, id(count))
        if proven:
            for refused in self._refused.pop(key, [])[-proven:]:
                refused.alternating += 1
        elif (
            request.status in TURNS
            and request.method in (b"GET", b"HEAD")
            and (key in self._refused or len(self._refused) < MAX_COUNTED)
        ):
            self._refused.setdefault(key, []).append(count)

    def _count_of(self, request: Request) -> _Count | None:
        raw_key = (request.method, request.path, request.status)
        method, path, status = (word.decode("utf-8", "replace") for word in raw_key)
        key = (method, general_path(path), status)
        if key not in self._counts:
            if len(self._counts) >= MAX_COUNTED:
                return None
            self._counts[key] = self._new_count(key, request.time)
        if len(self._by_request) < MAX_COUNTED:
            self._by_request[raw_key] = self._counts[key]
        return self._counts[key]

    def _new_count(self, key: tuple[str, str, str], at: float) -> _Count:
        """Return a new count: a failure refers to the successes of its method and path, a success is added to them."""
        method, path, status = key
        count = _Count(at, at)
        successes = self._answered.setdefault((method, path), [])
        if status >= "500":
            count.answered = successes
        elif status != "499":
            successes.append(count)
        return count

    def _attempts(self) -> tuple[Attempts, ...]:
        """The statuses that each address behind nginx returned, over all requests."""
        statuses: dict[str, Counter[str]] = {}
        last: dict[str, float] = {}
        for count in self._counts.values():
            for (upstream, status_words), number in count.upstreams.items():
                status_list = _listed(status_words)
                for at, server in enumerate(_listed(upstream)):
                    address = _shown(server, 120)
                    if address not in statuses and len(statuses) >= MAX_ADDRESSES:
                        continue
                    status = status_list[at].decode("utf-8", "replace") if at < len(status_list) else "-"
                    statuses.setdefault(address, Counter())[status if status.isdigit() else "-"] += number
                    last[address] = max(last.get(address, 0.0), count.last)
        return tuple(
            Attempts(address=address, statuses=dict(sorted(counter.items())), last=last[address])
            for address, counter in statuses.items()
        )

    def traffic(self) -> Traffic:
        """The facts about the counted requests."""
        ranked = sorted(
            self._counts.items(),
            key=lambda item: (item[0][2] < "500" and item[0][2] != "499", -item[1].count),
        )
        largest, others = ranked[:MAX_KEPT], ranked[MAX_KEPT:]
        quoted = 0
        answers = []
        for (method, path, status), count in largest:
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
                    upstreams=count.addresses(),
                    newest=tuple(map(shown_line, lines)),
                    followed=count.followed,
                    preceded=count.successes() - count.passed,
                    quick=count.quick,
                    gaps=_spread(count.gaps),
                    clients=self._patterns.clients(id(count)),
                    alternating=count.alternating,
                )
            )
        senders, more_senders = self._senders.senders()
        return Traffic(
            since=self._since,
            answers=tuple(answers),
            attempts=self._attempts(),
            probes=tuple(
                _logged(request, shown_line(raw) if request.time >= self._quoted_since else "")
                for request, raw in reversed(self._probes)
            ),
            senders=senders,
            more_senders=more_senders,
            omitted=self._omitted + sum(count.count for _, count in others),
            tells=self._format.fields if self._format else (),
            is_conditional=self._source.is_conditional or bool(self._unclear),
            unclear=self._unclear,
        )


class _RepeatedRequest(msgspec.Struct):
    """Requests logged with the same text and status: their count, and the number of repeats."""

    count: _Count
    status: str
    is_prediction: bool
    repeats: int = 0


class _Repeats:
    """Count repeated lines by their request and status, once enough of a kind were parsed completely. Most lines of a
    busy log differ only in their time, so this halves the time."""

    def __init__(self, log_format: LogFormat, counted_since: float, *, is_shared: bool) -> None:
        self._match = log_format.pattern.match
        site = ("host", "port", "upstream") if is_shared else ()
        parts = [log_format.place(field) for field in ("request", "method", "path", "status", *site)]
        self._key: Callable[[tuple[bytes, ...]], object] = itemgetter(*(part for part in parts if part >= 0))
        self._time = log_format.place("time")
        self._upstream = log_format.place("upstream")
        self._upstream_status = log_format.place("upstream_status")
        self._since = counted_since
        self._times: dict[bytes, float | None] = {}
        self.kinds: dict[object, _RepeatedRequest] = {}

    def count(self, raw: bytes) -> bool:
        """Count ``raw`` if its kind is known, and return whether it was counted."""
        match = self._match(raw)
        if match is None:
            return False
        values = match.groups()
        kind = self.kinds.get(self._key(values))
        if kind is None or OWN_AGENT in raw:
            return False
        stamp = values[self._time]
        at = self._times[stamp] if stamp in self._times else self._remember(stamp)
        if at is None or at < self._since:
            return False
        kind.repeats += 1
        kind.count.repeat(at)
        if self._upstream >= 0 and len(values[self._upstream]) > 1:
            status = values[self._upstream_status] if self._upstream_status >= 0 else b""
            kind.count.answered_by(values[self._upstream], status)
        return True

    def _remember(self, stamp: bytes) -> float | None:
        if len(self._times) >= MAX_TIMES:
            self._times.clear()
        self._times[stamp] = at = logged_time(stamp)
        return at

    def know(self, raw: bytes, count: _Count, *, status: bytes, is_prediction: bool) -> None:
        """Count further lines of the same kind as ``raw`` in ``count``."""
        match = self._match(raw)
        if match is not None and len(self.kinds) < MAX_COUNTED:
            self.kinds[self._key(match.groups())] = _RepeatedRequest(count, status.decode(), is_prediction)


def _is_from_here(client: bytes) -> bool:
    return not client or client.startswith((b"127.", b"::1", b"unix:")) or client == b"-"


def shown_line(raw: bytes) -> str:
    """A log line for the report: without queries, secrets and control characters, bounded."""
    return safe_line(_QUERY.sub("?…", raw.decode("utf-8", "replace")), MAX_LINE_CHARS)


def _logged(request: Request, line: str) -> LoggedRequest:
    return LoggedRequest(
        time=request.time,
        method=_shown(request.method, 20),
        path=_shown(request.path.partition(b"?")[0], 200),
        status=_shown(request.status, 3),
        line=line,
        client=_shown(request.client, 60),
        request_id=_shown(request.request_id, 80),
        upstream=_shown(request.upstream, 200),
        upstream_status=_shown(request.upstream_status, 60),
    )


@lru_cache(maxsize=1024)
def _shown(word: bytes, limit: int) -> str:
    """A value of a line; empty for a dash, which stands for a missing value."""
    return "" if word == b"-" else safe_line(word.decode("utf-8", "replace"), limit)


def _listed(words: bytes) -> list[bytes]:
    """Split nginx's lists: commas between the servers tried, colons between groups (ngx_http_upstream_module)."""
    return words.replace(b" : ", b", ").split(b", ")


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
    """Count an access log from ``since`` on, and its traffic from ``counted_since`` on; ``probed_since``: the start of
    this run's probes (all Unix seconds).

    Raises OSError or ValueError if the log cannot be read."""
    compiled = nginx_format(source.written, source.escape) if of_nginx and source.written else None
    if not of_nginx and source.written:
        compiled = gunicorn_format(source.written)
    count_start = max(since, float(int(counted_since)))
    traffic = TrafficCount(source, compiled, count_start, probed_since)
    again = (
        _Repeats(compiled, count_start, is_shared=source.shared is not None)
        if compiled is not None and "agent" in compiled.fields
        else None
    )
    statuses: Counter[str] = Counter()
    times: list[float] = []
    predictions: list[float] = []
    requests = 0
    prediction = f" {predict_path} ".encode()
    has_lines = has_times = found_beginning = False
    for raw in tail.lines():
        if again is not None and again.count(raw):
            continue
        has_lines = has_lines or bool(raw.strip())
        request = request_line(raw, compiled)
        # In a log with other lines, a line without a status is no request.
        if request is None or (source.place is not None and not request.status):
            continue
        has_times = True
        if request.time < since - DISORDER:
            found_beginning = True
            break
        if request.time < since:
            continue
        times.append(request.time)
        if traffic.is_another_site_s(request):
            continue
        requests += 1
        is_prediction = prediction in raw
        if is_prediction:
            predictions.append(request.time)
        if request.status:
            statuses[request.status.decode()] += 1
            count = traffic.add(request, raw)
            if again is not None and count is not None and count.count >= MAX_VALUES:
                again.know(raw, count, status=request.status, is_prediction=is_prediction)
    if has_lines and not has_times:
        return NotSeen(reason=safe_line(f"{source.path}: no line in it carries a time that is understood"))
    for kind in again.kinds.values() if again is not None else ():
        requests += kind.repeats
        statuses[kind.status] += kind.repeats
        moments = (kind.count.first, kind.count.last)
        times += moments
        predictions += moments if kind.is_prediction else ()
    return AccessLog(
        path=safe_line(tail.path, 1000),
        size=tail.size,
        modified=tail.modified,
        requests=requests,
        statuses=dict(sorted(statuses.items())),
        last=max(times, default=None),
        last_prediction=max(predictions, default=None),
        first_prediction=min(predictions, default=None),
        complete=found_beginning or tail.is_whole,
        traffic=traffic.traffic(),
    )
