"""Judges of the servers that nginx proxies to: whether they listen, are the service, and keep their connections."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.nginx_site import site_server
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Backend, Exchange, Front, Upstreams
from ops.facts.target import Target
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret import nginx as nginx_topology
from ops.interpret.gunicorn import arguments, options, process_of
from ops.interpret.service_name import identity, reaches_service
from ops.interpret.traffic import users_traffic
from ops.text.language import UNSEEN, Text

# Since this version nginx speaks HTTP/1.1 and keeps connections by default (its CHANGES).
REUSING_SINCE = (1, 29, 7)
# Statuses with which a program answers a path that it does not have.
_OF_ANOTHER_PROGRAM = ("404", "405", "410", "501")


@check(
    "nginx.upstream",
    "NGX005",
    en="nginx proxies to where the service listens",
    zh="nginx 转发到服务实际监听的地址",
)
def upstream(
    nginx_config: NginxConfig,
    target: Target,
    upstreams: Upstreams,
    backend: Backend,
    front: Front | NotSeen,
    gunicorn: Gunicorn | NotSeen,
    processes: Processes | NotSeen,
) -> Iterator[Finding]:
    """NGX005: no proxied address accepts connections, while the service answers at another.

    If predictions pass nevertheless, nginx runs a different configuration: NGX004."""
    if (
        isinstance(front, Front)
        and isinstance(front.predict, Exchange)
        and reaches_service(front.predict, target)
    ):
        return
    server = site_server(nginx_config, target)
    proxy_pass = server and nginx_topology.proxy_pass_for(nginx_config, server, target.predict_path)
    healthy = isinstance(backend.health, Exchange) and backend.health.status is not None
    if not proxy_pass or not proxy_pass.determined or not healthy:
        return
    answers = {address: upstreams.answers.get(address) for address in proxy_pass.addresses}
    dead = {
        a: x
        for a, x in answers.items()
        if x is not None
        and x.failure in (ProbeFailure.REFUSED, ProbeFailure.MISSING, ProbeFailure.UNREACHABLE)
    }
    if not dead or len(dead) < len(answers):
        return
    address, answer = next(iter(dead.items()))
    unset = _bound_by_the_environment(target, gunicorn, processes)
    yield Finding(
        "NGX005",
        (
            *((unset,) if unset else ()),
            quote(proxy_pass.where, f"proxy_pass {proxy_pass.written}"),
            quote(_written_at(proxy_pass, address), f"{address}: {answer.detail or answer.failure}"),
            Evidence(
                f"GET {target.backend}{target.health_path}",
                Text(en="the service answers there", zh="服务在此地址应答"),
            ),
        ),
        {"upstream": address, "listening": target.backend},
        fix=_bound_by_the_file(address, target)
        if unset and "unix:" not in address
        else _proxied_to_the_service(proxy_pass, address, target),
    )


def _bound_by_the_environment(
    target: Target, gunicorn: Gunicorn | NotSeen, processes: Processes | NotSeen
) -> Evidence | None:
    """Why gunicorn listens everywhere at a port that nobody wrote: without a bind it takes PORT from its environment
    (gunicorn/config.py, Bind), and only without PORT 127.0.0.1:8000."""
    if isinstance(gunicorn, NotSeen) or isinstance(processes, NotSeen):
        return None
    master = process_of(processes, target.gunicorn_master)
    config = gunicorn.config
    if master is None or not isinstance(config, GunicornConfig) or config.star_imports:
        return None
    if "bind" in config.assigned or options(arguments(master)).get("bind"):
        return None
    members = {target.gunicorn_master, *target.gunicorn_workers}
    held = [
        item.address
        for item in processes.listeners
        if members.intersection(item.pids) and item.address.startswith(("0.0.0.0:", "[::]:"))
    ]
    if not held:
        return None
    port = held[0].rpartition(":")[2]
    return Evidence(
        config.path,
        Text(
            en=f"no bind is set, and gunicorn listens at {held[0]}: it takes PORT={port} from its environment (or a"
            " --bind from GUNICORN_CMD_ARGS)",
            zh=f"没有设置 bind，而 gunicorn 监听 {held[0]}：它取了环境变量 PORT={port}"
            "（或 GUNICORN_CMD_ARGS 里的 --bind）",
        ),
    )


def _bound_by_the_file(address: str, target: Target) -> tuple[str | Text, ...]:
    """Steps that give gunicorn the address nginx expects, whatever its environment says."""
    file, line = target.gunicorn_config_file, f"bind = {chr(34)}{address}{chr(34)}"
    if file is None:
        return (
            Text(
                en=f"Set bind to {address} ({{bind_place}}), so that no variable of the environment decides (or take"
                " PORT out of it)",
                zh=f"把 bind 写明为 {address}（{{bind_place}}），不让环境变量决定（或从环境里去掉 PORT）",
            ),
            target.restart_command,
        )
    return (
        Text(
            en=f"Set bind in {file}, so that no variable of the environment decides (or take PORT out of it):",
            zh=f"在 {file} 里写明 bind，不让环境变量决定（或从环境里去掉 PORT）：",
        ),
        f"printf '\\n%s\\n' {shlex.quote(line)} >> {shlex.quote(file)}",
        target.restart_command,
    )


def _proxied_to_the_service(
    proxy_pass: nginx_topology.ProxyPass, dead: str, target: Target
) -> tuple[str | Text, ...] | None:
    """Steps to correct the line that contains the address; None, for the catalogue's steps, if none contains it."""
    place, listening = _written_at(proxy_pass, dead), target.backend
    line = _corrected_address(proxy_pass, dead, target)
    if line is None:
        return None
    return (
        Text(
            en=f"If the service is meant to listen at {listening}: correct {place}. If nginx is right: set bind"
            f" ({{bind_place}}) to {dead} instead",
            zh=f"如果服务就应当监听 {listening}：改正 {place}。如果 nginx 写得对："
            f"把 bind（{{bind_place}}）改为 {dead}",
        ),
        line,
        target.test_nginx,
        target.reload_nginx,
    )


