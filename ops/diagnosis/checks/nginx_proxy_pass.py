"""Judges of where proxy_pass leads: its protocol, its names, the servers of its upstream.

Sources: nginx documentation, ngx_http_proxy_module (proxy_pass), ngx_http_upstream_module (server)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.diagnosis.checks.probed_prediction import (
    GATEWAY_ERRORS,
    MAX_SHOWN,
    ProbedPrediction,
    edited,
    leads_to_service,
    probed_prediction,
)
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Processes
from ops.facts.logs import LogEntry, Logs
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Backend, Exchange, Front, HostNames, Upstreams
from ops.facts.target import Target
from ops.interpret.address import join_address, same_address, split_address
from ops.interpret.gunicorn import setting
from ops.interpret.nginx import every
from ops.interpret.nginx_error_line import upstream
from ops.interpret.service_name import reaches_service
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.interpret.routing.model import Passed, UpstreamServer


@check(
    "nginx.scheme",
    "NGX033",
    en="nginx and the service agree on TLS between them",
    zh="nginx 与后端之间是否使用 TLS 一致",
)
def scheme(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
    upstreams: Upstreams | NotSeen,
    gunicorn: Gunicorn | NotSeen,
    logs: Logs | NotSeen,
) -> Iterator[Finding]:
    """NGX033: nginx speaks TLS, or another protocol than HTTP (uwsgi, FastCGI, SCGI), to a port that speaks plain HTTP,
    or plain HTTP to a service that is set up for TLS."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    proxy_pass = probed.route().outcome.passed
    if proxy_pass is None:
        return
    if probed.answer.status not in (*GATEWAY_ERRORS, 400) and probed.answer.failure != ProbeFailure.TIMEOUT:
        return
    if proxy_pass.scheme in _NO_HTTP:
        yield from _other_protocol(probed, proxy_pass, upstreams, logs)
        return
    if probed.answer.status is None:
        return
    speaks_tls = proxy_pass.scheme in ("https", "grpcs")
    if speaks_tls:
        plain = next(
            (a for a in proxy_pass.servers if _plain_status(a.address, probed, upstreams) is not None), None
        )
        if plain is None:
            return
        status = _plain_status(plain.address, probed, upstreams)
        evidence = (
            quote(f"GET http://{plain.address}{probed.target.health_path}", str(status)),
            *_logged(logs, "SSL_do_handshake() failed"),
        )
        fixed = proxy_pass.written.replace("https://", "http://").replace("grpcs://", "grpc://")
    else:
        certfile = _certfile(gunicorn)
        if (
            certfile is None
            or proxy_pass.scheme != "http"
            or not leads_to_service(proxy_pass.servers, probed.target)
        ):
            return
        evidence = (quote("gunicorn certfile", certfile), *_logged(logs, "prematurely closed connection"))
        fixed = proxy_pass.written.replace("http://", "https://")
    yield Finding(
        "NGX033",
        (probed.seen(), quote(proxy_pass.where, f"{proxy_pass.directive} {proxy_pass.written}"), *evidence),
        {
            "where": proxy_pass.where,
            "written": f"{proxy_pass.directive} {proxy_pass.written};",
            "fixed": f"{proxy_pass.directive} {fixed};",
            "spoken": "TLS" if speaks_tls else "HTTP",
            "expected": "HTTP" if speaks_tls else "TLS",
        },
        fix=edited(proxy_pass.where, proxy_pass.written, fixed, target),
    )


# The protocols of uwsgi_pass, fastcgi_pass and scgi_pass, none of which a server of HTTP understands.
_NO_HTTP = {"uwsgi": "uwsgi", "fastcgi": "FastCGI", "scgi": "SCGI"}


def _other_protocol(
    probed: ProbedPrediction, proxy_pass: Passed, upstreams: Upstreams | NotSeen, logs: Logs | NotSeen
) -> Iterator[Finding]:
    """Where nginx speaks another protocol to a server that answers HTTP."""
    plain = next(
        (
            status
            for server in proxy_pass.servers
            if (status := _plain_status(server.address, probed, upstreams)) is not None
        ),
        None,
    )
    if plain is None:
        return
    spoken = _NO_HTTP[proxy_pass.scheme]
    written = f"{proxy_pass.directive} {proxy_pass.written};"
    fixed = f"proxy_pass http://{proxy_pass.written};"
    yield Finding(
        "NGX033",
        (
            probed.seen(),
            quote(proxy_pass.where, written),
            quote(f"GET http://{proxy_pass.servers[0].address}{probed.target.health_path}", str(plain)),
            *_logged(logs, "prematurely closed connection", "upstream timed out", "unsupported"),
        ),
        {"where": proxy_pass.where, "written": written, "fixed": fixed, "spoken": spoken, "expected": "HTTP"},
        fix=edited(proxy_pass.where, written, fixed, probed.target),
    )


