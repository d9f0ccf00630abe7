"""Judges of the application's refusals by method, by visitor, and by what one address is told in turn.

Sources: Fetch standard (CORS-preflight fetch, Origin); gunicorn documentation (worker processes); Werkzeug (ProxyFix),
uvicorn (forwarded-allow-ips)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.gunicorn_places import SERVICE_MODULE, module_of
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.logs import Logs
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.facts.traffic import AllowedOrigin, Answers
from ops.interpret.gunicorn import process_of, wsgi
from ops.interpret.site import find_site
from ops.interpret.traffic import LocatedTraffic, service_traffic, users_traffic
from ops.text.language import Text

# Fewer are a scanner's, or somebody's who tries.
_FEW = 3
_PREFLIGHT = ("400", "403", "405")
# Different visitors, each of whom no limit of one visitor's reaches at the same time.
_MANY_VISITORS = 5
# What an application answers for what it does not have, a session among it (Engine.IO: 400); what it keeps from
# somebody is another matter.
_LOST = ("400", "404", "410")
# The share of nginx's refusals that the service's own log must have: the others are nginx's limit.
_OWN_SHARE = 0.7


def _total(located: LocatedTraffic, item: Answers) -> int:
    return located.total_like(item)


@check(
    "app.preflight",
    "APP030",
    en="the application lets browsers' pages ask (CORS)",
    zh="应用接受浏览器页面的跨域请求（CORS）",
)
def preflight(logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """APP030: the service itself refuses every OPTIONS for a path, and the source allows an origin that no browser
    writes so."""
    own, seen = service_traffic(logs), users_traffic(logs)[:1]
    bad = next(
        (each for each in logs.allowed_origins if not each.is_well_formed and _wanted(each) != each.origin),
        None,
    )
    for located in seen if bad is not None else ():
        for item in located.answers(*_PREFLIGHT):
            if item.method != "OPTIONS" or item.count < _FEW or item.count < _total(located, item):
                continue
            if bad is None or not _is_of_service(item, own, nginx_config, target):
                continue
            yield Finding(
                "APP030",
                (
                    quote(located.path, f"{item.count} x OPTIONS {item.path} {item.status}"),
                    *(quote(located.path, line) for line in item.newest[:1]),
                    quote(bad.where, f"{bad.setting}: {bad.origin}"),
                ),
                {
                    "count": str(item.count),
                    "path": item.path,
                    "status": item.status,
                    "setting": bad.setting,
                    "origin": bad.origin,
                    "where": bad.where,
                    "wanted": _wanted(bad),
                },
            )
            return


def _is_of_service(
    item: Answers, own: LocatedTraffic | None, config: NginxConfig | NotSeen, target: Target
) -> bool:
    """Whether the service gave these answers: by its own log; where that has no times (uvicorn's), because nginx passes
    the path on and does not refuse it by itself."""
    if own is not None:
        return any(
            (other.method, other.path, other.status) == (item.method, item.path, item.status)
            for other in own.traffic.answers
        )
    if isinstance(config, NotSeen) or item.status not in ("400", "404", "415", "422"):
        return False
    site = find_site(config, target.domain, target.backend)
    location = site.server.location_for(item.path) if site else None
    return location is not None and location.first_own("proxy_pass") is not None


def _wanted(bad: AllowedOrigin) -> str:
    """The origin as a browser writes it: scheme, host and port alone."""
    scheme, separator, rest = bad.origin.rpartition("://")
    return f"{scheme if separator else 'https'}://{rest.partition('/')[0]}"


@check(
    "app.refused_forms",
    "APP035",
    en="the application reads what programs send it",
    zh="应用能读取程序发来的请求",
)
def refused_forms(logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """APP035: the service refuses for its form what programs send: every request of several clients for one path (400,
    415, 422), or a good share of them for their media type (415) where others are answered. People who mistype are
    answered in the end; where strangers knock to get in, what they send says nothing."""
    own = service_traffic(logs)
    for located in users_traffic(logs)[:1]:
        refused = [
            item
            for item in located.answers("400", "415", "422")
            if item.method in _WITH_A_BODY
            and not _KNOCKED_AT.search(item.path)
            and _is_a_program_s(item, _total(located, item))
            and _is_of_service(item, own, nginx_config, target)
        ]
        if not refused:
            continue
        worst = max(refused, key=lambda item: item.count)
        yield Finding(
            "APP035",
            (
                quote(located.path, f"{worst.count} x {worst.method} {worst.path} {worst.status}"),
                *(quote(located.path, line) for line in worst.newest[:2]),
            ),
            {
                "count": str(worst.count),
                "total": str(_total(located, worst)),
                "path": f"{worst.method} {worst.path}",
                "status": worst.status,
                "why": _FORM[worst.status],
            },
            fix=(_FORM_STEPS[worst.status], _as_a_client(worst, target), target.restart_command),
        )
        return


def _is_a_program_s(item: Answers, total: int) -> bool:
    if item.count == total:
        return total >= 2 * _FEW and item.clients >= _FEW
    return item.status == "415" and item.count > _FEW and item.count >= _UNTYPED_SHARE * total


# Below it, of a path that others are answered at, they may be one stranger's.
_UNTYPED_SHARE = 0.2
# Where strangers try words and programs that are not this service's.
_KNOCKED_AT = re.compile(
    r"(?i)(?<![a-z])(?:log[_-]?(?:in|on)|sign[_-]?(?:in|up)|oauth|auth(?:enticate|entication|orize)?|tokens?|sessions?"
    r"|passw\w*|otp|register|registration|accounts?|admin)(?![a-z])|/wp-|xmlrpc|\.php(?![a-z])|cgi-bin|/\.\w"
)
_WITH_A_BODY = ("POST", "PUT", "PATCH")
_FORM = {
    "400": Text(
        en="what the clients send is not what the route reads", zh="客户端发送的内容与该路由读取的格式不符"
    ),
    "415": Text(
        en="the clients name no Content-Type, or another than the route reads",
        zh="客户端没有写 Content-Type，或与该路由读取的类型不同",
    ),
    "422": Text(
        en="the clients leave out a field, or send it otherwise than the route's model wants it",
        zh="客户端缺少某个字段，或字段格式与路由的模型要求不符",
    ),
}
_FORM_STEPS: dict[str, Text] = {
    "400": Text(
        en="Compare what the route reads with what the clients send, and with the version before the last deployment:"
        " the answer's body names what it misses",
        zh="对照路由读取的内容、客户端发送的内容和上次发布前的版本：响应体会写明缺了什么",
    ),
    "415": Text(
        en="Flask refuses JSON without Content-Type: application/json since version 2.1: have the clients send it; for"
        " those that cannot, or send no body, write request.get_json(silent=True), or get_json(force=True) to read it"
        " whatever it is called",
        zh="Flask 从 2.1 起拒绝没有 Content-Type: application/json 的 JSON：让客户端带上它；做不到或没有请求体的，用"
        " request.get_json(silent=True)，或用 get_json(force=True) 不看类型直接读",
    ),
    "422": Text(
        en="The answer's body (detail, loc) names the field. Since Pydantic 2 a field is optional only with a default:"
        " write Optional[str] = None for what clients may leave out; else have the clients send it",
        zh="响应体的 detail、loc 会写明是哪个字段。Pydantic 2 起，只有带默认值的字段才是可选的：客户端可以不发的字段"
        "写成 Optional[str] = None；否则让客户端发送它",
    ),
}


def _as_a_client(item: Answers, target: Target) -> Text:
    return Text(
        en=f"Send {item.method} {item.path} once past nginx, to {target.backend}, with a body as the clients send it"
        " (curl -v, with -d), and read what the answer says",
        zh=f"绕过 nginx，向 {target.backend} 发一次 {item.method} {item.path}，请求体与客户端的相同（curl -v 加 -d），"
        "并阅读响应内容",
    )


@check(
    "app.own_memory",
    "APP031",
    en="all workers tell a client the same",
    zh="各工作进程对同一客户端的应答一致",
)
def own_memory(logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """APP031: one client asks for one address several times within seconds, changes nothing in between, and is told in
    turn that it is there and that it is not; several workers serve."""
    workers = len(target.gunicorn_workers)
    own = service_traffic(logs)
    if workers < 2 or logs.drawn_keys:
        return
    for located in users_traffic(logs)[:1]:
        met = [
            item
            for item in located.traffic.answers
            if item.status in _LOST
            and item.alternating >= _FEW
            and _is_of_service(item, own, nginx_config, target)
        ]
        if not met:
            continue
        worst = max(met, key=lambda item: item.alternating)
        yield Finding(
            "APP031",
            (
                quote(located.path, f"{worst.count} x {worst.method} {worst.path} {worst.status}"),
                *(quote(located.path, line) for line in worst.newest[:2]),
                Evidence(
                    located.path,
                    Text(
                        en=f"{worst.alternating} of them between two good answers to the same client for the same"
                        " address, within seconds",
                        zh=f"其中 {worst.alternating} 个夹在同一客户端对同一地址的两次正常应答之间，相隔仅数秒",
                    ),
                ),
            ),
            {
                "count": str(worst.alternating),
                "path": f"{worst.method} {worst.path}",
                "status": worst.status,
                "workers": str(workers),
            },
        )
        return


@check(
    "app.only_visitor",
    "APP032",
    en="the application tells its visitors apart",
    zh="应用能区分不同的访问者",
)
def only_visitor(logs: Logs, processes: Processes | NotSeen, target: Target) -> Iterator[Finding]:
    """APP032: the service refuses many different visitors' requests for a path with 429, to its own log all of them
    come from one address, and nothing in its source reads an address that nginx hands on: a service that does so tells
    visitors apart, whatever its log says. This project's own does."""
    own = service_traffic(logs)
    master = None if isinstance(processes, NotSeen) else process_of(processes, target.gunicorn_master)
    if own is None or logs.forwarded_reads or not target.app_dir or _is_own_service(master):
        return
    for located in users_traffic(logs)[:1]:
        for item in located.answers("429"):
            theirs = next(
                (a for a in own.answers("429") if (a.method, a.path) == (item.method, item.path)), None
            )
            if theirs is None or theirs.clients != 1 or item.clients < _MANY_VISITORS:
                continue
            if theirs.count < _OWN_SHARE * item.count:
                continue
            yield Finding(
                "APP032",
                (
                    quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}"),
                    *(quote(located.path, line) for line in item.newest[:2]),
                    *(quote(own.path, line) for line in theirs.newest[:1]),
                ),
                {
                    "count": str(item.count),
                    "path": f"{item.method} {item.path}",
                    "status": item.status,
                    "visitors": str(item.clients),
                },
            )
            return


def _is_own_service(master: Process | None) -> bool:
    return module_of(master) == SERVICE_MODULE or (wsgi(master) or "").startswith("service.")


CHECKS = (refused_forms, preflight, own_memory, only_visitor)
