"""Whether the authority that renews the certificate can reach its challenge (RFC 8555, 8.3)."""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Iterator

from ops.diagnosis.checks.nginx_served_files import Mend, opened_way
from ops.diagnosis.checks.tls import when
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.certificates import Lineage, Lineages, Served
from ops.facts.host import Host, Processes
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import REDIRECTS, Exchange, Front
from ops.facts.safeguards import Schedule
from ops.facts.status import Severity
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import split_address
from ops.interpret.expiry import expiry, limits_for
from ops.interpret.renewal import CHALLENGE_PATH, lineage_of, renewers
from ops.text.language import Text


@check(
    "tls.challenge",
    "TLS024",
    en="the authority that renews the certificate reaches its challenge",
    zh="续期时 CA 能访问到验证文件",
)
def challenge(
    target: Target,
    served: Served,
    front: Front,
    lineages: Lineages | NotSeen,
    nginx_config: NginxConfig,
    taken_at: float,
    logs: Logs | NotSeen,
    processes: Processes | NotSeen,
    schedule: Schedule | NotSeen,
    host: Host | NotSeen,
) -> Iterator[Finding]:
    """TLS024: the certificate has expired or is overdue, and port 80 does not serve its challenge, or is not free for
    certbot's own server.

    If it was renewed in time, renewal works whatever this probe shows."""
    leaf = served.chain[0]
    stand = expiry(
        leaf.not_before, leaf.not_after, taken_at, limits=limits_for(leaf.names, target.expiry_rules)
    )
    lineage = None
    if not isinstance(lineages, NotSeen):
        lineage = lineage_of(target.certificate or "", target.certificate or "", lineages)
    if stand.severity is None:
        return
    if lineage is not None and lineage.renewal.authenticator == "standalone":
        if isinstance(processes, Processes) and isinstance(lineages, Lineages):
            is_freed = _frees_the_port(lineage, lineages, schedule, host)
            yield from _port_of_own_server(target, served, lineage, processes, is_freed, stand.severity)
        return
    if not front.challenge or not _is_by_webroot(lineage):
        return
    last = front.challenge[-1]
    place = _place(nginx_config, target, last.address)
    refusal = _refusal(front.challenge, place, lineage)
    if refusal is None:
        return
    where = place.where if place else "?"
    closed = _closed_way(logs)
    renew = f"certbot renew --cert-name {shlex.quote(lineage.name if lineage else target.domain)}"
    yield Finding(
        "TLS024",
        (
            *(quote(f"GET {hop.url}", _answer(hop)) for hop in front.challenge),
            *((quote(where, place.written),) if place else ()),
            *(closed.evidence if closed else ()),
            Evidence(
                f"tls {served.address}",
                Text(en=f"serial {leaf.serial}: {refusal.en}", zh=f"序列号 {leaf.serial}：{refusal.zh}"),
            ),
        ),
        {
            "answer": _answer(last),
            "where": where,
            "webroot": (lineage.renewal.webroot if lineage else None) or "/var/www/html",
            "lineage": lineage.name if lineage else target.domain,
        },
        severity=stand.severity,
        fix=(*closed.fix, renew) if closed else None,
    )


def _port_of_own_server(
    target: Target,
    served: Served,
    lineage: Lineage,
    processes: Processes,
    is_freed: bool,
    severity: Severity,
) -> Iterator[Finding]:
    """The certificate is overdue, certbot renews it by a server of its own (standalone), and another program
    listens on that server's port, which nothing stops before."""
    leaf = served.chain[0]
    renewal = lineage.renewal
    holders = [
        listener
        for listener in processes.listeners
        if not listener.address.startswith("unix:") and split_address(listener.address)[1] == renewal.own_port
    ]
    if not holders or is_freed:
        return
    names = {process.pid: process.name for process in processes.processes}
    holder = next((names[pid] for item in holders for pid in item.pids if pid in names), "nginx")
    name, port = shlex.quote(lineage.name), renewal.own_port
    yield Finding(
        "TLS024",
        (
            quote(renewal.path, f"authenticator = standalone (port {port})"),
            quote("ss -ltnp", f"{holders[0].address} {holder}"),
            quote(f"tls {served.address}", f"serial {leaf.serial}, notAfter {when(leaf.not_after)}"),
        ),
        {
            "answer": "?",
            "where": renewal.path,
            "webroot": "/var/www/html",
            "lineage": lineage.name,
        },
        severity=severity,
        summary=Text(
            en=f"certbot renews {lineage.name} by a server of its own (authenticator standalone, {renewal.path}), and"
            f" {holder} holds its port {port}: every renewal fails.",
            zh=f"certbot 用自带的服务器续期 {lineage.name}（{renewal.path} 的 authenticator 是 standalone），"
            f"而端口 {port} 被 {holder} 占用：每次续期都会失败。",
        ),
        verify=f"grep authenticator {shlex.quote(renewal.path)}; ss -ltnp 'sport = :{port}'",
        fix=(
            Text(
                en="Let certbot put its file where nginx serves it (authenticator webroot; in the server block for port"
                " 80: location ^~ /.well-known/acme-challenge/ { root /var/www/html; }). certbot keeps the new way:",
                zh="改为由 nginx 提供验证文件（authenticator webroot；80 端口的 server 块里要有"
                " location ^~ /.well-known/acme-challenge/ { root /var/www/html; }）。certbot 会记住新方式：",
            ),
            f"certbot certonly --force-renewal --cert-name {name} --webroot -w /var/www/html"
            f"{''.join(f' -d {shlex.quote(item)}' for item in leaf.names)}",
            target.test_nginx,
            target.reload_nginx,
        ),
    )


