"""Judge of the addresses that nginx sees: a proxy in front of it hides those of the visitors.

Sources: nginx documentation, ngx_http_realip_module (set_real_ip_from, real_ip_header, default X-Real-IP) and
ngx_http_limit_req_module."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import msgspec

from ops.diagnosis.checks.nginx_rate_limit import PRIVATE, counts_addresses
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.target import Target
from ops.facts.traffic import Sender
from ops.interpret import nginx as nginx_topology
from ops.interpret.agent_kind import is_system
from ops.interpret.gunicorn import process_of
from ops.interpret.site import find_site, scope_for
from ops.interpret.traffic import users_traffic
from ops.interpret.tunnels import TUNNELS
from ops.text.language import Text

# Of so many requests it is no accident that all have one address.
_MANY = 20
# Nodes of one balancer.
_FEW_SENDERS = 4
# An operator who asks past the proxy, and a scanner, do not make the others' addresses right.
_NEARLY_ALL = 0.95
# Programs of different visitors: so many, or systems of two browsers, are not on one server.
_SEVERAL_PROGRAMS = 3
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Proof(msgspec.Struct, frozen=True):
    """Why the requests are several visitors', what shows it, and the header that names them."""

    words: Text
    header: str


@check(
    "nginx.visitor_address",
    "NGX071",
    en="nginx sees the visitors' own addresses",
    zh="nginx 能看到访问者自己的地址",
)
def visitor_address(
    logs: Logs, nginx_config: NginxConfig, target: Target, processes: Processes | NotSeen
) -> Iterator[Finding]:
    """NGX071: users' requests all have the address of a proxy in front of nginx: it names several visitors behind it;
    or a limit by address is in force, nginx's or the service's own (GTE_RATE), and it is a private address with several
    users' programs, this host's own beside a tunnel's program, or one of the PROXY protocol."""
    site = find_site(nginx_config, target.domain, target.backend)
    scope = scope_for(nginx_config, target, target.predict_path)
    senders, total = _senders(logs)
    if site is None or scope is None or total < _MANY or not senders:
        return
    trusted = [line for part in (site.server, scope) for line in part.effective("set_real_ip_from")]
    limits = _limits_by_address(nginx_config, scope)
    own_limit = _limit_of_the_service(processes, target)
    speaks_proxy = any(listen.proxy_protocol for listen in site.server.listens)
    shown = _hidden_behind(senders, total)
    proof = _by_header(shown, speaks_proxy=speaks_proxy) if shown else None
    if (
        proof is None
        and (limits or own_limit)
        and not trusted
        and len(senders) == 1
        and senders[0].requests == total
    ):
        shown = senders
        proof = (
            _by_protocol() if speaks_proxy else _by_tunnel(senders[0], processes) or _by_programs(senders[0])
        )
    if proof is None:
        return
    addresses = ", ".join(sender.address for sender in shown)
    requests = sum(sender.requests for sender in shown)
    limit = limits[0] if limits else None
    stranger = next((sender.address for sender in shown if not _is_ours(sender.address, trusted)), None)
    if speaks_proxy:
        stranger = None
    counted_by = limit.where if limit else own_limit.detail.en if own_limit else None
    log = users_traffic(logs)[0].path
    yield Finding(
        "NGX071",
        (
            Evidence(
                log,
                Text(
                    en=f"{requests} of {total} requests that were read: {addresses}; {proof.words.en}",
                    zh=f"读到的 {total} 个请求中有 {requests} 个来自 {addresses}；{proof.words.zh}",
                ),
            ),
            *((quote(limit.where, limit.written),) if limit else ()),
            *((own_limit,) if own_limit else ()),
            *(quote(line.where, line.written) for line in trusted[:3]),
        ),
        {"address": addresses, "visitors": proof.words},
        summary=_doubtful_summary(addresses, proof) if stranger else _summary(addresses, proof, counted_by),
        fix=_if_it_is_yours(stranger, proof, target) if stranger else _steps(shown, trusted, proof, target),
    )


