"""Judges of nginx's rate limit: whether it refuses users, and with which status."""

from __future__ import annotations

from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import nginx_entries, require_nginx_log
from ops.diagnosis.checks.nginx_site import site_server
from ops.diagnosis.finding import Finding, Severity, check, quote
from ops.diagnosis.steps import put_before_line
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Logs
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Exchange, Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.probe_lines import of_others

# Below this share of all requests, the rate limit works as intended and users are not affected.
SMALL_SHARE = 0.10


@check(
    "nginx.rate_limit", "NGX008", en="the rate limit lets legitimate requests pass", zh="限流没有误伤正常请求"
)
def rate_limit(
    logs: Logs, front: Front, target: Target, nginx_config: NginxConfig | NotSeen, taken_at: float
) -> Iterator[Finding]:
    """NGX008: 'limiting requests' in the window, and answers with the limit's status. A warning if few."""
    require_nginx_log(logs)
    limited = [
        (path, entry)
        for path, entry in nginx_entries(logs, "limiting requests")
        if "dry run" not in entry.text
    ]
    others = frozenset(of_others([entry for _, entry in limited], logs, taken_at))
    entries = [(path, entry) for path, entry in limited if entry in others]
    limits = _limit_statuses(nginx_config, target)
    statuses = {str(x.status) for x in (front.health, front.predict) if isinstance(x, Exchange)}
    access = logs.nginx_access
    refusals = sum(access.statuses.get(code, 0) for code in limits) if isinstance(access, AccessLog) else 0
    if not entries or not (refusals or statuses & limits):
        return
    total = access.requests if isinstance(access, AccessLog) else 0
    share = len(entries) / max(total, len(entries))
    path, entry = entries[-1]
    limited_now = bool(statuses & limits)
    yield Finding(
        "NGX008",
        (
            quote(path, entry.text),
            *(
                (quote(access.path, f"{refusals} x {'/'.join(sorted(limits))}, {total} requests"),)
                if isinstance(access, AccessLog)
                else ()
            ),
        ),
        {"count": str(len(entries)), "share": f"{share:.0%}"},
        severity=Severity.WARN if share < SMALL_SHARE and not limited_now else Severity.FAIL,
    )


def _limit_statuses(config: NginxConfig | NotSeen, target: Target) -> set[str]:
    """The statuses of the site's rate limits; both usual ones if no limit is seen."""
    server = None if isinstance(config, NotSeen) else site_server(config, target)
    scopes: tuple[nginx_topology.Scope, ...] = (server, *server.locations()) if server else ()
    statuses = {nginx_topology.limit_status(scope) for scope in scopes if scope.effective("limit_req")}
    return statuses or {"429", nginx_topology.DEFAULT_LIMIT_STATUS}


@check("nginx.limit_status", "NGX018", en="the rate limit answers 429", zh="限流返回 429")
def limit_status(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX018: limit_req with limit_req_status 503, nginx's default."""
    server = site_server(nginx_config, target)
    if server is None:
        return
    scopes: tuple[nginx_topology.Scope, ...] = (server, *server.locations())
    for scope in scopes:
        limit = scope.effective("limit_req")
        if limit and nginx_topology.limit_status(scope) == nginx_topology.DEFAULT_LIMIT_STATUS:
            where = f"{limit[0].file}:{limit[0].line}"
            zone = next((a.removeprefix("zone=") for a in limit[0].args if a.startswith("zone=")), "?")
            yield Finding(
                "NGX018",
                (quote(where, f"limit_req {' '.join(limit[0].args)}"),),
                {"zone": zone, "where": where},
                fix=(
                    put_before_line(where, "limit_req_status 429;"),
                    target.test_nginx,
                    target.reload_nginx,
                )
                if not scope.effective("limit_req_status")
                else None,
            )
            return


CHECKS = (
    rate_limit,
    limit_status,
)