def _corrected_address(proxy_pass: nginx_topology.ProxyPass, wrong: str, target: Target) -> str | None:
    """The command that writes the service's address in place of ``wrong``; None if no line contains it."""
    members = (proxy_pass.upstream.block or ()) if proxy_pass.upstream else ()
    names = [d.args[0] for d in members if d.args and nginx_topology.normal_address(d.args[0]) == wrong]
    if "unix:" in wrong + target.backend or (not names and wrong not in proxy_pass.written):
        return None
    return replaced_in_line(_written_at(proxy_pass, wrong), names[0] if names else wrong, target.backend)


def _written_at(proxy_pass: nginx_topology.ProxyPass, address: str) -> str:
    """``file:line`` of the upstream's server directive for ``address``, else of the proxy_pass."""
    for member in (proxy_pass.upstream.block or ()) if proxy_pass.upstream else ():
        if (
            member.name == "server"
            and member.args
            and nginx_topology.normal_address(member.args[0]) == address
        ):
            return member.where
    return proxy_pass.where


@check(
    "nginx.proxied_service", "NGX012", en="what nginx proxies to is this service", zh="nginx 转发到的是本服务"
)
def proxied_service(
    nginx_config: NginxConfig,
    target: Target,
    upstreams: Upstreams,
    backend: Backend,
    front: Front,
    processes: Processes | NotSeen,
    logs: Logs | NotSeen,
) -> Iterator[Finding]:
    """NGX012: the upstream, or one of its servers, answers as another program: it lacks the service's identity, and the
    service's processes do not hold the port."""
    server = site_server(nginx_config, target)
    proxy_pass = server and nginx_topology.proxy_pass_for(nginx_config, server, target.predict_path)
    # With several servers, the doctor's own request reached only one of them.
    is_shared = isinstance(front.predict, Exchange) and reaches_service(front.predict, target)
    if not proxy_pass or (is_shared and len(proxy_pass.addresses) < 2):
        return
    failed = _failed_predictions(logs, target)
    members = {target.gunicorn_master, *target.gunicorn_workers}
    for address in proxy_pass.addresses:
        answer = backend.health if address == target.backend else upstreams.answers.get(address)
        if not isinstance(answer, Exchange) or answer.status is None or _is_same(answer, backend):
            continue
        if is_shared and (_is_backup(proxy_pass, address) or not _is_another(answer, backend)):
            continue
        if answer.header("server").startswith("Werkzeug"):
            continue  # APP006 is more specific
        if (
            address == target.backend
            and isinstance(backend.predict, Exchange)
            and reaches_service(backend.predict, target)
        ):
            continue
        owners = gunicorn_topology.holder(processes, address) if not isinstance(processes, NotSeen) else ()
        if any(owner.pid in members for owner in owners):
            continue
        if not owners and answer.header("server").startswith("gunicorn"):
            continue  # its owner is not visible: it may be the service's
        program = _AnotherProgram(proxy_pass, address, answer, owners[0] if owners else None)
        yield Finding(
            "NGX012",
            program.evidence(failed, target),
            program.details(),
            severity=Severity.WARN if is_shared and not failed else None,
            fix=program.fix(target),
        )
        return


