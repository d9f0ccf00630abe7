"""Evidence about a symptom that no cause explains: the answer's own words, the probe's lines in the logs, the
request's way through nginx, and the commands to try next. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from urllib.parse import urlsplit

from ops.diagnosis.finding import Evidence, quote
from ops.facts.base import NotSeen
from ops.facts.logs import Log, Logs
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Backend, Exchange
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.probe_lines import LocatedLine, latest_trouble, lines_of_probe

MAX_WORDS = 240
# Keys of RFC 9457, and frameworks' names for the same.
_TELLING_KEYS = ("title", "detail", "reason", "message", "msg", "error", "errors", "description", "code")
_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)


def evidence_of(exchange: Exchange | None, snapshot: Snapshot) -> tuple[Evidence, ...]:
    """The evidence about one symptom. ``exchange``: the probe that showed it, None if it was no request."""
    return tuple(_evidence(exchange, snapshot))


def _evidence(exchange: Exchange | None, snapshot: Snapshot) -> Iterator[Evidence]:
    logs = snapshot.logs if isinstance(snapshot.logs, Logs) else None
    lines: tuple[LocatedLine, ...] = ()
    if exchange is not None:
        if exchange.status is not None:
            yield quote(f"{exchange.method} {exchange.url}", answer_words(exchange))
        yield from _past_nginx(exchange, snapshot.backend)
        lines = lines_of_probe(logs, exchange, snapshot.taken_at) if logs else ()
    if logs and not lines:
        lines = latest_trouble(logs)
    yield from (quote(line.path, line.line) for line in lines)


def _past_nginx(exchange: Exchange, backend: Backend | NotSeen) -> Iterator[Evidence]:
    """Yield the service's own answer to the same request, and its readiness answer if it is not ready."""
    if isinstance(backend, NotSeen):
        return
    path = urlsplit(exchange.url).path
    for own in (backend.health, backend.ready, backend.predict):
        if not isinstance(own, Exchange) or own is exchange:
            continue
        is_same = (own.method, urlsplit(own.url).path) == (exchange.method, path)
        is_unready = own is backend.ready and own.status not in (None, 200, 404, 405)
        if is_same or is_unready:
            yield quote(f"{own.method} {own.address}{urlsplit(own.url).path}", answer_words(own))


def answer_words(exchange: Exchange) -> str:
    """Status, media type, server, and the answer's own words: a problem's detail, a page's title, a text's first line;
    for a request without an answer, its failure."""
    if exchange.failure is not None:
        return f"{exchange.failure}: {exchange.detail}" if exchange.detail else exchange.failure
    head = " ".join(filter(None, (str(exchange.status), exchange.media_type)))
    server = exchange.header("server")
    words = _words(exchange)[:MAX_WORDS]
    return f"{head}{f' (Server: {server})' if server else ''}{f': {words}' if words else ''}"


def _words(exchange: Exchange) -> str:
    document = exchange.json()
    if isinstance(document, dict):
        inner = document.get("error")
        source = inner if isinstance(inner, dict) else document
        pairs = [
            f"{key}: {source[key]}" for key in _TELLING_KEYS if source.get(key) not in (None, "", [], {})
        ]
        return "; ".join(pairs) or ", ".join(f"{key}: {value}" for key, value in list(source.items())[:4])
    if exchange.is_html or exchange.body.lstrip()[:9].lower().startswith(("<!doctype", "<html")):
        titles = dict.fromkeys(" ".join(_TAGS.sub(" ", m[2]).split()) for m in _TITLE.finditer(exchange.body))
        text = " ".join(_TAGS.sub(" ", exchange.body).split())
        return " / ".join(filter(None, titles)) or text
    return exchange.body.strip().partition("\n")[0]


def route_of(exchange: Exchange | None, snapshot: Snapshot) -> tuple[Evidence, ...]:
    """The request's way through nginx, step by step: FILE:LINE and the decision there. Empty if nginx did not answer
    or its configuration was not read."""
    config, target = snapshot.nginx_config, snapshot.target
    if not isinstance(config, NginxConfig) or not isinstance(target, Target):
        return ()
    if exchange is None or exchange.status is None or exchange.address == target.backend:
        return ()
    from ops.interpret.routing.request import probe_route
    from ops.interpret.routing.words import outcome_words

    path = urlsplit(exchange.url).path or "/"
    backend = snapshot.backend
    own = (backend.health, backend.predict) if isinstance(backend, Backend) else ()
    answer = next(
        (
            item.status
            for item in own
            if isinstance(item, Exchange)
            and (item.method, urlsplit(item.url).path) == (exchange.method, path)
        ),
        None,
    )
    computed = probe_route(config, target, snapshot.host_names, exchange.method, path, answer=answer)
    steps = [Evidence(step.where, step.words) for step in computed.steps]
    return (*steps, Evidence(computed.outcome.where, outcome_words(computed)))


def log_commands(snapshot: Snapshot) -> dict[str, str]:
    """The commands that show the end of nginx's and gunicorn's error logs, in a file or in the journal."""
    logs = snapshot.logs
    if isinstance(logs, NotSeen):
        return {}
    commands = {}
    own = logs.gunicorn_error
    if isinstance(own, Log):
        commands["gunicorn_error_tail"] = _shows(own.path)
    nginx = next((log for log in logs.nginx_errors.values() if isinstance(log, Log) and log.entries), None)
    if nginx is not None:
        commands["nginx_error_tail"] = _shows(nginx.path)
    return commands


def _shows(path: str) -> str:
    return f"{path} -n 40 --no-pager" if path.startswith("journalctl ") else f"tail -n 40 {shlex.quote(path)}"
