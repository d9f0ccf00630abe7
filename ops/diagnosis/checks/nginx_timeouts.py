"""Judges of nginx's time limits: for the service's answer, and for a client's request."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import nginx_entries, require_nginx_log
from ops.diagnosis.checks.nginx_site import site_server
from ops.diagnosis.finding import Finding, check, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line
from ops.facts.logs import Logs
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Backend, Exchange, Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.text.duration import UNIT_SECONDS
from ops.text.language import Text, in_seconds

DEFAULT_READ_TIMEOUT = 60.0  # ngx_http_proxy_module, proxy_read_timeout
# Seconds. TCP sends a lost packet again after 1 s, then after 2 s more (RFC 6298, 2.1 and 5.5).
SHORTEST_WAIT = 2.0


@check("nginx.timeout", "NGX007", en="nginx waits long enough for the service", zh="nginx 等待服务的时间足够")
def timeout(
    nginx_config: NginxConfig, target: Target, front: Front, backend: Backend, logs: Logs
) -> Iterator[Finding]:
    """NGX007: nginx logs 'upstream timed out', and the backend answers only after proxy_read_timeout."""
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
    units = {**UNIT_SECONDS, "w": 7 * UNIT_SECONDS["d"], "": 1.0}
    parts = re.findall(r"(\d+)(ms|[smhdw]|)", value.replace(" ", ""))
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