class _AnotherProgram(NamedTuple):
    """What answers at ``address`` in the service's place. ``owner``: who holds the port, if that was seen."""

    proxy_pass: nginx_topology.ProxyPass
    address: str
    answer: Exchange
    owner: Process | None

    @property
    def holder(self) -> str:
        return f"pid {self.owner.pid} {' '.join(self.owner.command)[:120]}" if self.owner else UNSEEN.en

    @property
    def place(self) -> str:
        return _written_at(self.proxy_pass, self.address)

    @property
    def is_one_of_several(self) -> bool:
        return len(self.proxy_pass.addresses) > 1 and self.place != self.proxy_pass.where

    def evidence(self, failed: tuple[Evidence, ...], target: Target) -> tuple[Evidence, ...]:
        program, kind = self.answer.header("server") or "-", self.answer.media_type or "-"
        answered = f"{self.answer.status} Server: {program}, {kind}: {self.answer.body[:80]}"
        return (
            quote(self.proxy_pass.where, f"proxy_pass {self.proxy_pass.written}"),
            *((quote(self.place, f"server {self.address}"),) if self.is_one_of_several else ()),
            *failed,
            quote(f"GET {self.address}{target.health_path}", answered),
            *((quote(f"ss -ltnp {self.address}", self.holder),) if self.owner else ()),
        )

    def details(self) -> dict[str, str]:
        answer = f"{self.answer.status} {self.answer.media_type}".strip()
        return {"upstream": self.address, "answer": answer, "owner": self.holder}

    def fix(self, target: Target) -> tuple[str | Text, ...] | None:
        if not self.is_one_of_several:
            return _led_to_the_service(self.proxy_pass, self.address, self.holder, target)
        return (
            Text(
                en=f"Take server {self.address}; at {self.place} out, or lead it to this service:"
                f" {self.holder} answers there",
                zh=f"去掉 {self.place} 的 server {self.address};，或让它指向本服务：在那里应答的是 {self.holder}",
            ),
            target.test_nginx,
            target.reload_nginx,
        )


def _led_to_the_service(
    proxy_pass: nginx_topology.ProxyPass, address: str, holder: str, target: Target
) -> tuple[str | Text, ...] | None:
    """Steps to correct the address of another program; None, for the catalogue's steps, if no line has it as such."""
    line = None if address == target.backend else _corrected_address(proxy_pass, address, target)
    if line is None:
        return None
    place = _written_at(proxy_pass, address)
    return (
        Text(
            en=f"At {place}, {address} belongs to {holder}; the service listens at {target.backend}",
            zh=f"{place} 写的 {address} 属于 {holder}；本服务监听 {target.backend}",
        ),
        line,
        target.test_nginx,
        target.reload_nginx,
    )


def _failed_predictions(logs: Logs | NotSeen, target: Target) -> tuple[Evidence, ...]:
    """Users' predictions that were answered as if by a program without that path."""
    if isinstance(logs, NotSeen):
        return ()
    evidence = [
        quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}")
        for located in users_traffic(logs)
        for item in located.traffic.answers
        if item.path == target.predict_path and item.status in _OF_ANOTHER_PROGRAM
    ]
    return tuple(evidence[:2])


def _is_backup(proxy_pass: nginx_topology.ProxyPass, address: str) -> bool:
    """Whether nginx uses this server only while the primary servers fail (ngx_http_upstream_module, backup)."""
    return any(
        "backup" in member.args[1:]
        for member in (proxy_pass.upstream.block or () if proxy_pass.upstream else ())
        if member.name == "server"
        and member.args
        and nginx_topology.normal_address(member.args[0]) == address
    )


