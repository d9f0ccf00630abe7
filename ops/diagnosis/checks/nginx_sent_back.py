"""Clients that nginx only ever sends back: a redirect that leads to itself, and a balancer's check that no answer
satisfies.

Sources: RFC 9110 (15.4: redirects); nginx documentation, ngx_http_rewrite_module (return); the balancers' own names in
User-Agent, by their documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.finding import Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Logs
from ops.facts.nginx import NginxConfig, NginxTest
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx import every
from ops.interpret.traffic import LocatedTraffic, service_traffic, users_traffic
from ops.text.language import Text

_REDIRECTS = ("301", "302", "303", "307", "308")
# Browsers give up after 20; a client that asks again at once so often follows a redirect that leads back.
_ROUNDS = 8
_CHECKS = 10
# The balancers' checks: AWS, Google, Alibaba, Tencent, Huawei, Azure, Kubernetes, Consul, HAProxy.
_BALANCER = re.compile(
    r"ELB-HealthChecker|GoogleHC|SLBHealthCheck|clb-healthcheck|HealthCheck/|Load Balancer Agent|kube-probe"
    r"|Consul Health Check|haproxy",
    re.IGNORECASE,
)
# Those of them that take a redirect for a success, unless told otherwise.
_TAKES_REDIRECTS = re.compile(
    r"SLBHealthCheck|clb-healthcheck|HealthCheck/|kube-probe|haproxy", re.IGNORECASE
)
# What a service says that has nothing at the path of the check, or wants a key; balancers are told to expect it.
_ON_PURPOSE = ("304", "401", "403", "404")


class _SentBack(NamedTuple):
    """What is met again and again: the kind of answer, its log, in words, and the steps."""

    item: Answers
    located: LocatedTraffic
    words: Text
    steps: tuple[Text, ...]


@check(
    "nginx.sent_back",
    "NGX096",
    en="redirects lead on, and balancers' checks succeed",
    zh="重定向能走到终点，负载均衡的探测能成功",
)
def sent_back(
    logs: Logs, nginx_config: NginxConfig, target: Target, nginx_test: NginxTest | NotSeen
) -> Iterator[Finding]:
    """NGX096: one client is given the same redirect for the same path again and again, at once, and nobody is served
    meanwhile; or a balancer's check never gets what that balancer takes for a success, and no user comes."""
    if isinstance(nginx_test, NginxTest) and nginx_test.exit_code != 0:
        return
    read = _read(logs)
    for located in read:
        for item in located.traffic.answers:
            found = _check_that_fails(item, located, read) or _loop(item, located, read, logs, target)
            if found is None:
                continue
            where, written = _line(nginx_config, target, item)
            yield Finding(
                "NGX096",
                (
                    quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}"),
                    *(quote(located.path, line) for line in item.newest[:1]),
                    *((quote(where, written),) if written else ()),
                ),
                {
                    "count": str(item.count),
                    "request": f"{item.method} {item.path}",
                    "status": item.status,
                    "where": where,
                    "why": found.words,
                },
                fix=(*found.steps, target.test_nginx, target.reload_nginx),
            )
            return


def _read(logs: Logs) -> tuple[LocatedTraffic, ...]:
    plain = logs.nginx_plain_access
    own = users_traffic(logs)
    if isinstance(plain, AccessLog) and plain.traffic is not None and not plain.traffic.is_shared:
        return (*own, LocatedTraffic(plain.path, plain.traffic))
    return own


def _others(item: Answers, read: tuple[LocatedTraffic, ...]) -> Iterator[Answers]:
    return (
        a
        for located in read
        for a in located.traffic.answers
        if (a.method, a.path) == (item.method, item.path) and a.status != item.status
    )


def _served_since(first: float, read: tuple[LocatedTraffic, ...], target: Target) -> Iterator[Answers]:
    """What was answered well since then, but for the service's health."""
    return (
        a
        for located in read
        for a in located.traffic.answers
        if (a.status < "300" or a.status == "304") and a.last >= first and a.path != target.health_path
    )


