"""Judges of nginx's time limits: for the service's answer, and for a client's request."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import LocatedEntry, nginx_entries, require_nginx_log
from ops.diagnosis.checks.nginx_site import site_server
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Finding, check, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line, replaced_statement
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Backend, Exchange, Front
from ops.facts.status import Severity
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret import nginx as nginx_topology
from ops.interpret.nginx_error_line import request_of
from ops.interpret.traffic import general_path, judged_since, users_traffic
from ops.text.duration import UNIT_SECONDS
from ops.text.language import Text, in_seconds

DEFAULT_READ_TIMEOUT = 60.0  # ngx_http_proxy_module, proxy_read_timeout
# ngx_http_upstream_process_upgraded: a connection that became a WebSocket, or another protocol.
_UPGRADED = "while proxying upgraded connection"
# So many are no accident of one client.
_FEW = 3
# Seconds after which servers ask whether the client is there (uvicorn's ws_ping_interval; socket.io: 25).
_USUAL_PING = 20.0
# The share of the limit by which a connection may last longer: what was said at its beginning.
_LATER = 0.05
# Seconds. TCP sends a lost packet again after 1 s, then after 2 s more (RFC 6298, 2.1 and 5.5).
SHORTEST_WAIT = 2.0


@check("nginx.timeout", "NGX007", en="nginx waits long enough for the service", zh="nginx 等待服务的时间足够")
def timeout(
    nginx_config: NginxConfig, target: Target, front: Front, backend: Backend, logs: Logs
) -> Iterator[Finding]:
    """NGX007: nginx logs 'upstream timed out', and the backend answers only after proxy_read_timeout; or nginx ends
    WebSockets on which nothing is said."""
    yield from _idle_websockets(nginx_config, target, logs)
    entries = nginx_entries(logs, "upstream timed out")
    require_nginx_log(logs)
    server = site_server(nginx_config, target)
    location = server.location_for(target.predict_path) if server else None
    scope = location or server
    if scope is None or not entries or not isinstance(backend.predict, Exchange) or backend.predict.failure:
        return
    value = scope.value("proxy_read_timeout")
    limit = nginx_seconds(value) if value else DEFAULT_READ_TIMEOUT
    if limit is None or backend.predict.elapsed <= limit:
        return
    path, entry = entries[-1]
    evidence = [quote(path, entry.text)]
    if isinstance(front.predict, Exchange) and front.predict.status == 504:
        evidence.insert(0, quote(f"POST {front.predict.url}", f"504 after {front.predict.elapsed:.1f} s"))
    evidence.append(
        quote(
            f"POST {target.backend}{target.predict_path}",
            f"{backend.predict.status} after {backend.predict.elapsed:.1f} s, proxy_read_timeout {value or '60s'}",
        )
    )
    yield Finding(
        "NGX007",
        tuple(evidence),
        {"timeout": in_seconds(f"{limit:g}"), "took": in_seconds(f"{backend.predict.elapsed:.1f}")},
        fix=_longer(scope, value, backend.predict.elapsed, target),
    )


def _idle_websockets(nginx_config: NginxConfig, target: Target, logs: Logs) -> Iterator[Finding]:
    """Most of the WebSockets of a path end when the service has said nothing for proxy_read_timeout. nginx says
    so at level info; else it shows in how long they last, where the access log has that, or, of a limit that is shorter
    than servers let pass before they ask whether the client is there, in how soon clients come again. A warning:
    clients connect again."""
    server = site_server(nginx_config, target)
    for located in users_traffic(logs)[:1] if server else ():
        for item in located.answers("101"):
            scope = server.location_for(item.path) or server if server else None
            if scope is None or item.count < _FEW:
                continue
            value = scope.value("proxy_read_timeout") or f"{DEFAULT_READ_TIMEOUT:g}s"
            cut = _cut_off(item, logs)
            limit = nginx_seconds(value)
            come_back = _come_back(item, limit)
            if 2 * len(cut) < item.count and not _last_so_long(item, limit) and not come_back:
                continue
            quoted = [quote(path, entry.text.partition("\n")[0]) for path, entry in cut[-1:]]
            counted = f"{item.count} x {item.method} {item.path} 101"
            lasted = f", {item.seconds.median:g} s" if item.seconds else ""
            if come_back and item.gaps:
                lasted = f", {item.gaps.median:g} s apart"
            name = "proxy_read_timeout"
            where = _place(scope, name).where
            yield Finding(
                "NGX007",
                (
                    *quoted,
                    quote(located.path, counted + lasted),
                    quote(where, f"{name} {value}"),
                ),
                {"timeout": value, "took": "?"},
                severity=Severity.WARN,
                summary=Text(
                    en=f"nginx ends WebSockets of {item.path} when the service has said nothing for {value}: {name} at"
                    f" {where}.",
                    zh=f"{item.path} 的 WebSocket 空闲 {value} 就被 nginx 断开：{where} 的 {name}。",
                ),
                verify=f"gte-ops route GET {shlex.quote(item.path)}",
                fix=_patience(scope, name, value, target),
                explains=(),
            )
            return


def _cut_off(item: Answers, logs: Logs) -> list[LocatedEntry]:
    """nginx's lines about connections of that path that it ended."""
    since = judged_since(logs)
    return [
        pair
        for pair in nginx_entries(logs, _UPGRADED)
        if "upstream timed out" in pair[1].text
        and (request := request_of(pair[1].text))
        and general_path(request.path) == item.path
        and not is_of_earlier_worker(pair[1], since, logs)
    ]


