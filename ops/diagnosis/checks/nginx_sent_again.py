"""Requests that nginx sends the service a second time, though the first was received.

Source: nginx documentation, ngx_http_upstream_module and ngx_http_proxy_module (proxy_next_upstream): a request whose
method is not idempotent is passed to a next server only with non_idempotent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.diagnosis.checks.nginx_errors import of_this_site
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Logs
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.interpret.nginx_error_line import RequestInError, message, request_of
from ops.interpret.site import scope_for
from ops.interpret.traffic import LocatedTraffic, general_path, judged_since, service_traffic, users_traffic
from ops.text.language import Text

# What nginx says once the server has the request (ngx_http_upstream.c).
_AFTER_IT_WAS_SENT = (
    "upstream timed out",
    "upstream prematurely closed connection",
    "recv() failed",
)
# Before, the request was not received as a whole; later the answer's header was sent, and nothing can be sent again.
_WHEN = "while reading response header from upstream"
# RFC 9110, 9.2.2; nginx's own list is POST, LOCK, PATCH.
_NOT_TWICE = ("POST", "PATCH", "LOCK")
_TOLD = ("500", "502", "503", "504", "499")


@check(
    "nginx.sent_again",
    "NGX098",
    en="nginx sends each order once",
    zh="nginx 对每个提交只发送一次",
)
def sent_again(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX098: the first server had a POST and did not answer it in time, non_idempotent has nginx send it to a next
    one, and the client was told of no failure: fewer such failures in the access log than in the error log."""
    since, begins = judged_since(logs), _beginning(logs)
    lost = [
        (log, entry, request)
        for log, entry in of_this_site(nginx_entries(logs, *_AFTER_IT_WAS_SENT), nginx_config, target)
        if not is_of_earlier_worker(entry, since, logs)
        and _WHEN in message(entry.text)
        and entry.time >= begins
        and (request := request_of(entry.text)) is not None
        and request.method in _NOT_TWICE
    ]
    counts = Counter(_kind(request) for _, _, request in lost)
    for (method, path), count in counts.most_common():
        log, entry, request = next(item for item in reversed(lost) if _kind(item[2]) == (method, path))
        scope = scope_for(nginx_config, target, request.path)
        lines = scope.effective("proxy_next_upstream") if scope else ()
        if not lines or "non_idempotent" not in lines[-1].args:
            continue
        line, located = lines[-1], next(iter(users_traffic(logs)), None)
        told = _count(located, method, path, *_TOLD)
        good = _count(located, method, path) - told
        twice = min(count - told, good)
        if located is None or twice <= 0:
            continue
        own = (
            service_traffic(logs)
            if _is_whole(logs.nginx_access) and _is_whole(logs.gunicorn_access)
            else None
        )
        more = _count(own, method, path) - told - good
        yield Finding(
            "NGX098",
            (
                quote(log, entry.text),
                quote(located.path, f"{good} x {method} {path} 2xx-4xx, {told} x 5xx"),
                *(
                    (
                        Evidence(
                            own.path,
                            Text(
                                en=f"{more} more {method} {path} than nginx was sent",
                                zh=f"{method} {path} 比 nginx 收到的多 {more} 个",
                            ),
                        ),
                    )
                    if own is not None and more > 0
                    else ()
                ),
                quote(line.where, line.written),
            ),
            {"count": str(twice), "request": f"{method} {path}", "where": line.where},
            severity=Severity.FAIL if more > 0 and twice >= 3 else Severity.WARN,
            fix=(
                Text(
                    en="Let nginx tell the client that the service did not answer; whoever sent it decides whether it"
                    " is sent again. Give the slow path a proxy_read_timeout that it needs:",
                    zh="让 nginx 告诉客户端后端没有应答，由发送者决定是否重发；给慢的路径足够的 proxy_read_timeout：",
                ),
                replaced_in_line(line.where, " non_idempotent", ""),
                target.test_nginx,
                target.reload_nginx,
                Text(
                    en="Look in the application's data for what was written twice",
                    zh="检查应用数据里被重复写入的记录",
                ),
            ),
        )
        return


def _beginning(logs: Logs) -> float:
    """From when on the users' log tells what they were answered."""
    access = logs.nginx_access
    if isinstance(access, NotSeen) or access.traffic is None or _is_whole(access):
        return logs.since
    return min((item.first for item in access.traffic.answers), default=logs.since)


def _is_whole(log: AccessLog | NotSeen) -> bool:
    return isinstance(log, AccessLog) and log.complete


def _kind(request: RequestInError) -> tuple[str, str]:
    return request.method, general_path(request.path)


def _count(located: LocatedTraffic | None, method: str, path: str, *statuses: str) -> int:
    return sum(
        item.count
        for item in (located.traffic.answers if located else ())
        if (item.method, item.path) == (method, path) and (not statuses or item.status in statuses)
    )


CHECKS = (sent_again,)
