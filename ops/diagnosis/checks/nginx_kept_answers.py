"""Answers of the service that nginx tells browsers to keep, though they change.

Sources: nginx documentation, ngx_http_headers_module (expires, add_header); RFC 9111, 5.2.2 (max-age)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.nginx_timeouts import nginx_seconds
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import replaced_statement
from ops.facts.base import NotSeen
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Backend, Exchange, Front
from ops.facts.target import Target
from ops.interpret.nginx import Scope
from ops.interpret.site import scope_for
from ops.interpret.traffic import LocatedTraffic, general_path, users_traffic
from ops.text.language import Text

# s-maxage is for shared caches, which their owner can empty.
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,10})", re.IGNORECASE)
_FEW = 3
# A browser that keeps an answer for less shows nobody what is long past.
_LONG = 60
_CHANGES = ("PUT", "PATCH", "DELETE")
# A POST may compute or search and change nothing: these say that it made something (RFC 9110, 15.3.2, 15.4.4).
_MADE = ("201", "303")
# Files of the service's own, whose names may change with what is in them.
_FILE = re.compile(r"\.[A-Za-z0-9]{1,8}$")


class _Kept(NamedTuple):
    """The path of answers that are kept, the line that says so, and what shows that they change."""

    path: str
    line: Directive
    answers: int
    evidence: tuple[Evidence, ...]


@check(
    "nginx.kept_answers",
    "NGX099",
    en="browsers keep no answers of the service that change",
    zh="浏览器不会长期保存后端会变化的响应",
)
def kept_answers(
    nginx_config: NginxConfig, target: Target, logs: Logs, front: Front | NotSeen, backend: Backend | NotSeen
) -> Iterator[Finding]:
    """NGX099: `expires` or a Cache-Control of nginx's on the service's health, which itself says nothing of the kind,
    or on a path whose content users change."""
    kept = _health(nginx_config, target, front, backend) or _changed_by_users(nginx_config, target, logs)
    if kept is None:
        return
    yield Finding(
        "NGX099",
        (*kept.evidence, quote(kept.line.where, kept.line.written)),
        {"request": f"GET {kept.path}", "where": kept.line.where, "written": kept.line.written},
        fix=(
            Text(
                en=f"Take {kept.line.name} out at {kept.line.where}, and write it into the locations of files whose"
                " names change with their content. What browsers hold already they keep until then, or until the URL"
                " is another:",
                zh=f"把 {kept.line.where} 的 {kept.line.name} 去掉，只写在文件名随内容变化的静态文件 location 里。"
                "浏览器已保存的要到期或换 URL 才会更新：",
            ),
            replaced_statement(
                kept.line.where,
                "expires" if kept.line.name == "expires" else f"add_header {kept.line.args[0]}",
                "",
            ),
            target.test_nginx,
            target.reload_nginx,
        ),
    )


def _keeping(scope: Scope) -> Directive | None:
    """The line that has browsers keep the service's answers in ``scope`` for long."""
    if not any(scope.own("proxy_pass")):
        return None
    for line in scope.effective("expires")[-1:]:
        if line.args[:1] == ("max",) or (nginx_seconds(line.args[-1] if line.args else "") or 0) >= _LONG:
            return line
    for line in scope.effective("add_header"):
        if len(line.args) > 1 and line.args[0].lower() == "cache-control" and _age(line.args[1]) >= _LONG:
            return line
    return None


def _age(cache_control: str) -> int:
    if re.search(r"no-store|no-cache", cache_control, re.IGNORECASE):
        return 0
    match = _MAX_AGE.search(cache_control)
    return int(match[1]) if match else 0


def _health(
    config: NginxConfig, target: Target, front: Front | NotSeen, backend: Backend | NotSeen
) -> _Kept | None:
    """The health answer is of the moment."""
    if isinstance(front, NotSeen) or isinstance(backend, NotSeen):
        return None
    met, own = front.health, backend.health
    scope = scope_for(config, target, target.health_path)
    line = _keeping(scope) if scope else None
    if line is None or not isinstance(met, Exchange) or not isinstance(own, Exchange):
        return None
    told = met.header("cache-control")
    if met.status != 200 or own.status != 200 or own.header("cache-control") or _age(told) < _LONG:
        return None
    return _Kept(
        target.health_path,
        line,
        1,
        (
            quote(met.url, f"Cache-Control: {told}"),
            Evidence(
                own.url,
                Text(en="the service itself sends no Cache-Control", zh="后端自己没有发送 Cache-Control"),
            ),
        ),
    )


def _changed_by_users(config: NginxConfig, target: Target, logs: Logs) -> _Kept | None:
    for located in users_traffic(logs)[:1]:
        for item in located.traffic.answers:
            if item.method != "GET" or item.status != "200" or item.count < _FEW or _FILE.search(item.path):
                continue
            if item.path == general_path(target.predict_path):
                continue
            scope = scope_for(config, target, item.path)
            line = _keeping(scope) if scope else None
            changed = _changes(located, item.path)
            if line is None or not changed:
                continue
            return _Kept(
                item.path,
                line,
                item.count,
                tuple(
                    quote(located.path, f"{count} x {method} {item.path} {status}")
                    for method, status, count in (("GET", "200", item.count), *changed[:3])
                ),
            )
    return None


def _changes(located: LocatedTraffic, path: str) -> list[tuple[str, str, int]]:
    return [
        (other.method, other.status, other.count)
        for other in located.traffic.answers
        if other.path == path
        and (
            (other.method in _CHANGES and (other.status.startswith("2") or other.status in _MADE))
            or (other.method == "POST" and other.status in _MADE)
        )
    ]


CHECKS = (kept_answers,)