def _frees_the_port(
    lineage: Lineage, lineages: Lineages, schedule: Schedule | NotSeen, host: Host | NotSeen
) -> bool:
    """Whether a hook or a job stops something before certbot starts its server."""
    has_systemd = isinstance(host, Host) and host.has_systemd
    jobs = () if isinstance(schedule, NotSeen) else renewers(schedule, has_systemd=has_systemd)
    is_hooked = "pre" in lineage.renewal.hooks or bool(lineages.pre_hooks)
    return is_hooked or any(_STOPS.search(job.command) for job in jobs)


# What frees the port before: in a job's command, a hook of its own or a stop of the server.
_STOPS = re.compile(r"--pre-hook|\bstop\b")


def _closed_way(logs: Logs | NotSeen) -> Mend | None:
    """The step of the challenge's path on disk that is closed to nginx's workers; None if nginx was refused no such
    file."""
    files = () if isinstance(logs, NotSeen) else logs.unserved_files
    for file in files:
        if CHALLENGE_PATH in file.request and file.error == errno.EACCES and (mend := opened_way(file)):
            return mend
    return None


def _is_by_webroot(lineage: Lineage | None) -> bool:
    """Whether the challenge is a file below the site's root: certbot's DNS and nginx plugins and its own server need
    none."""
    kind = lineage.renewal.authenticator if lineage else None
    return kind in (None, "webroot", "manual")


class _Place:
    """The place of nginx's decision about the challenge: the location, and the directive in it."""

    def __init__(self, scope: nginx_topology.Scope, directive: Directive) -> None:
        self.scope, self.directive = scope, directive
        self.where = directive.where
        self.written = " ".join((directive.name, *directive.args))


def _place(config: NginxConfig, target: Target, address: str) -> _Place | None:
    host, port = split_address(address)
    server = nginx_topology.chosen_server(nginx_topology.servers(config), host, port, target.domain)
    if server is None:
        return None
    scope = server.location_for(CHALLENGE_PATH + "token") or server
    for name in ("deny", "return", "proxy_pass", "rewrite", "auth_basic"):
        if (directive := scope.first_own(name)) is not None:
            return _Place(scope, directive)
    return _Place(scope, scope.blocks[0])


def _refusal(hops: tuple[Exchange, ...], place: _Place | None, lineage: Lineage | None) -> Text | None:
    """Why the authority would not get its file; None if nginx would send a file that exists."""
    last = hops[-1]
    is_passed_on = place is not None and place.directive.name == "proxy_pass"
    is_file = lineage is not None and lineage.renewal.webroot is not None
    if is_passed_on and not is_file and (last.failure is not None or (last.status or 0) >= 500):
        return None  # it tells of the service behind nginx, which other judges examine
    if last.failure is not None:
        return Text(
            en=f"the challenge is not answered: {last.failure}", zh=f"验证请求没有应答：{last.failure}"
        )
    if last.status in REDIRECTS:
        return Text(
            en="the challenge is redirected forever, or elsewhere", zh="验证请求被循环重定向，或跳转到别处"
        )
    is_refused = last.status in (401, 403, 405, 429) or (last.status or 0) >= 500
    # A missing file is correct; a request that is passed to the application is not.
    if is_refused or (last.status == 404 and is_passed_on and is_file):
        return Text(
            en=f"renewals fail: the challenge is answered {last.status}",
            zh=f"续期会失败：验证请求返回 {last.status}",
        )
    return None


def _answer(hop: Exchange) -> str:
    return hop.failure or f"{hop.status} {hop.header('location')}".strip()


CHECKS = (challenge,)