def _last_so_long(item: Answers, limit: float | None) -> bool:
    """Whether every other one lasted as long as the limit. Whole seconds of it are the limit's; clients come and go at
    any time."""
    return (
        item.seconds is not None
        and limit is not None
        and limit <= item.seconds.median <= limit + max(1.0, limit * _LATER)
    )


def _come_back(item: Answers, limit: float | None) -> bool:
    """Whether each client's next connection ended as long after its last as nginx waits. Of longer limits it would be
    no proof: monitors ask every 30 s or every minute."""
    return (
        item.seconds is None
        and item.gaps is not None
        and limit is not None
        and limit < _USUAL_PING
        and limit - 1.0 <= item.gaps.least
        and item.gaps.median <= limit + max(2.0, limit / 4)
    )


def _place(scope: nginx_topology.Scope, name: str) -> Directive:
    """The directive ``name`` in force; else the proxy_pass beside which it belongs, or the block."""
    return (*scope.blocks[:1], *scope.effective("proxy_pass")[-1:], *scope.effective(name)[-1:])[-1]


def _patience(scope: nginx_topology.Scope, name: str, value: str, target: Target) -> tuple[str | Text, ...]:
    where = _place(scope, name).where
    return (
        Text(
            en=f"Let the application send a ping more often than every {value}, or have nginx wait longer there:",
            zh=f"让应用以短于 {value} 的间隔发送 ping，或让 nginx 在那里等得更久：",
        ),
        replaced_statement(where, name, f"{name} 1h;")
        if scope.effective(name)
        else put_before_line(where, f"{name} 1h;"),
        target.test_nginx,
        target.reload_nginx,
    )


def _longer(
    scope: nginx_topology.Scope, value: str | None, took: float, target: Target
) -> tuple[str | Text, ...] | None:
    """Steps to set proxy_read_timeout to twice the time of an answer, at least nginx's default; None if not placed."""
    new_statement = f"proxy_read_timeout {max(60, math.ceil(2 * took))}s;"
    directives, proxy_pass = scope.effective("proxy_read_timeout"), scope.first_own("proxy_pass")
    if directives and value:
        place = directives[-1].where
        line = replaced_in_line(place, f"proxy_read_timeout {value};", new_statement)
    elif proxy_pass is not None:
        line = put_before_line(proxy_pass.where, new_statement)
    else:
        return None
    return (
        line,
        target.test_nginx,
        target.reload_nginx,
        Text(
            en="Keep gunicorn's timeout a little below it; then find out why it takes that long",
            zh="gunicorn 的 timeout 应略小于它；然后查清为何这么慢",
        ),
    )


def nginx_seconds(value: str) -> float | None:
    """Seconds from nginx's time format (``30s``, ``1m30s``, ``500ms``, ``60``); None if it is not valid."""
    day = UNIT_SECONDS["d"]
    units = {**UNIT_SECONDS, "w": 7 * day, "M": 30 * day, "y": 365 * day, "": 1.0}
    parts = re.findall(r"(\d+)(ms|[smhdwMy]|)", value.replace(" ", ""))
    if not parts or "".join(n + u for n, u in parts) != value.replace(" ", ""):
        return None
    return sum(int(number) * units[unit] for number, unit in parts)


@check("nginx.slow_clients", "NGX070", en="nginx waits for slow clients", zh="nginx 会等待慢速客户端")
def slow_clients(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX070: client_header_timeout or client_body_timeout, in force for predictions, is too short for a lost packet.

    The address's default server sets the value for a connection's first headers (ngx_http_core_module,
    client_header_timeout), the site's own server for later ones, and the location for the body."""
    server = site_server(nginx_config, target)
    if server is None:
        return
    blocks = nginx_topology.servers(nginx_config)
    usual = [listen for listen in server.listens if listen.ssl] or server.listens
    waits: list[tuple[str, nginx_topology.Scope]] = [
        ("client_header_timeout", nginx_topology.default_server(blocks, listen.host, listen.port) or server)
        for listen in usual
    ]
    waits.append(("client_header_timeout", server))
    waits.append(("client_body_timeout", server.location_for(target.predict_path) or server))
    short = dict.fromkeys(
        (directive.where, f"{name} {directive.args[0]};")
        for name, scope in waits
        for directive in scope.effective(name)[-1:]
        if directive.args and _is_too_short(directive.args[0])
    )
    if short:
        yield Finding(
            "NGX070",
            tuple(quote(where, statement) for where, statement in short),
            {
                "written": " ".join(statement for _, statement in short),
                "where": ", ".join(dict.fromkeys(where for where, _ in short)),
            },
            fix=(
                Text(
                    en="nginx's own default is 60s: a slow client is no attack before that",
                    zh="nginx 的默认值是 60s：在此之前，慢客户端并不是攻击",
                ),
                *(
                    replaced_in_line(where, statement, f"{statement.split()[0]} 60s;")
                    for where, statement in short
                ),
                target.test_nginx,
                target.reload_nginx,
            ),
        )


def _is_too_short(value: str) -> bool:
    seconds = nginx_seconds(value)
    return seconds is not None and seconds < SHORTEST_WAIT


CHECKS = (
    timeout,
    slow_clients,
)
