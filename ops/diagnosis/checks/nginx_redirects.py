"""Judges of redirects that lead in circles or away: by nginx, or by the application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from ops.diagnosis.checks.nginx_site import site_server
from ops.diagnosis.finding import Finding, check, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line, without_line
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn
from ops.facts.logs import AccessLog, Logs
from ops.facts.nginx import NginxConfig
from ops.facts.probes import REDIRECTS, Backend, Exchange, Front
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret import nginx as nginx_topology
from ops.interpret.traffic import all_traffic, users_traffic
from ops.text.language import Text


@check(
    "nginx.redirects",
    "NGX013",
    "NGX014",
    en="requests are not redirected in circles or away",
    zh="请求没有循环跳转或被错误重定向",
)
def redirects(
    front: Front,
    backend: Backend | NotSeen,
    target: Target,
    nginx_config: NginxConfig | NotSeen,
    gunicorn: Gunicorn | NotSeen,
) -> Iterator[Finding]:
    """NGX013: redirects lead to the same URL again. NGX014: nginx or the app redirects a POST to the predict path."""
    visited: list[str] = []
    for hop in front.hops:
        visited.append(hop.url)
        onward = urljoin(hop.url, hop.header("location"))
        if hop.status in REDIRECTS and onward in visited:
            yield Finding(
                "NGX013",
                tuple(
                    quote(f"GET {x.url}", f"{x.status} Location: {x.header('location')}")
                    for x in front.hops[:4]
                ),
                {"loop_url": onward},
                **(
                    {"fix": _without_redirect(nginx_config, target, hop)}
                    | _told_plain_http(target, backend, nginx_config)
                ),
            )
            break
    predict = front.predict
    if not isinstance(predict, Exchange) or predict.status not in REDIRECTS:
        return
    at_app = (
        not isinstance(backend, NotSeen)
        and isinstance(backend.predict, Exchange)
        and backend.predict.status in REDIRECTS
    )
    location = predict.header("location")
    evidence = [quote(f"POST {predict.url}", f"{predict.status} Location: {location}")]
    if not isinstance(backend, NotSeen) and isinstance(backend.predict, Exchange) and backend.predict.status:
        evidence.append(quote(f"POST {target.backend}{target.predict_path}", str(backend.predict.status)))
    steps: tuple[str | Text, ...] = ()
    if at_app and location.startswith("http:"):
        from ops.diagnosis.forwarded_scheme import leaves_https, lost_scheme

        if leaves_https(location, target):
            lost = lost_scheme(target, target.predict_path, nginx_config, gunicorn)
            evidence += lost.evidence
            # The steps of the redirect itself restart the service.
            steps = tuple(step for step in lost.steps if step != target.restart_command)
    yield Finding(
        "NGX014",
        tuple(evidence),
        {
            "status": str(predict.status),
            "location": location,
            "layer": Text(en="the application", zh="应用") if at_app else "nginx",
        },
        fix=(*steps, *_redirected_by_the_application(target, backend, location))
        if at_app
        else _redirected_by_nginx(target, nginx_config),
    )


def _told_plain_http(
    target: Target, backend: Backend | NotSeen, config: NginxConfig | NotSeen
) -> dict[str, Any]:
    """The sentence and the steps if the service redirects because nginx does not send it X-Forwarded-Proto: requested
    directly, with that header, it answers."""
    if isinstance(backend, NotSeen) or isinstance(config, NotSeen):
        return {}
    answer = backend.health
    if not isinstance(answer, Exchange) or answer.status is None or answer.status in REDIRECTS:
        return {}
    from ops.interpret.sent_header import how_to_send, sent_header

    header = sent_header(config, target, target.health_path, "X-Forwarded-Proto")
    if header is None or header.sent is not None:
        return {}
    line = "proxy_set_header X-Forwarded-Proto $scheme;"
    return {
        "summary": Text(
            en=f"The service redirects to HTTPS forever, because nginx does not pass X-Forwarded-Proto on for"
            f" {target.health_path}; with the header it answers {answer.status}.",
            zh=f"后端不停跳转到 HTTPS：nginx 没有为 {target.health_path} 传入 X-Forwarded-Proto；"
            f"带上它时后端返回 {answer.status}。",
        ),
        "fix": (
            how_to_send(header, line),
            put_before_line(header.where, line),
            target.test_nginx,
            target.reload_nginx,
        ),
    }


def _without_redirect(
    config: NginxConfig | NotSeen, target: Target, hop: Exchange
) -> tuple[str | Text, ...] | None:
    """Steps to remove the HTTPS block's own redirect, if it is alone on its line; None if the block has none, or more
    than one, of this status."""
    server = site_server(config, target) if isinstance(config, NginxConfig) else None
    if server is None or not any(listen.ssl for listen in server.listens) or not target.front_tls:
        return None
    returns = [d for d in server.own("return") if d.args and d.args[0] == str(hop.status)]
    inner = [d for d in server.blocks[0].block or () if d not in returns]
    if len(returns) != 1 or any((d.file, d.line) == (returns[0].file, returns[0].line) for d in inner):
        return None
    place = returns[0].where
    return (
        Text(
            en=f"Keep the redirect to HTTPS in the port 80 block only: {place} is of the block that serves HTTPS",
            zh=f"跳转到 HTTPS 只保留在 80 端口的块里：{place} 属于提供 HTTPS 的块",
        ),
        without_line(place),
        target.test_nginx,
        target.reload_nginx,
    )


def _redirected_by_the_application(
    target: Target, backend: Backend | NotSeen, location: str
) -> tuple[str | Text, ...]:
    answer = None if isinstance(backend, NotSeen) else backend.predict
    status = answer.status if isinstance(answer, Exchange) else "3xx"
    path = target.predict_path
    source = Text(
        en=f"The redirect comes from the application ({target.backend} answers {status} itself); nginx is not"
        " the cause",
        zh=f"重定向来自应用（直接访问 {target.backend} 也是 {status}），与 nginx 无关",
    )
    if urlsplit(location).path == f"{path}/":
        return (
            Text(
                en=f"The application has the route as {path}/: register {path} in {target.app_dir} as well"
                " (strict_slashes=False in Flask), or have clients ask for it with the slash",
                zh=f"应用里的路由是 {path}/：在 {target.app_dir} 里把 {path} 也注册上"
                "（Flask 用 strict_slashes=False），或让客户端请求时带上斜杠",
            ),
            target.restart_command,
        )
    return (
        source,
        Text(
            en=f"In {target.app_dir}, find what redirects {path}: a route that ends in /, or a before_request hook;"
            " if it redirects to https, have nginx pass X-Forwarded-Proto and the application trust it",
            zh=f"在 {target.app_dir} 里找出是谁重定向了 {path}：以 / 结尾的路由，或 before_request 钩子；"
            "如果是跳转到 https，让 nginx 传入 X-Forwarded-Proto，并让应用信任它",
        ),
        target.restart_command,
    )


def _redirected_by_nginx(target: Target, config: NginxConfig | NotSeen) -> tuple[str | Text, ...]:
    path = target.predict_path
    places = ", ".join(_redirecting(config, target)) if isinstance(config, NginxConfig) else ""
    where = places or target.site_file or target.nginx_config_file
    return (
        Text(
            en=f"The redirect comes from nginx: serve {path} as it is. See return, rewrite, and the slash at the end"
            f" of location and proxy_pass in {where}",
            zh=f"重定向来自 nginx：让 {path} 直接转发。检查 {where} 里的 return、rewrite，"
            "以及 location 和 proxy_pass 末尾的斜杠",
        ),
        target.test_nginx,
        target.reload_nginx,
    )


def _redirecting(config: NginxConfig, target: Target) -> Iterator[str]:
    """``FILE:LINE`` of each directive or location of the site that may redirect the predict path."""
    server = site_server(config, target)
    if server is None:
        return
    location = server.location_for(target.predict_path)
    scopes: tuple[nginx_topology.Scope, ...] = (server,) if location is None else (location, server)
    directives = [d for scope in scopes for name in ("return", "rewrite") for d in scope.own(name)]
    yield from (directive.where for directive in directives)
    if directives:
        return
    # A proxying prefix location that ends in a slash redirects the path without the slash (nginx: location).
    for other in server.locations():
        if other.pattern == f"{target.predict_path}/":
            yield f"{other.where} (location {other.written})"


# Clients of these make GET of any other method; 307 and 308 keep it (RFC 9110, 15.4).
_CHANGING_REDIRECTS = ("301", "302", "303")
# 404 is what scanners get for a path that nothing serves.
_LOST = "405"
# So many clients, and so many seconds between the redirect and the request that follows it.
_FEW = 3
_AT_ONCE = 10.0


@check(
    "nginx.lost_method",
    "NGX089",
    en="redirects keep the method of requests",
    zh="跳转后请求方法不变",
)
def lost_method(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX089: requests with a body are redirected from http to https by 301 or 302, and right after them as many GETs
    for the same path are refused."""
    plain = logs.nginx_plain_access
    if not isinstance(plain, AccessLog) or plain.traffic is None:
        return
    for moved in plain.traffic.answers:
        if moved.method in ("GET", "HEAD") or moved.status not in _CHANGING_REDIRECTS or moved.count < _FEW:
            continue
        if not _is_served(moved, logs, target):
            continue
        for located in users_traffic(logs)[:1]:
            refused = [
                item
                for item in located.answers(_LOST)
                if (item.method, item.path) == ("GET", moved.path)
                and item.count == located.total_like(item)
                and _FEW <= item.count <= moved.count
                and moved.first - 1.0 <= item.first
                and item.last <= moved.last + _AT_ONCE
            ]
            if not refused:
                continue
            where = _redirect_line(nginx_config, target, moved)
            yield Finding(
                "NGX089",
                (
                    quote(plain.path, f"{moved.count} x {moved.method} {moved.path} {moved.status}"),
                    *(quote(located.path, line) for line in refused[0].newest[:1]),
                    quote(located.path, f"{refused[0].count} x GET {moved.path} {refused[0].status}"),
                    *((quote(where.place, where.written),) if where else ()),
                ),
                {
                    "count": str(moved.count),
                    "request": f"{moved.method} {moved.path}",
                    "status": moved.status,
                    "refused": refused[0].status,
                    "where": where.place if where else target.site_file or target.nginx_config_file,
                },
                fix=(
                    Text(
                        en="Let clients begin with https://. Those that cannot be changed keep the method with 308"
                        f"{f', at {where.place}' if where else ''}:",
                        zh="让客户端直接使用 https://。改不了的客户端，用 308 可以保留请求方法"
                        f"{f'（在 {where.place}）' if where else ''}：",
                    ),
                    *(
                        (
                            replaced_in_line(where.place, f"return {moved.status}", "return 308"),
                            target.test_nginx,
                            target.reload_nginx,
                        )
                        if where
                        else ()
                    ),
                ),
            )
            return


def _is_served(moved: Answers, logs: Logs, target: Target) -> bool:
    """Whether the service answers this method at this path: else whoever sends it is no client of the API."""
    return (moved.method, moved.path) == ("POST", target.predict_path) or any(
        (item.method, item.path) == (moved.method, moved.path) and item.status.startswith("2")
        for located in all_traffic(logs)
        for item in located.traffic.answers
    )


class _RedirectLine(NamedTuple):
    place: str
    written: str


def _redirect_line(config: NginxConfig, target: Target, moved: Answers) -> _RedirectLine | None:
    """The return that redirects such a request, by nginx's own rules."""
    from ops.interpret.routing.model import RouteSurroundings, StepKind
    from ops.interpret.routing.request import probe_request
    from ops.interpret.routing.route import route

    request = probe_request(target, moved.method, moved.path.replace("*", "1"), is_plain=True)
    decision = route(config, request, RouteSurroundings()).decision
    if decision is None or decision.kind is not StepKind.RETURN or not decision.where:
        return None
    line = next((d for d in nginx_topology.every(config, "return") if d.where == decision.where), None)
    return _RedirectLine(decision.where, f"return {' '.join(line.args)}") if line is not None else None


CHECKS = (redirects, lost_method)