def _plain_status(address: str, probed: ProbedPrediction, upstreams: Upstreams | NotSeen) -> int | None:
    """The status of the answer to plain HTTP at ``address``; None if none came."""
    if same_address(probed.target.backend, address):
        health = None if isinstance(probed.backend, NotSeen) else probed.backend.health
        return health.status if isinstance(health, Exchange) else None
    answer = None if isinstance(upstreams, NotSeen) else upstreams.answers.get(address)
    return answer.status if answer else None


def _certfile(gunicorn: Gunicorn | NotSeen) -> str | None:
    value = None if isinstance(gunicorn, NotSeen) else setting("certfile", "certfile", (), gunicorn.config)
    return value if isinstance(value, str) and value else None


def _logged(logs: Logs | NotSeen, *phrases: str) -> tuple[Evidence, ...]:
    """The newest line of nginx's error logs with one of ``phrases``."""
    entries = () if isinstance(logs, NotSeen) else nginx_entries(logs, *phrases)
    return tuple(quote(path, entry.text) for path, entry in entries[-1:])


@check(
    "nginx.names",
    "NGX032",
    en="the names that nginx proxies to lead to the service",
    zh="nginx 转发所用的主机名指向本服务",
)
def names(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
    processes: Processes | NotSeen,
    logs: Logs | NotSeen,
) -> Iterator[Finding]:
    """NGX032: a name in proxy_pass resolves to addresses on which nobody listens, and the service listens on the same
    port of another address. If some of the addresses answer, nginx's log must name one of the others."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    proxy_pass = probed.route().outcome.passed
    if proxy_pass is None:
        return
    from ops.interpret.routing.upstream import is_address

    if probed.answer.status not in GATEWAY_ERRORS or isinstance(processes, NotSeen) or not probed.is_alive:
        return
    if probed.target.backend.startswith("unix:"):
        return
    backend_port = split_address(probed.target.backend)[1]
    by_name = [s for s in proxy_pass.servers if not s.address.startswith("unix:") and not is_address(s.name)]
    dead = [
        s
        for s in by_name
        if split_address(s.address)[1] == backend_port
        and not any(same_address(listener.address, s.address) for listener in processes.listeners)
    ]
    if not dead or (len(dead) < len(proxy_pass.servers) and not _refused(logs, dead)):
        return
    addresses = ", ".join(server.address for server in dead[:MAX_SHOWN])
    host, port = split_address(probed.target.backend)
    yield Finding(
        "NGX032",
        (
            probed.seen(),
            quote(dead[0].where, f"{proxy_pass.directive} {proxy_pass.written}"),
            quote(f"getent ahosts {dead[0].name}", ", ".join(_addresses(probed, dead[0].name))),
            Evidence(
                "ss -ltn",
                Text(
                    en=f"nobody listens on {addresses}; the service listens on {probed.target.backend}",
                    zh=f"{addresses} 无人监听；服务监听在 {probed.target.backend}",
                ),
            ),
            *_refused(logs, dead),
        ),
        {
            "name": dead[0].name,
            "dead": addresses,
            "listening": probed.target.backend,
            "where": dead[0].where,
            "fixed": join_address(host, port),
        },
        fix=edited(dead[0].where, _written_name(proxy_pass, dead[0]), join_address(host, port), target),
    )


def _written_name(proxy_pass: Passed, server: UpstreamServer) -> str:
    """A server's name as it is written, with its port if it has one."""
    authority = proxy_pass.written.partition("://")[2].partition("/")[0]
    name = authority if proxy_pass.upstream is None else _named(server)
    return name or server.name


def _addresses(probed: ProbedPrediction, name: str) -> tuple[str, ...]:
    names = {} if isinstance(probed.host_names, NotSeen) else probed.host_names.addresses
    return names.get(name.lower(), ())


def _refused(logs: Logs | NotSeen, dead: list[UpstreamServer]) -> tuple[Evidence, ...]:
    entries = () if isinstance(logs, NotSeen) else nginx_entries(logs, "while connecting to upstream")
    of_dead = [
        quote(path, entry.text)
        for path, entry in entries
        if any(f"//{server.address}/" in f"{upstream(entry.text)}/" for server in dead)
    ]
    return tuple(of_dead[-1:])