def _senders(logs: Logs) -> tuple[tuple[Sender, ...], int]:
    """The senders in all of the site's logs, each once, and the number of requests."""
    requests: Counter[str] = Counter()
    agents: dict[str, set[str]] = {}
    visitors: Counter[str] = Counter()
    total = 0
    for located in users_traffic(logs):
        total += located.traffic.more_senders
        for sender in located.traffic.senders:
            requests[sender.address] += sender.requests
            agents.setdefault(sender.address, set()).update(sender.agents)
            visitors[sender.address] = max(visitors[sender.address], sender.visitors)
            total += sender.requests
    return tuple(
        Sender(
            address=address, requests=count, agents=tuple(sorted(agents[address])), visitors=visitors[address]
        )
        for address, count in requests.most_common()
    ), total


def _hidden_behind(senders: Iterable[Sender], total: int) -> tuple[Sender, ...]:
    """The few senders of nearly all requests, each a proxy that names several visitors; empty if others ask too."""
    proxies = tuple(sender for sender in senders if sender.visitors > 1)
    covered = sum(sender.requests for sender in proxies)
    return proxies if len(proxies) <= _FEW_SENDERS and covered >= _NEARLY_ALL * total else ()


def _by_header(shown: tuple[Sender, ...], *, speaks_proxy: bool) -> _Proof:
    count = max(sender.visitors for sender in shown)
    return _Proof(
        Text(
            en=f"the log names {count} visitors' addresses behind it",
            zh=f"日志中记录了它后面 {count} 个访问者的地址",
        ),
        "proxy_protocol" if speaks_proxy else "X-Forwarded-For",
    )


def _by_protocol() -> _Proof:
    return _Proof(
        Text(
            en="a balancer sends the visitors' addresses by the PROXY protocol",
            zh="负载均衡通过 PROXY 协议传来访问者的地址",
        ),
        "proxy_protocol",
    )


def _by_tunnel(sender: Sender, processes: Processes | NotSeen) -> _Proof | None:
    address = _address(sender.address)
    if address is None or not address.is_loopback or isinstance(processes, NotSeen):
        return None
    for process in processes.processes:
        name = PurePosixPath(process.executable or process.name).name
        if name in TUNNELS and not process.is_nested:
            return _Proof(
                Text(
                    en=f"a tunnel runs on this host: {name}, process {process.pid}",
                    zh=f"本机运行着隧道程序 {name}（进程 {process.pid}）",
                ),
                "X-Forwarded-For",
            )
    return None


def _by_programs(sender: Sender) -> _Proof | None:
    address = _address(sender.address)
    if address is None or not (address.is_loopback or any(address in network for network in PRIVATE)):
        return None
    systems = sum(map(is_system, sender.agents))
    if systems < 2 and len(sender.agents) < _SEVERAL_PROGRAMS:
        return None
    programs = ", ".join(sender.agents)
    return _Proof(
        Text(en=f"they name several users' programs: {programs}", zh=f"请求来自多个用户的程序：{programs}"),
        "X-Forwarded-For",
    )


def _limits_by_address(config: NginxConfig, scope: nginx_topology.Scope) -> list[Directive]:
    lines = (line for name in ("limit_req", "limit_conn") for line in scope.effective(name))
    return [line for line in lines if line.args and counts_addresses(line, config)]


def _limit_of_the_service(processes: Processes | NotSeen, target: Target) -> Evidence | None:
    """The toolkit's own service's limit for each client, in the environment of its process: without API keys it counts
    by address."""
    master = None if isinstance(processes, NotSeen) else process_of(processes, target.gunicorn_master)
    variables = (master.environment or {}) if master else {}
    rate = variables.get("GTE_RATE", "").strip()
    if master is None or not rate or variables.get("GTE_API_KEYS_FILE", "").strip():
        return None
    return quote(f"pid {master.pid}", f"GTE_RATE={rate}")


def _summary(addresses: str, proof: _Proof, limit: str | None) -> Text | None:
    if limit is None:
        return None
    return Text(
        en=f"To nginx, users' requests come from {addresses}, but {proof.words.en}: the limit at {limit} counts"
        " all visitors as one.",
        zh=f"nginx 看到的用户请求都来自 {addresses}，但{proof.words.zh}：{limit} 的限流把所有访问者算作一个。",
    )