def _loop(
    item: Answers, located: LocatedTraffic, read: tuple[LocatedTraffic, ...], logs: Logs, target: Target
) -> _SentBack | None:
    """A program that measures, or a scanner, also asks at once and follows no redirect: while others are served, no
    loop is proven; nor where several paths count as one."""
    if "*" in item.path or any(_served_since(item.first, read, target)):
        return None
    if item.status not in _REDIRECTS or item.method not in ("GET", "HEAD") or item.quick < _ROUNDS:
        return None
    if (
        located.traffic.is_conditional
        or item.quick < 0.8 * min(item.count, 200) - 1
        or any(_others(item, read))
    ):
        return None
    own = service_traffic(logs)
    is_service_s = own is not None and any(
        (a.method, a.path, a.status) == (item.method, item.path, item.status) for a in own.traffic.answers
    )
    if is_service_s:
        return None  # NGX013 and NGX014 judge the service's own redirects
    return _SentBack(
        item,
        located,
        Text(
            en="the same client asks for the same path again at once, in the clear each time: something in front ends"
            " TLS and asks nginx without it, so the redirect to https never leads on",
            zh="同一客户端立刻又来请求同一路径，而且每次都是明文：前面有设备终结了 TLS、以明文访问 nginx，"
            "跳转到 https 就永远走不出去",
        ),
        (
            Text(
                en="Have the balancer or CDN speak TLS to this host (Cloudflare: Full, not Flexible), or redirect only"
                " those who came plainly: if ($http_x_forwarded_proto != https) { return 301 ...; }, pass the others"
                " to the service with X-Forwarded-Proto https, and let in the balancer alone",
                zh="让负载均衡或 CDN 以 TLS 访问本机（Cloudflare 选 Full 而不是 Flexible）；或只跳转真正用明文来的："
                "if ($http_x_forwarded_proto != https) { return 301 …; }，其余带 X-Forwarded-Proto https 转给后端，"
                "并只放行负载均衡",
            ),
        ),
    )


def _check_that_fails(
    item: Answers, located: LocatedTraffic, read: tuple[LocatedTraffic, ...]
) -> _SentBack | None:
    names = [_BALANCER.search(line) for line in item.newest]
    if item.status < "300" or item.status in _ON_PURPOSE or item.count < _CHECKS:
        return None
    if not names or not all(names):
        return None
    if item.status in _REDIRECTS and any(name and _TAKES_REDIRECTS.search(name[0]) for name in names):
        return None
    served = any(a.status < "300" or a.status == "304" for each in read for a in each.traffic.answers)
    if served or located.traffic.is_conditional:
        return None  # users come by the balancer, which is content, or past it
    name = names[0][0] if names[0] else ""
    return _SentBack(
        item,
        located,
        Text(
            en=f"{name} gets {item.status} each time and no user is served: a balancer that wants 200 takes this host"
            " out",
            zh=f"{name} 每次得到 {item.status}，也没有任何用户得到服务：要求 200 的负载均衡会停用本机",
        ),
        (
            Text(
                en="Have the balancer ask for a path that answers 200 (the service's health path, with the site's name"
                " as Host, over TLS), or answer its check in a server block of its own: listen ... default_server;"
                " location / { proxy_pass to the health path }",
                zh="让负载均衡探测能返回 200 的路径（服务的健康检查路径，Host 用站点域名，走 TLS）；或用单独的"
                " server 块应答：listen … default_server; location / { proxy_pass 到健康检查路径 }",
            ),
        ),
    )


def _line(config: NginxConfig, target: Target, item: Answers) -> tuple[str, str]:
    """The line that decides about such a request in the clear, else over TLS, by nginx's own rules."""
    from ops.interpret.routing.model import RouteSurroundings
    from ops.interpret.routing.request import probe_request
    from ops.interpret.routing.route import route

    for is_plain in (True, False):
        request = probe_request(target, item.method, item.path.replace("*", "1"), is_plain=is_plain)
        decision = route(config, request, RouteSurroundings()).decision
        if decision is None or str(decision.status) != item.status or not decision.where:
            continue
        line = next((d for d in every(config, "return") if d.where == decision.where), None)
        return decision.where, line.written if line else ""
    return target.site_file or target.nginx_config_file, ""


CHECKS = (sent_back,)