def _is_another(answer: Exchange, backend: Backend) -> bool:
    """Whether an answer to the health path is certainly not the service's, compared with its own health answer."""
    own = backend.health
    if not isinstance(own, Exchange) or own.status is None or own.status >= 400:
        return False
    if identity(own) is not None and identity(answer) is not None:
        return identity(own) != identity(answer)
    # A page with 5xx may be the service's own failure.
    is_page = answer.is_html and not own.is_html and (answer.status or 500) < 500
    return str(answer.status) in _OF_ANOTHER_PROGRAM or is_page


def _is_same(answer: Exchange, backend: Backend) -> bool:
    """Whether a health answer is the service's: it has an identity, and the same one if the service's is known."""
    expected = identity(backend.health) if isinstance(backend.health, Exchange) else None
    service_name = identity(answer)
    return service_name is not None and (expected is None or service_name == expected)


@check("nginx.keepalive", "NGX017", en="connections to the service are reused", zh="到后端的连接会被复用")
def keepalive(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX017: the upstream has keepalive, but the location speaks HTTP/1.0 or sends Connection: close or upgrade.

    Defaults by version: ngx_http_proxy_module, proxy_http_version and proxy_set_header."""
    server = site_server(nginx_config, target)
    proxy_pass = server and nginx_topology.proxy_pass_for(nginx_config, server, target.predict_path)
    pool = (
        next((d for d in proxy_pass.upstream.block or () if d.name == "keepalive"), None)
        if proxy_pass and proxy_pass.upstream
        else None
    )
    if not proxy_pass or pool is None or pool.args == ("0",):
        return
    scope = proxy_pass.location
    reuses_by_default = _version(nginx_config) >= REUSING_SINCE
    versions = scope.effective("proxy_http_version")
    headers = [
        d
        for d in scope.effective("proxy_set_header")
        if len(d.args) == 2 and d.args[0].lower() == "connection"
    ]
    connection = nginx_topology.usual_value(nginx_config, scope, headers[-1].args[1]) if headers else ""
    if versions and versions[-1].args == ("1.0",):
        culprit, statement = versions[-1], "proxy_http_version 1.0"
    elif not versions and not reuses_by_default:
        culprit, statement = scope.first_own("proxy_pass") or pool, "proxy_http_version 1.0 (the default)"
    elif headers and connection is not None and connection.lower() in ("close", "upgrade"):
        culprit, statement = headers[-1], f"proxy_set_header Connection {headers[-1].args[1]}"
        statement += "" if connection == headers[-1].args[1] else f" (= {connection})"
    elif not headers and not reuses_by_default:
        culprit, statement = scope.first_own("proxy_pass") or pool, "Connection: close (the default)"
    else:
        return
    where = culprit.where
    yield Finding(
        "NGX017",
        (quote(pool.where, f"keepalive {' '.join(pool.args)}"), quote(where, statement)),
        {"where": where},
        fix=_reusing(culprit, scope, headers, target),
    )


def _reusing(
    culprit: Directive, scope: nginx_topology.Scope, headers: list[Directive], target: Target
) -> tuple[str | Text, ...] | None:
    """Change the line that keeps nginx from reusing connections; None if one line is not enough."""
    where = culprit.where
    if culprit.name == "proxy_http_version":
        line = replaced_in_line(where, "proxy_http_version 1.0", "proxy_http_version 1.1")
    elif culprit.name == "proxy_set_header":
        # Replace the value, quoted or not, and keep the header's name as it is written.
        script = r's#\(Connection[[:space:]]\+\)[^;]*;#\1"";#I'
        line = (
            f"sed -i --follow-symlinks {shlex.quote(str(culprit.line) + script)} {shlex.quote(culprit.file)}"
        )
    elif culprit.name == "proxy_pass" and scope.first_own("proxy_set_header") is not None:
        # The first proxy_set_header of a level ends inheritance, so add one only beside others.
        words = "proxy_http_version 1.1;" + ("" if headers else ' proxy_set_header Connection "";')
        line = put_before_line(where, words)
    else:
        return None
    return (line, target.test_nginx, target.reload_nginx)


def _version(config: NginxConfig) -> tuple[int, ...]:
    """nginx's version as numbers; (99,) if unknown, so that no old version's default is assumed."""
    return tuple(int(part) for part in (config.version or "99").split(".") if part.isdecimal())


CHECKS = (
    upstream,
    proxied_service,
    keepalive,
)