def _is_ours(address: str, trusted: Iterable[Directive]) -> bool:
    """Whether a proxy at ``address`` is the site's own: a public one may be a client's gateway, which passes on the
    addresses that it was told, unless the configuration trusts it already."""
    parsed = _address(address)
    return (
        parsed is not None and (parsed.is_loopback or any(parsed in network for network in PRIVATE))
    ) or _is_trusted(address, trusted)


def _doubtful_summary(addresses: str, proof: _Proof) -> Text:
    return Text(
        en=f"To nginx, users' requests come from {addresses}, but {proof.words.en}. If that is your own CDN, balancer"
        " or proxy, nginx takes all visitors for one; if it is the gateway of a client of yours, all is well.",
        zh=f"nginx 看到的用户请求都来自 {addresses}，但{proof.words.zh}。如果那是你自己的 CDN、负载均衡或代理，"
        "nginx 就把所有访问者当成了一个；如果是客户的网关，则一切正常。",
    )


def _if_it_is_yours(address: str, proof: _Proof, target: Target) -> tuple[str | Text, ...]:
    """No command: whoever runs a trusted proxy says which address each of its requests has."""
    place = target.site_file or target.nginx_config_file
    return (
        Text(
            en=f"Find out whose {address} is. Only if it is your own proxy, or your CDN's: let its addresses (a CDN"
            f" publishes its ranges) be trusted in the server block of {place}, by set_real_ip_from and real_ip_header"
            f" {proof.header}, and let nobody else reach this nginx",
            zh=f"查清 {address} 是谁的。只有它是你自己的代理或 CDN 时，才在 {place} 的 server 块里用 set_real_ip_from"
            f" 信任它的地址（CDN 会公布网段）并设 real_ip_header {proof.header}，且不让其他人连到这个 nginx",
        ),
        Text(
            en="If it is a client's gateway, trust nothing of it: it could choose the addresses that limits and logs"
            " go by. Accept this one by [[doctor.ignore]] in gte-ops.toml",
            zh="如果是客户的网关，不要信任它：否则它能任意选择限流和日志所用的地址。用 gte-ops.toml 的"
            " [[doctor.ignore]] 忽略本项",
        ),
    )


def _steps(
    shown: tuple[Sender, ...], trusted: list[Directive], proof: _Proof, target: Target
) -> tuple[str | Text, ...]:
    missing = [sender.address for sender in shown if not _is_trusted(sender.address, trusted)]
    lines = "; ".join(f"set_real_ip_from {address}" for address in missing)
    header = f"real_ip_header {proof.header}"
    return (
        Text(
            en=f"In the server block of {target.site_file or target.nginx_config_file} write {lines}; {header}; (or the"
            " header that the proxy sets): limits and logs then have each visitor's own address",
            zh=f"在 {target.site_file or target.nginx_config_file} 的 server 块里写 {lines}; {header};"
            "（或该代理实际使用的头）：限流和日志就会按每个访问者自己的地址计算",
        )
        if missing
        else Text(
            en=f"At {trusted[0].where} nginx trusts the proxy, but takes the address from another header (X-Real-IP"
            f" without real_ip_header): write {header}; beside it, or the header that the proxy sets",
            zh=f"{trusted[0].where} 处 nginx 已信任该代理，但从另一个头取地址（没有 real_ip_header 时是 X-Real-IP）："
            f"在旁边写 {header};，或该代理实际使用的头",
        ),
        Text(
            en="Let nobody but the proxy reach this nginx: from a trusted address anybody can be named as the visitor",
            zh="只让该代理能连到这个 nginx：从受信任地址连接的人可以冒充任何访问者",
        ),
        target.test_nginx,
        target.reload_nginx,
    )


def _is_trusted(address: str, trusted: Iterable[Directive]) -> bool:
    parsed = _address(address)
    return any(parsed is not None and _has(line.args[0], parsed) for line in trusted if line.args)


def _has(network: str, address: _Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


CHECKS = (visitor_address,)
