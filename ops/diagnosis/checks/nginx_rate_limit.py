"""Judges of nginx's rate limit: whether it refuses users, and with which status."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ops.diagnosis.checks.log_reading import LocatedEntry, nginx_entries, require_nginx_log
from ops.diagnosis.checks.nginx_site import site_server
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Finding, Severity, check, quote
from ops.diagnosis.steps import put_before_line, replaced_argument
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Exchange, Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.nginx_error_line import message, own_words
from ops.interpret.probe_lines import of_others
from ops.interpret.traffic import judged_since
from ops.text.language import Text

# Below this share of all requests, the rate limit works as intended and users are not affected.
SMALL_SHARE = 0.10
_REQUESTS, _CONNECTIONS = "limiting requests", "limiting connections by zone"
# ngx_http_limit_req_module.c and ngx_http_limit_conn_module.c.
# Addresses of different visitors, refused by one count.
_SEVERAL = 3
# So many, all from one address, are no accident of one client.
_MANY = 5
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# RFC 1918, RFC 6598, RFC 4193: where proxies of a deployment are. Python's is_private has more, all kinds of them.
PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
_ZONE = re.compile(r'by zone "([^"]+)"')
_CLIENT = re.compile(r"client: ([^,\s]+)")
_VARIABLE = re.compile(r"\$\{?(\w+)")
# What the address of a connection, or of the visitor that real_ip_header names, is called (ngx_http_core_module).
_ADDRESSES = frozenset({"binary_remote_addr", "remote_addr"})
# Parts of a key that tell sites and pages apart, not visitors.
_OF_NO_VISITOR = frozenset(
    {"server_name", "host", "http_host", "server_port", "scheme", "uri", "document_uri", "request_uri",
     "request_method"}
)  # fmt: skip


@check(
    "nginx.rate_limit", "NGX008", en="the rate limit lets legitimate requests pass", zh="限流没有误伤正常请求"
)
def rate_limit(
    logs: Logs, front: Front, target: Target, nginx_config: NginxConfig | NotSeen, taken_at: float
) -> Iterator[Finding]:
    """NGX008: 'limiting requests' or 'limiting connections' in the window, by the nginx that runs, and answers with the
    limit's status. A warning if few."""
    require_nginx_log(logs)
    since = judged_since(logs)
    limited = [
        (path, entry)
        for path, entry in nginx_entries(logs, _REQUESTS, _CONNECTIONS)
        if "dry run" not in own_words(entry.text) and not is_of_earlier_worker(entry, since, logs)
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
    count, part = str(len(entries)), f"{share:.0%}"
    limit = _limit_of(message(entry.text), nginx_config, target)
    shared = _shared_address(entries, limit, nginx_config, target)
    whole = _one_for_all(entries, limit, nginx_config, target)
    connections = _CONNECTIONS in own_words(entry.text)
    yield Finding(
        "NGX008",
        (
            quote(path, entry.text),
            *((quote(limit.where, limit.written),) if limit else ()),
            *(quote(line.where, line.written) for line in (whole.lines if whole else ())),
            *(
                (quote(access.path, f"{refusals} x {'/'.join(sorted(limits))}, {total} requests"),)
                if isinstance(access, AccessLog)
                else ()
            ),
        ),
        {"count": count, "share": part},
        severity=Severity.WARN if share < SMALL_SHARE and not limited_now else Severity.FAIL,
        summary=_of_all_summary(count, part, whole)
        if whole
        else _summary(count, part, shared, connections=connections),
        fix=_of_all_fix(whole, nginx_config, target)
        if whole and isinstance(nginx_config, NginxConfig)
        else _shared_fix(shared, target)
        if shared
        else _connections_fix(limit, target)
        if connections
        else None,
    )


def _summary(count: str, share: str, shared: _Address | None, *, connections: bool) -> Text | None:
    if shared and not shared.is_loopback:
        return Text(
            en=f"nginx's rate limit turned {count} requests away ({share} of all), all of them from {shared}, a private"
            " address. If that is a proxy, balancer or tunnel, the limit counts all visitors as one.",
            zh=f"nginx 的限流拒绝了 {count} 个请求（占 {share}），全部来自内网地址 {shared}。如果它是代理、"
            "负载均衡或隧道，限流就把所有访问者算作一个。",
        )
    if shared:
        return Text(
            en=f"nginx's rate limit turned {count} requests away ({share} of all), all of them from {shared}: a proxy"
            " in front of nginx, so that the limit counts all visitors as one.",
            zh=f"nginx 的限流拒绝了 {count} 个请求（占 {share}），全部来自 {shared}：这是 nginx 前面的代理，"
            "限流因此把所有访问者算作一个。",
        )
    if connections:
        return Text(
            en=f"nginx's limit of connections turned {count} requests away ({share} of all).",
            zh=f"nginx 的并发连接数限制拒绝了 {count} 个请求（占 {share}）。",
        )
    return None


class _OneForAll(NamedTuple):
    """A limit that counts several visitors as one: the zone's line and those of its map, its key, and how many were
    refused."""

    lines: tuple[Directive, ...]
    key: str
    visitors: int


def _one_for_all(
    entries: Iterable[LocatedEntry], limit: Directive | None, config: NginxConfig | NotSeen, target: Target
) -> _OneForAll | None:
    """The zone whose key is the same for whoever asks, if several addresses were refused. Beside a limit by address it
    is a bound of the whole site, set on purpose."""
    clients = {match[1] for _, entry in entries if (match := _CLIENT.search(entry.text))}
    if limit is None or isinstance(config, NotSeen) or len(clients) < _SEVERAL:
        return None
    zone = _zone_of(limit, config)
    if zone is None or not zone.args or not _is_of_nobody(zone.args[0], config):
        return None
    if any(counts_addresses(other, config) for other in _limits_beside(limit, config, target)):
        return None
    maps = [
        table
        for name in _VARIABLE.findall(zone.args[0])
        for table in nginx_topology.every(config, "map")
        if len(table.args) == 2 and _VARIABLE.findall(table.args[1]) == [name]
    ]
    return _OneForAll((zone, *maps[:1]), zone.args[0], len(clients))


def _limits_beside(limit: Directive, config: NginxConfig, target: Target) -> Iterator[Directive]:
    """The limits in force where ``limit`` is."""
    server = site_server(config, target)
    for scope in (server, *server.locations()) if server else ():
        lines = [line for name in ("limit_req", "limit_conn") for line in scope.effective(name) if line.args]
        if limit in lines:
            yield from (line for line in lines if line != limit)


def _is_of_nobody(key: str, config: NginxConfig, depth: int = 4) -> bool:
    """Whether nothing of ``key`` tells visitors apart: words, the site's name, what is asked for; a map of nothing
    else, or whose every value is such a word."""
    return all(
        name in _OF_NO_VISITOR or (depth > 0 and _is_mapped_to_one(name, config, depth - 1))
        for name in _VARIABLE.findall(key)
    )


def _is_mapped_to_one(name: str, config: NginxConfig, depth: int) -> bool:
    values = _values_of_map(name, config)
    return bool(values) and all(_is_of_nobody(value, config, depth) for value in values)


def _of_all_summary(count: str, share: str, whole: _OneForAll) -> Text:
    where = whole.lines[0].where
    return Text(
        en=f"nginx's rate limit turned {count} requests away ({share} of all), of {whole.visitors} addresses at least:"
        f" the key {whole.key} of the zone ({where}) is the same for all visitors, who use up one limit together.",
        zh=f"nginx 的限流拒绝了 {count} 个请求（占 {share}），来自至少 {whole.visitors} 个地址：{where} 的键"
        f" {whole.key} 对所有访问者都一样，所有人共用一个限额。",
    )


def _of_all_fix(whole: _OneForAll, config: NginxConfig, target: Target) -> tuple[str | Text, ...]:
    zone, *maps = whole.lines
    place = maps[0].where if maps else zone.where
    name = next((word[5:].partition(":")[0] for word in zone.args if word.startswith("zone=")), "?")
    # nginx refuses a reload that changes the key of a zone in use (ngx_http_limit_req_init_zone): the zone gets a name.
    sized = next((word for word in zone.args if word.startswith(f"zone={name}:")), f"zone={name}:1m")
    users = [
        line
        for directive in ("limit_req", "limit_conn")
        for line in nginx_topology.every(config, directive)
        if {name, f"zone={name}"} & set(line.args)
    ]
    new = f"{name}_each"
    return (
        Text(
            en=f"Count each visitor by himself: $binary_remote_addr in the key at {place}; keep another part of it only"
            " if sites or pages are to be counted apart. A zone with another key needs another name:",
            zh=f"按每个访问者计数：{place} 的键改用 $binary_remote_addr；只有要把站点或页面分开计数时才保留其他部分。"
            "键变了，zone 也要换名字：",
        ),
        replaced_argument(zone.where, whole.key, "$binary_remote_addr"),
        replaced_argument(zone.where, sized, sized.replace(name, new, 1)),
        *(
            replaced_argument(line.where, f"zone={name}", f"zone={new}")
            if line.name == "limit_req"
            else replaced_argument(line.where, name, new)
            for line in users
        ),
        target.test_nginx,
        target.reload_nginx,
    )


def _shared_fix(address: _Address, target: Target) -> tuple[str | Text, ...]:
    condition = (
        ("", "") if address.is_loopback else (f"If {address} is a proxy: ", f"如果 {address} 是代理：")
    )
    return (
        Text(
            en=f"{condition[0]}In the server block write set_real_ip_from {address}; real_ip_header"
            " X-Forwarded-For; (or the header that the proxy sets): limits and logs then have each visitor's own"
            " address",
            zh=f"{condition[1]}在 server 块里写 set_real_ip_from {address}; real_ip_header X-Forwarded-For;"
            "（或该代理实际使用的头）：限流和日志就会按每个访问者自己的地址计算",
        ),
        *(
            ()
            if address.is_loopback
            else (
                Text(
                    en=f"Otherwise {address} is one client: contact its owner, or raise rate= or burst=",
                    zh=f"否则 {address} 就是单个客户端：联系其负责人，或调大 rate= 或 burst=",
                ),
            )
        ),
        target.test_nginx,
        target.reload_nginx,
    )


def _connections_fix(limit: Directive | None, target: Target) -> tuple[str | Text, ...] | None:
    if limit is None:
        return None
    place = limit.where
    return (
        Text(
            en=f"Raise the number of limit_conn at {place}: a browser opens 6 connections to a site, and with HTTP/2"
            " every request at the same time counts",
            zh=f"调大 {place} 的 limit_conn：浏览器对一个站点会开 6 个连接，HTTP/2 下每个同时进行的请求都算一个",
        ),
        target.test_nginx,
        target.reload_nginx,
    )


def _limit_of(message: str, config: NginxConfig | NotSeen, target: Target) -> Directive | None:
    """The directive of the site whose zone refused."""
    zone = _ZONE.search(message)
    server = None if isinstance(config, NotSeen) else site_server(config, target)
    if zone is None or server is None:
        return None
    name = "limit_conn" if _CONNECTIONS in message else "limit_req"
    scopes: tuple[nginx_topology.Scope, ...] = (server, *server.locations())
    lines = (line for scope in scopes for line in scope.effective(name))
    return next((line for line in lines if {zone[1], f"zone={zone[1]}"} & set(line.args)), None)


def _shared_address(
    entries: Iterable[LocatedEntry], limit: Directive | None, config: NginxConfig | NotSeen, target: Target
) -> _Address | None:
    """The address from which all refused requests came, if nginx does not look for the visitor's own behind it:
    loopback, a proxy of this host; or a private address, which may be a proxy."""
    server = None if isinstance(config, NotSeen) else site_server(config, target)
    named = [match[1] for _, entry in entries if (match := _CLIENT.search(entry.text))]
    clients = set(named)
    if limit is None or server is None or isinstance(config, NotSeen) or len(clients) != 1:
        return None
    if not counts_addresses(limit, config) or any(
        scope.effective("set_real_ip_from") for scope in (server, *server.locations())
    ):
        return None
    try:
        address = ipaddress.ip_address(named[0])
    except ValueError:
        return None
    may_be_proxy = (
        len(named) >= _MANY and limit.name == "limit_req" and any(address in network for network in PRIVATE)
    )
    return address if address.is_loopback or may_be_proxy else None


def counts_addresses(limit: Directive, config: NginxConfig) -> bool:
    """Whether the limit's zone tells visitors apart by their address alone: not by a key, a header or a cookie."""
    line = _zone_of(limit, config)
    return _is_by_address(line.args[0] if line else "", config)


def _zone_of(limit: Directive, config: NginxConfig) -> Directive | None:
    """The line that makes the limit's zone."""
    zone = next(
        (word.removeprefix("zone=") for word in limit.args if word.startswith("zone=")), limit.args[0]
    )
    lines = (
        line
        for name in ("limit_req_zone", "limit_conn_zone")
        for line in nginx_topology.every(config, name)
        if any(word.startswith(f"zone={zone}:") for word in line.args[1:])
    )
    return next(lines, None)


def _is_by_address(key: str, config: NginxConfig, depth: int = 4) -> bool:
    """Whether ``key`` has an address, and nothing else of a visitor. A variable of a map is an address if each of the
    map's values is one, or empty, which counts nobody."""
    names = set(_VARIABLE.findall(key)) - _OF_NO_VISITOR
    return bool(names) and all(
        name in _ADDRESSES or (depth > 0 and _is_mapped_address(name, config, depth - 1)) for name in names
    )


def _is_mapped_address(name: str, config: NginxConfig, depth: int) -> bool:
    values = _values_of_map(name, config)
    return bool(values) and all(_is_by_address(value, config, depth) for value in values)


def _values_of_map(name: str, config: NginxConfig) -> list[str]:
    """What a map makes of the variable, without the empty value, which counts nobody."""
    return [
        line.args[0]
        for table in nginx_topology.every(config, "map")
        if len(table.args) == 2 and _VARIABLE.findall(table.args[1]) == [name]
        for line in table.block or ()
        if len(line.args) == 1 and line.name != "include" and line.args[0]
    ]


def _limit_statuses(config: NginxConfig | NotSeen, target: Target) -> set[str]:
    """The statuses of the site's rate limits; both usual ones if no limit is seen."""
    server = None if isinstance(config, NotSeen) else site_server(config, target)
    scopes: tuple[nginx_topology.Scope, ...] = (server, *server.locations()) if server else ()
    statuses = {
        nginx_topology.limit_status(scope, name)
        for scope in scopes
        for name in ("limit_req", "limit_conn")
        if scope.effective(name)
    }
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
            where = limit[0].where
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