@check(
    "nginx.lone_upstream",
    "NGX035",
    en="nginx does not set the only live server of an upstream aside",
    zh="nginx 没有停用 upstream 里唯一可用的服务器",
)
def lone_upstream(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend,
    logs: Logs | NotSeen,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX035: nginx logs 'no live upstreams' for a group of several servers, of which only one is in use or all are
    marked down, or for a group whose servers may have only so many connections, while the service answers.

    A group of one server is never set aside (ngx_http_upstream_module, server: max_fails), but is refused connections
    beyond max_conns."""
    groups = {
        d.args[0]
        for d in every(nginx_config, "upstream")
        if d.args and (len(_members(d)) > 1 or any(map(_limited, _members(d))))
    }
    entries = () if isinstance(logs, NotSeen) else nginx_entries(logs, "no live upstreams")
    if not groups or not entries or not isinstance(backend.health, Exchange) or backend.health.status is None:
        return
    from ops.interpret.routing.request import probe_route

    proxy_pass = probe_route(nginx_config, target, host_names).passed
    ours = [
        (path, entry)
        for path, entry in entries
        if proxy_pass and f"//{proxy_pass.upstream}/" in upstream(entry.text)
    ]
    if proxy_pass is None or proxy_pass.upstream not in groups or not ours:
        return
    live = [server for server in proxy_pass.servers if not server.is_down]
    limited = [d for d in every(nginx_config, "upstream") if d.args[:1] == (proxy_pass.upstream,)]
    full = [member for d in limited for member in _members(d) if _limited(member)]
    if full and len(full) >= len(live):
        yield _full(full[0], proxy_pass.upstream, ours[-1], len(ours), target)
        return
    if len(live) > 1 or (live and not live[0].max_fails):
        return
    down = [server for server in proxy_pass.servers if server.is_down]
    path, entry = ours[-1]
    is_over = isinstance(front.predict, Exchange) and reaches_service(front.predict, target)
    server = live[0] if live else down[0]
    statement = f"server {' '.join((_named(server), *server.parameters))};"
    parameters = [
        p for p in server.parameters if p not in ("down", "backup") and not p.startswith("max_fails=")
    ]
    yield Finding(
        "NGX035",
        (
            quote(path, entry.text),
            quote(server.where, statement),
            *(
                quote(s.where, f"server {' '.join((_named(s), *s.parameters))};")
                for s in down
                if s is not server
            ),
            Evidence(
                f"GET {target.backend}{target.health_path}",
                Text(en="the service answers there", zh="服务在此地址应答"),
            ),
        ),
        {
            "upstream": proxy_pass.upstream or "",
            "count": str(len(ours)),
            "where": server.where,
            "written": statement,
            "fixed": f"server {' '.join((_named(server), *parameters, 'max_fails=0'))};",
        },
        severity=Severity.WARN if is_over else None,
        fix=edited(
            server.where,
            statement,
            f"server {' '.join((_named(server), *parameters, 'max_fails=0'))};",
            target,
        ),
    )


def _limited(member: Directive) -> bool:
    return any(word.startswith("max_conns=") and word != "max_conns=0" for word in member.args)


def _full(
    member: Directive, upstream: str, newest: tuple[str, LogEntry], count: int, target: Target
) -> Finding:
    """What it is where every server of the group may have only so many connections."""
    path, entry = newest
    limit = next(word for word in member.args if word.startswith("max_conns="))
    return Finding(
        "NGX035",
        (quote(path, entry.text), quote(member.where, member.written)),
        {
            "upstream": upstream,
            "count": str(count),
            "where": member.where,
            "written": f"{member.written};",
            "fixed": f"{member.written.replace(f' {limit}', '')};",
        },
        summary=Text(
            en=f"{count} times nginx had no server left for a request: {limit} at {member.where} lets only so many"
            " connections through, nginx has no queue, and answers the others 502.",
            zh=f"nginx 有 {count} 次没有可用的服务器：{member.where} 的 {limit} 限制了连接数，nginx 没有排队机制，"
            "多出来的请求直接得到 502。",
        ),
        severity=Severity.WARN,
        fix=(
            Text(
                en=f"Take {limit} out at {member.where}, or set it above what the service can do at once: gunicorn"
                " queues the rest (backlog)",
                zh=f"去掉 {member.where} 的 {limit}，或设得高于后端能同时处理的数量：其余由 gunicorn 排队（backlog）",
            ),
            replaced_in_line(member.where, f" {limit}", ""),
            target.test_nginx,
            target.reload_nginx,
        ),
    )


def _members(upstream: Directive) -> list[Directive]:
    return [d for d in upstream.block or () if d.name == "server" and d.args]


def _named(server: UpstreamServer) -> str:
    """The server as it is written: by its name if it has one."""
    from ops.interpret.routing.upstream import is_address

    if server.address.startswith("unix:") or is_address(server.name):
        return server.address
    return f"{server.name}:{split_address(server.address)[1]}"


CHECKS = (
    scheme,
    names,
    lone_upstream,
)
