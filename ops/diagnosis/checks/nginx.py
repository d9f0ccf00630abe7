"""Judges of nginx itself: its process, its configuration, the servers that it proxies to."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from ops.diagnosis.checks.host import FEW_FILES
from ops.diagnosis.checks.log_reading import nginx_entries, require_nginx_log
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote, seen
from ops.diagnosis.steps import put_before_line, replaced_in_line, replaced_statement, without_line
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Host, Process, Processes
from ops.facts.logs import AccessLog, Logs
from ops.facts.machine import Machine, OpenFiles
from ops.facts.nginx import Directive, NginxConfig, NginxTest, Pidfile
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import REDIRECTS, Backend, Exchange, Front, Upstreams
from ops.facts.target import Target
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import split_address
from ops.interpret.listeners import described, not_nginx, taking
from ops.interpret.probe_lines import of_others
from ops.interpret.service_name import identity, is_service, reaches_service
from ops.interpret.site import find_site
from ops.interpret.traffic import users_traffic
from ops.text.duration import UNIT_SECONDS
from ops.text.language import Text, in_seconds

DEFAULT_READ_TIMEOUT = 60.0  # ngx_http_proxy_module, proxy_read_timeout
REUSING_SINCE = (
    1,
    29,
    7,
)  # since this version nginx speaks HTTP/1.1 and keeps connections by default (its CHANGES)
DEFAULT_CONNECTIONS = 512  # ngx_core_module, worker_connections
DEFAULT_LIMIT_STATUS = "503"  # ngx_http_limit_req_module, limit_req_status
# Seconds. TCP sends a lost packet again after 1 s, then after 2 s more (RFC 6298, 2.1 and 5.5).
SHORTEST_WAIT = 2.0
# Below this share of all requests, the rate limit works as intended and users are not affected.
SMALL_SHARE = 0.10
# The User-Agent of each client in the guide and the documentation.
CLIENTS = {"curl": "curl/8.5.0", "python-requests": "python-requests/2.32.3"}
# Statuses with which a program answers a path that it does not have.
_OF_ANOTHER_PROGRAM = ("404", "405", "410", "501")
REFUSALS = ("403", "404", "406", "410", "444")
_IN_FILE = re.compile(r" in (\S+):(\d+)$")
_PLAIN_NAME = re.compile(r"[\w.-]+\Z", re.ASCII)


def _site_server(config: NginxConfig, target: Target) -> nginx_topology.Server | None:
    site = find_site(config, target.domain, target.backend)
    return site.server if site else None


@check("nginx.program", "NGX001", en="nginx is installed", zh="nginx 已安装")
def program(target: Target, front: Front | NotSeen) -> Iterator[Finding]:
    """NGX001: the configured binary is not found. A warning if the front door accepts connections nevertheless."""
    if target.nginx_installed:
        return
    serving = isinstance(front, Front) and front.connection.failure is None
    yield Finding(
        "NGX001",
        (Evidence(target.nginx_binary, Text(en="no such program", zh="没有这个程序")),),
        severity=Severity.WARN if serving else None,
    )


@check("nginx.process", "NGX002", en="nginx is running", zh="nginx 正在运行")
def process(
    target: Target,
    front: Front,
    processes: Processes,
    nginx_pidfile: Pidfile | NotSeen,
    logs: Logs | NotSeen,
    nginx_test: NginxTest | NotSeen,
) -> Iterator[Finding]:
    """NGX002: no master runs this configuration, and nothing, or only orphaned workers, listens at the front door."""
    if any(nginx_topology.serving_masters(target, processes, nginx_pidfile)):
        return
    orphans = _orphans(processes)
    if orphans and front.connection.failure not in (ProbeFailure.REFUSED, ProbeFailure.MISSING):
        yield _without_a_master(target, orphans, _failed_start(logs, are_served=True))
        return
    if front.connection.failure not in (ProbeFailure.REFUSED, ProbeFailure.MISSING):
        owners = not_nginx(processes, target.connect_to or "", target, nginx_pidfile)
        who = ", ".join(map(described, owners)) or "nobody that is seen"
        raise NotJudgedError(
            NotSeen(reason=f"no nginx master of this host serves; {target.connect_to} is held by {who}")
        )
    evidence = [quote(f"tcp {front.connection.address}", "connection refused")]
    if isinstance(nginx_pidfile, Pidfile) and nginx_pidfile.pid is not None:
        evidence.append(
            Evidence(
                nginx_pidfile.path,
                Text(
                    en=f"names process {nginx_pidfile.pid}, which is no nginx",
                    zh=f"其中的进程 {nginx_pidfile.pid} 不是 nginx",
                ),
            )
        )
    evidence.append(
        Evidence("ps", Text(en="no nginx master for this configuration", zh="没有使用此配置的 nginx 主进程"))
    )
    failed = _failed_start(logs)
    if failed is None:
        yield Finding("NGX002", tuple(evidence))
        return
    from ops.diagnosis import nginx_message

    path, message = failed
    is_tested = isinstance(nginx_test, NginxTest) and nginx_test.exit_code == 0
    words = nginx_message.without_process(message)
    where = _IN_FILE.search(words)
    if where is not None and is_tested and "host not found" not in words:
        yield Finding("NGX002", tuple(evidence))  # the configuration has been corrected since
        return
    failure = words[: where.start()] if where else words
    file, line = (where[1], where[2]) if where else (target.nginx_config_file, None)
    in_use = _BIND_IN_USE.search(words)
    holders, mend = _in_use(in_use[1], processes) if in_use is not None else ((), ())
    if mend:
        yield Finding(
            "NGX002",
            (*evidence, quote(path, message), *holders),
            summary=Text(en=f"nginx's last start failed: {failure}", zh=f"nginx 上次启动失败：{failure}"),
            fix=(*mend, target.test_nginx, target.start_nginx),
        )
        return
    yield Finding(
        "NGX002",
        (*evidence, quote(path, message)),
        summary=Text(en=f"nginx's last start failed: {failure}", zh=f"nginx 上次启动失败：{failure}"),
        fix=(
            nginx_message.advice(failure, file, line, target.nginx_config_file),
            target.test_nginx,
            target.start_nginx,
        ),
    )


_BIND_IN_USE = re.compile(r"bind\(\) to (\S+) failed \(98: Address already in use\)")


def _in_use(address: str, processes: Processes) -> tuple[tuple[Evidence, ...], tuple[str | Text, ...]]:
    """The processes that hold an address which nginx could not bind, and the steps to free it; empty if none is seen.

    A killed nginx leaves its unix socket's file behind, at which no process listens."""
    pids = {pid for item in taking(processes, address) for pid in item.pids}
    owners = [process for process in processes.processes if process.pid in pids]
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not owners:
            note = Text(
                en="nobody listens at this socket: its file was left", zh="没有进程监听这个套接字，只剩文件"
            )
            return (Evidence(path, note),), (f"rm -- {shlex.quote(path)}",)
    evidence = tuple(quote(described(owner), " ".join(owner.command)[:160]) for owner in owners)
    if not owners:
        return (), ()  # gone meanwhile, or not seen: quote only nginx's message
    unit = next((owner.unit for owner in owners if owner.unit), None)
    stop = (
        f"systemctl disable --now {shlex.quote(unit)}" if unit else f"kill {' '.join(map(str, sorted(pids)))}"
    )
    words = Text(
        en=f"{described(owners[0])} holds {address}. If it is to go: {stop}; if it is to stay, take that listen out of"
        " nginx's configuration",
        zh=f"{described(owners[0])} 占着 {address}。如果不需要它：{stop}；如果要保留，就从 nginx 配置里去掉这个 listen",
    )
    return evidence, (words,)


def _orphans(processes: Processes) -> tuple[Process, ...]:
    """Listening workers of this host's nginx without a master: a killed master does not end its workers."""
    pids = {
        process.pid
        for process in processes.processes
        if nginx_topology.title(process).startswith("nginx: master")
    }
    return tuple(
        process
        for process in processes.processes
        if nginx_topology.title(process) == "nginx: worker process"
        and process.ppid not in pids
        and any(process.pid in item.pids for item in processes.listeners)
    )


def _without_a_master(
    target: Target, orphans: tuple[Process, ...], failed: tuple[str, str] | None
) -> Finding:
    pids = " ".join(str(process.pid) for process in orphans)
    return Finding(
        "NGX002",
        (
            *(
                Evidence(
                    f"pid {worker.pid}",
                    Text(en="nginx: worker process, without a master", zh="nginx 工作进程，没有主进程"),
                )
                for worker in orphans[:4]
            ),
            *((quote(*failed),) if failed else ()),
        ),
        summary=Text(
            en=f"nginx's master is gone, and its workers ({pids}) serve on with the configuration and the certificates"
            " of then: nothing can be reloaded, and a start finds the ports taken.",
            zh=f"nginx 主进程已不在，遗留的工作进程（{pids}）仍用当时的配置和证书提供服务："
            "无法 reload，新启动的 nginx 也抢不到端口。",
        ),
        fix=(f"kill -QUIT {pids}", target.test_nginx, target.start_nginx),
    )


def _failed_start(logs: Logs | NotSeen, *, are_served: bool = False) -> tuple[str, str] | None:
    """The log and text of nginx's newest [emerg] since the last request that it answered; None without one.
    ``are_served``: workers of an earlier start still answer, so requests do not prove that a later start succeeded."""
    if isinstance(logs, NotSeen):
        return None
    served = logs.nginx_access.last if isinstance(logs.nginx_access, AccessLog) else None
    emergencies = [
        (entry.time, path, entry.text.partition("\n")[0])
        for path, entry in nginx_entries(logs, "")
        if entry.level == "emerg" and "still could not bind" not in entry.text
    ]
    newest = max(emergencies, default=None)
    if newest is None or (not are_served and served is not None and newest[0] < served):
        return None
    return newest[1], newest[2]


@check("nginx.configuration", "NGX003", en="nginx's configuration loads", zh="nginx 配置可以加载")
def configuration(
    nginx_test: NginxTest,
    host: Host,
    target: Target,
    processes: Processes | NotSeen,
    nginx_pidfile: Pidfile | NotSeen,
    nginx_config: NginxConfig | NotSeen,
) -> Iterator[Finding]:
    """NGX003: nginx -t fails because of the configuration itself, not because the doctor lacks a permission."""
    if nginx_test.exit_code == 0:
        return
    failures = _failures(nginx_test)
    own = own_failures(nginx_test, host)
    if len(own) < len(failures) or not failures:
        reason = next((line for line in failures if line not in own), "nginx -t failed without saying why")
        raise NotJudgedError(NotSeen(reason=reason, needs_root=not host.is_root))
    from ops.diagnosis import nginx_message

    line = own[0].partition("] ")[2] or own[0]
    where = _IN_FILE.search(line)
    serving = not isinstance(processes, NotSeen) and any(
        nginx_topology.serving_masters(target, processes, nginx_pidfile)
    )
    message = nginx_message.without_process(line[: where.start()] if where else line)
    file, number = (where[1], where[2]) if where else (target.nginx_config_file, "?")
    other = _other_place(nginx_config, message, file, number)
    yield Finding(
        "NGX003",
        (quote(" ".join(nginx_test.command), line), *other),
        {"message": message, "file": file, "line": number},
        severity=Severity.WARN if serving else None,
        fix=(
            nginx_message.advice(
                message,
                file,
                where[2] if where else None,
                target.nginx_config_file,
                other=other[0].source if other else None,
            ),
            target.test_nginx,
            target.reload_nginx if serving else target.start_nginx,
        ),
    )


def _other_place(config: NginxConfig | NotSeen, message: str, file: str, line: str) -> tuple[Evidence, ...]:
    """Quote the first declaration if nginx reports a duplicate; empty if it is not known."""
    from ops.diagnosis.nginx_duplicates import first_declaration

    if isinstance(config, NotSeen) or not line.isdecimal():
        return ()
    first = first_declaration(config, message, file, int(line))
    return (quote(f"{first.file}:{first.line}", f"{first.name} {' '.join(first.args)}"),) if first else ()


def _failures(test: NginxTest) -> list[str]:
    return [line for line in test.lines if "[emerg]" in line or "[crit]" in line]


def own_failures(test: NginxTest, host: Host) -> list[str]:
    """The failures of the configuration itself, without those about files that the doctor may not open."""
    if test.exit_code == 0:
        return []
    return [line for line in _failures(test) if host.is_root or "Permission denied" not in line]


@check(
    "nginx.upstream",
    "NGX005",
    en="nginx proxies to where the service listens",
    zh="nginx 转发到服务实际监听的地址",
)
def upstream(
    nginx_config: NginxConfig, target: Target, upstreams: Upstreams, backend: Backend, front: Front | NotSeen
) -> Iterator[Finding]:
    """NGX005: no proxied address accepts connections, while the service answers at another.

    If predictions pass nevertheless, nginx runs a different configuration: NGX004."""
    if (
        isinstance(front, Front)
        and isinstance(front.predict, Exchange)
        and reaches_service(front.predict, target)
    ):
        return
    server = _site_server(nginx_config, target)
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
    yield Finding(
        "NGX005",
        (
            quote(proxy_pass.where, f"proxy_pass {proxy_pass.written}"),
            quote(_written_at(proxy_pass, address), f"{address}: {answer.detail or answer.failure}"),
            Evidence(
                f"GET {target.backend}{target.health_path}",
                Text(en="the service answers there", zh="服务在此地址应答"),
            ),
        ),
        {"upstream": address, "listening": target.backend},
        fix=_proxied_to_the_service(proxy_pass, address, target),
    )


def _proxied_to_the_service(
    proxy_pass: nginx_topology.ProxyPass, dead: str, target: Target
) -> tuple[str | Text, ...] | None:
    """Steps to correct the line that contains the address; None, for the catalogue's steps, if none contains it."""
    place, listening = _written_at(proxy_pass, dead), target.backend
    members = (proxy_pass.upstream.block or ()) if proxy_pass.upstream else ()
    names = [d.args[0] for d in members if d.args and nginx_topology.normal_address(d.args[0]) == dead]
    old_address = names[0] if names else dead
    if "unix:" in dead + listening or (not names and dead not in proxy_pass.written):
        return None
    return (
        Text(
            en=f"If the service is meant to listen at {listening}: correct {place}. If nginx is right: set bind in"
            f" {target.gunicorn_config_file or 'gunicorn.conf.py'} to {dead} instead",
            zh=f"如果服务就应当监听 {listening}：改正 {place}。如果 nginx 写得对：把"
            f" {target.gunicorn_config_file or 'gunicorn.conf.py'} 里的 bind 改为 {dead}",
        ),
        replaced_in_line(place, old_address, listening),
        target.test_nginx,
        target.reload_nginx,
    )


def _written_at(proxy_pass: nginx_topology.ProxyPass, address: str) -> str:
    """``file:line`` of the upstream's server directive for ``address``, else of the proxy_pass."""
    for member in (proxy_pass.upstream.block or ()) if proxy_pass.upstream else ():
        if (
            member.name == "server"
            and member.args
            and nginx_topology.normal_address(member.args[0]) == address
        ):
            return f"{member.file}:{member.line}"
    return proxy_pass.where


@check("nginx.health_location", "NGX006", en="health checks reach the service", zh="健康检查能到达服务")
def health_location(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX006: the health location returns 2xx itself, without proxying."""
    server = _site_server(nginx_config, target)
    location = server.location_for(target.health_path) if server else None
    if location is None or any(location.own("proxy_pass")):
        return
    for directive in location.own("return"):
        if directive.args and directive.args[0].startswith("2") and directive.args[0].isdigit():
            where = f"{directive.file}:{directive.line}"
            yield Finding(
                "NGX006",
                (quote(where, f"location {location.written} {{ return {' '.join(directive.args)}; }}"),),
                {"location": location.written, "where": where},
                fix=_asked_of_the_service(nginx_config, server, location, directive, target),
            )
            return


def _asked_of_the_service(
    config: NginxConfig,
    server: nginx_topology.Server | None,
    location: nginx_topology.Location,
    answer: Directive,
    target: Target,
) -> tuple[str | Text, ...] | None:
    """Edits, line by line, that proxy the health path to the service. They also remove the location's add_header
    Content-Type, which would be added to the service's answer."""
    proxy_pass = nginx_topology.proxy_pass_for(config, server, target.predict_path) if server else None
    if (
        proxy_pass is None
        or not proxy_pass.determined
        or {"/", "$"} & set(proxy_pass.written.partition("://")[2])
    ):
        return None
    added = [
        d
        for d in location.own("add_header")
        if d.args[:1] and d.args[0].lower() == "content-type" and d.file == answer.file
    ]
    edits = [(answer, f"proxy_pass {proxy_pass.written};"), *((d, "") for d in added)]
    if any(";" in word for d, _ in edits for word in d.args):
        return None
    # Edit bottom up, so that the lines above keep their numbers.
    ordered = sorted(edits, key=lambda edit: -edit[0].line)
    return (
        *(replaced_statement(f"{d.file}:{d.line}", d.name, new) for d, new in ordered),
        target.test_nginx,
        target.reload_nginx,
    )


@check("nginx.timeout", "NGX007", en="nginx waits long enough for the service", zh="nginx 等待服务的时间足够")
def timeout(
    nginx_config: NginxConfig, target: Target, front: Front, backend: Backend, logs: Logs
) -> Iterator[Finding]:
    """NGX007: nginx logs 'upstream timed out', and the backend answers only after proxy_read_timeout."""
    entries = nginx_entries(logs, "upstream timed out")
    require_nginx_log(logs)
    server = _site_server(nginx_config, target)
    location = server.location_for(target.predict_path) if server else None
    scope = location or server
    if scope is None or not entries or not isinstance(backend.predict, Exchange) or backend.predict.failure:
        return
    value = scope.value("proxy_read_timeout")
    limit = nginx_seconds(value) if value else DEFAULT_READ_TIMEOUT
    if limit is None or backend.predict.elapsed <= limit:
        return
    path, entry = entries[-1]
    evidence = [quote(path, entry.text)]
    if isinstance(front.predict, Exchange) and front.predict.status == 504:
        evidence.insert(0, quote(f"POST {front.predict.url}", f"504 after {front.predict.elapsed:.1f} s"))
    evidence.append(
        quote(
            f"POST {target.backend}{target.predict_path}",
            f"{backend.predict.status} after {backend.predict.elapsed:.1f} s, proxy_read_timeout {value or '60s'}",
        )
    )
    yield Finding(
        "NGX007",
        tuple(evidence),
        {"timeout": in_seconds(f"{limit:g}"), "took": in_seconds(f"{backend.predict.elapsed:.1f}")},
        fix=_longer(scope, value, backend.predict.elapsed, target),
    )


def _longer(
    scope: nginx_topology.Scope, value: str | None, took: float, target: Target
) -> tuple[str | Text, ...] | None:
    """Steps to set proxy_read_timeout to twice the time of an answer, at least nginx's default; None if not placed."""
    new_statement = f"proxy_read_timeout {max(60, math.ceil(2 * took))}s;"
    directives, proxy_pass = scope.effective("proxy_read_timeout"), scope.first_own("proxy_pass")
    if directives and value:
        place = f"{directives[-1].file}:{directives[-1].line}"
        line = replaced_in_line(place, f"proxy_read_timeout {value};", new_statement)
    elif proxy_pass is not None:
        line = put_before_line(f"{proxy_pass.file}:{proxy_pass.line}", new_statement)
    else:
        return None
    return (
        line,
        target.test_nginx,
        target.reload_nginx,
        Text(
            en="Keep gunicorn's timeout a little below it; then find out why it takes that long",
            zh="gunicorn 的 timeout 应略小于它；然后查清为何这么慢",
        ),
    )


def nginx_seconds(value: str) -> float | None:
    """Seconds from nginx's time format (``30s``, ``1m30s``, ``500ms``, ``60``); None if it is not valid."""
    units = {**UNIT_SECONDS, "w": 7 * UNIT_SECONDS["d"], "": 1.0}
    parts = re.findall(r"(\d+)(ms|[smhdw]|)", value.replace(" ", ""))
    if not parts or "".join(n + u for n, u in parts) != value.replace(" ", ""):
        return None
    return sum(int(number) * units[unit] for number, unit in parts)


@check(
    "nginx.rate_limit", "NGX008", en="the rate limit lets legitimate requests pass", zh="限流没有误伤正常请求"
)
def rate_limit(
    logs: Logs, front: Front, target: Target, nginx_config: NginxConfig | NotSeen, taken_at: float
) -> Iterator[Finding]:
    """NGX008: 'limiting requests' in the window, and answers with the limit's status. A warning if few."""
    require_nginx_log(logs)
    limited = [
        (path, entry)
        for path, entry in nginx_entries(logs, "limiting requests")
        if "dry run" not in entry.text
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
    yield Finding(
        "NGX008",
        (
            quote(path, entry.text),
            *(
                (quote(access.path, f"{refusals} x {'/'.join(sorted(limits))}, {total} requests"),)
                if isinstance(access, AccessLog)
                else ()
            ),
        ),
        {"count": str(len(entries)), "share": f"{share:.0%}"},
        severity=Severity.WARN if share < SMALL_SHARE and not limited_now else Severity.FAIL,
    )


def _limit_statuses(config: NginxConfig | NotSeen, target: Target) -> set[str]:
    """The statuses of the site's rate limits; both usual ones if no limit is seen."""
    server = None if isinstance(config, NotSeen) else _site_server(config, target)
    scopes: tuple[nginx_topology.Scope, ...] = (server, *server.locations()) if server else ()
    statuses = {
        scope.value("limit_req_status") or DEFAULT_LIMIT_STATUS
        for scope in scopes
        if scope.effective("limit_req")
    }
    return statuses or {"429", DEFAULT_LIMIT_STATUS}


@check("nginx.user_agents", "NGX010", en="documented clients are let in", zh="文档中的客户端可以访问")
def user_agents(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX010: an `if` on the User-Agent refuses clients that the service's documentation uses."""
    server = _site_server(nginx_config, target)
    if server is None:
        return
    location = server.location_for(target.predict_path)
    for scope in (server, *((location,) if location else ())):
        for directive in scope.own("if"):
            refuses = any(
                d.name == "return" and d.args and d.args[0] in REFUSALS for d in directive.block or ()
            )
            blocked = [name for name, agent in CLIENTS.items() if _agent_matches(directive.args, agent)]
            if refuses and blocked:
                where = f"{directive.file}:{directive.line}"
                yield Finding(
                    "NGX010",
                    (quote(where, f"if ({' '.join(directive.args)})"),),
                    {"client": ", ".join(blocked), "where": where},
                )
                return


def _agent_matches(condition: tuple[str, ...], agent: str) -> bool:
    """Whether an `if`'s condition holds for a User-Agent (ngx_http_rewrite_module, if)."""
    if len(condition) != 3 or condition[0] != "$http_user_agent":
        return False
    operator, pattern = condition[1], condition[2]
    if operator == "=":
        return agent == pattern
    if operator not in ("~", "~*"):
        return False
    return nginx_topology.pattern_found(pattern, agent, ignore_case=operator == "~*")


@check("nginx.server_block", "NGX011", en="the right server block answers", zh="由正确的 server 块应答")
def server_block(
    nginx_config: NginxConfig, nginx_test: NginxTest | NotSeen, target: Target, front: Front
) -> Iterator[Finding]:
    """NGX011: nginx's default page answers, or a server block whose server_name does not match.

    Not judged if the front door refuses the doctor's requests; only this judge reports that, so it appears once."""
    if isinstance(front.predict, NotSeen) and front.connection.failure is None:
        raise NotJudgedError(front.predict)
    answers = [x for x in (front.predict, front.health) if isinstance(x, Exchange) and x.status is not None]
    if (
        not answers
        or any(reaches_service(x, target) or is_service(x) for x in answers)
        or target.connect_to is None
    ):
        return
    welcome = next((x for x in answers if "Welcome to nginx" in x.body), None)
    host, port = split_address(target.connect_to)
    blocks = nginx_topology.servers(nginx_config)
    block = nginx_topology.chosen_server(blocks, host, port, target.domain)
    # nginx does not run a configuration that does not load, so its names prove nothing.
    loads = isinstance(nginx_test, NotSeen) or nginx_test.exit_code == 0
    foreign = loads and block is not None and not nginx_topology.names_match(block, target.domain)
    site = _site_server(nginx_config, target)
    if welcome is None and not (
        foreign and (site is None or site != block or not _proxies(nginx_config, block))
    ):
        return
    names = " ".join(block.names) if block and block.names else "-"
    answer = welcome or answers[0]
    evidence = [
        quote(
            f"{answer.method} {answer.url}", f"{answer.status} {answer.header('server')} {answer.body[:80]}"
        )
    ]
    if block is not None:
        evidence.append(quote(block.where, f"server_name {names}"))
    if site is not None and site != block:
        evidence.append(quote(site.where, f"server_name {' '.join(site.names)}"))
    misspelt = next(_one_letter_off(nginx_config, target.domain), None)
    if misspelt is not None:
        evidence.append(
            Evidence(
                f"{misspelt.file}:{misspelt.line}",
                Text(
                    en=f"server_name {misspelt.name} differs from {target.domain} in one letter",
                    zh=f"server_name {misspelt.name} 与 {target.domain} 只差一个字母",
                ),
            )
        )
    yield Finding(
        "NGX011",
        tuple(evidence),
        {"answering": names, "where": block.where if block else "?"},
        fix=None
        if misspelt is None
        else (*misspelt.fix(target.domain), target.test_nginx, target.reload_nginx),
    )


class _MisspeltName(msgspec.Struct, frozen=True):
    """A server_name that is one letter away from the domain."""

    name: str
    file: str
    line: int

    def fix(self, domain: str) -> tuple[str | Text, ...]:
        """The line to correct, and the command that corrects it."""
        return (
            Text(
                en=f"{self.name} differs from {domain} in one letter ({self.file}, line {self.line}): correct it",
                zh=f"{self.name} 与 {domain} 只差一个字母（{self.file} 第 {self.line} 行），请改正",
            ),
            replaced_in_line(f"{self.file}:{self.line}", self.name, domain),
        )


def _one_letter_off(config: NginxConfig, domain: str) -> Iterator[_MisspeltName]:
    """Plain server names that differ from ``domain`` by one letter inserted, left out or replaced, or two exchanged."""
    for server in nginx_topology.servers(config):
        for directive in server.own("server_name"):
            for name in directive.args:
                if (
                    _PLAIN_NAME.match(name)
                    and _PLAIN_NAME.match(domain)
                    and _differ_in_one_letter(name, domain)
                ):
                    yield _MisspeltName(name, directive.file, directive.line)


def _differ_in_one_letter(left: str, right: str) -> bool:
    if left == right or abs(len(left) - len(right)) > 1:
        return False
    shorter, longer = sorted((left, right), key=len)
    pairs = zip(shorter, longer, strict=False)
    at = next((index for index, (a, b) in enumerate(pairs) if a != b), len(shorter))
    if len(shorter) < len(longer):
        return shorter[at:] == longer[at + 1 :]
    is_exchange = left[at : at + 2] == right[at : at + 2][::-1] and left[at + 2 :] == right[at + 2 :]
    return left[at + 1 :] == right[at + 1 :] or is_exchange


def _proxies(config: NginxConfig, server: nginx_topology.Server | None) -> bool:
    return server is not None and bool(nginx_topology.proxy_passes(config, server))


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
    server = _site_server(nginx_config, target)
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
        server_header = answer.header("server")
        if not owners and server_header.startswith("gunicorn"):
            continue  # its owner is not visible: it may be the service's
        owner = owners[0] if owners else None
        holder = f"pid {owner.pid} {' '.join(owner.command)[:120]}" if owner else "?"
        place = _written_at(proxy_pass, address)
        is_one_of_several = len(proxy_pass.addresses) > 1 and place != proxy_pass.where
        yield Finding(
            "NGX012",
            (
                quote(proxy_pass.where, f"proxy_pass {proxy_pass.written}"),
                *((quote(place, f"server {address}"),) if is_one_of_several else ()),
                *failed,
                quote(
                    f"GET {address}{target.health_path}",
                    f"{answer.status} Server: {server_header or '-'}, {answer.media_type or '-'}: {answer.body[:80]}",
                ),
                *((quote(f"ss -ltnp {address}", holder),) if owner else ()),
            ),
            {
                "upstream": address,
                "answer": f"{answer.status} {answer.media_type}".strip(),
                "owner": holder,
            },
            severity=Severity.WARN if is_shared and not failed else None,
            fix=(
                Text(
                    en=f"Take server {address}; at {place} out, or lead it to this service: {holder} answers there",
                    zh=f"去掉 {place} 的 server {address};，或让它指向本服务：在那里应答的是 {holder}",
                ),
                target.test_nginx,
                target.reload_nginx,
            )
            if is_one_of_several
            else None,
        )
        return


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
            en=f"The service redirects to HTTPS for ever, because nginx does not pass X-Forwarded-Proto on for"
            f" {target.health_path}; told so, it answers {answer.status}.",
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
    server = _site_server(config, target) if isinstance(config, NginxConfig) else None
    if server is None or not any(listen.ssl for listen in server.listens) or not target.front_tls:
        return None
    returns = [d for d in server.own("return") if d.args and d.args[0] == str(hop.status)]
    inner = [d for d in server.blocks[0].block or () if d not in returns]
    if len(returns) != 1 or any((d.file, d.line) == (returns[0].file, returns[0].line) for d in inner):
        return None
    place = f"{returns[0].file}:{returns[0].line}"
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
    server = _site_server(config, target)
    if server is None:
        return
    location = server.location_for(target.predict_path)
    scopes: tuple[nginx_topology.Scope, ...] = (server,) if location is None else (location, server)
    directives = [d for scope in scopes for name in ("return", "rewrite") for d in scope.own(name)]
    yield from (f"{directive.file}:{directive.line}" for directive in directives)
    if directives:
        return
    # A proxying prefix location that ends in a slash redirects the path without the slash (nginx: location).
    for other in server.locations():
        if other.pattern == f"{target.predict_path}/":
            yield f"{other.where} (location {other.written})"


@check("nginx.limit_status", "NGX018", en="the rate limit answers 429", zh="限流返回 429")
def limit_status(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX018: limit_req with limit_req_status 503, nginx's default."""
    server = _site_server(nginx_config, target)
    if server is None:
        return
    scopes: tuple[nginx_topology.Scope, ...] = (server, *server.locations())
    for scope in scopes:
        limit = scope.effective("limit_req")
        if limit and (scope.value("limit_req_status") or DEFAULT_LIMIT_STATUS) == DEFAULT_LIMIT_STATUS:
            where = f"{limit[0].file}:{limit[0].line}"
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


@check("nginx.keepalive", "NGX017", en="connections to the service are reused", zh="到后端的连接会被复用")
def keepalive(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX017: the upstream has keepalive, but the location speaks HTTP/1.0 or sends Connection: close or upgrade.

    Defaults by version: ngx_http_proxy_module, proxy_http_version and proxy_set_header."""
    server = _site_server(nginx_config, target)
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
    where = f"{culprit.file}:{culprit.line}"
    yield Finding(
        "NGX017",
        (quote(f"{pool.file}:{pool.line}", f"keepalive {' '.join(pool.args)}"), quote(where, statement)),
        {"where": where},
        fix=_reusing(culprit, scope, headers, target),
    )


def _reusing(
    culprit: Directive, scope: nginx_topology.Scope, headers: list[Directive], target: Target
) -> tuple[str | Text, ...] | None:
    """Change the line that keeps nginx from reusing connections; None if one line is not enough."""
    where = f"{culprit.file}:{culprit.line}"
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


@check(
    "nginx.worker_files",
    "NGX020",
    en="nginx may open a file for each of its connections",
    zh="nginx 能打开的文件数够它的连接数用",
)
def worker_files(
    nginx_config: NginxConfig, machine: Machine | NotSeen, processes: Processes | NotSeen
) -> Iterator[Finding]:
    """NGX020: worker_connections exceeds the files that a worker may open. By nginx's documentation it includes the
    connections to proxied servers, and open files limit it. nginx's own warning (ngx_event_module_init) compares it
    with the higher of worker_rlimit_nofile and the master's limit, although workers have the former.

    A worker's limit under 1024 is HST004, whatever worker_connections is."""
    connections = _number(nginx_config, "worker_connections")
    if connections is None and nginx_config.errors:
        raise NotJudgedError(NotSeen(reason=f"not all of {nginx_config.file} could be read"))
    if not isinstance(machine, NotSeen) and any(item.soft < FEW_FILES for item in _nginx_files(machine)):
        return
    unset = Text(
        en=f"worker_connections is not set: {DEFAULT_CONNECTIONS}",
        zh=f"没有设置 worker_connections：{DEFAULT_CONNECTIONS}",
    )
    count, evidence = connections or (DEFAULT_CONNECTIONS, Evidence(nginx_config.file, unset))
    limit, bound = _file_limit(nginx_config, machine, processes)
    if count > limit:
        facts = {"connections": str(count), "limit": str(limit), "bound": bound.source}
        yield Finding("NGX020", (evidence, bound), facts)


def _file_limit(
    config: NginxConfig, machine: Machine | NotSeen, processes: Processes | NotSeen
) -> tuple[int, Evidence]:
    """The files that a worker may open, with the evidence: worker_rlimit_nofile, or the lowest limit of a worker.

    Raises NotJudgedError if neither is known."""
    setting = _number(config, "worker_rlimit_nofile")
    if setting is None:
        workers = _nginx_files(seen(machine))
        if not workers:
            reason = "no worker of nginx runs, and worker_rlimit_nofile is not set"
            raise NotJudgedError(NotSeen(reason=reason))
    else:
        # If the system refuses the limit of worker_rlimit_nofile, nginx continues with its current one.
        workers = tuple(
            item
            for item in (() if isinstance(machine, NotSeen) else _nginx_files(machine))
            if item.soft < setting[0] and _is_current(item, config, processes)
        )
        if not workers:
            return setting
    tightest = min(workers, key=lambda item: item.soft)
    return tightest.soft, quote(f"/proc/{tightest.pid}/limits", f"Max open files {tightest.soft}")


def _nginx_files(machine: Machine) -> tuple[OpenFiles, ...]:
    return tuple(item for item in machine.open_files if item.process == "nginx")


def _number(config: NginxConfig, name: str) -> tuple[int, Evidence] | None:
    """The number of the directive ``name``, which nginx allows only once and in one context, with a quotation; None if
    it is not set.

    Raises NotJudgedError if its argument is no number."""
    directive = next(nginx_topology.every(config, name), None)
    if directive is None:
        return None
    where, value = f"{directive.file}:{directive.line}", " ".join(directive.args)
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise NotJudgedError(NotSeen(reason=f"{where}: {name} {value} is no number"))
    return int(value), quote(where, f"{name} {value}")


def _is_current(worker: OpenFiles, config: NginxConfig, processes: Processes | NotSeen) -> bool:
    """Whether a worker started after the last change of any configuration file: then it runs what they say."""
    if isinstance(processes, NotSeen) or not config.modified:
        return False
    started = next((p.started for p in processes.processes if p.pid == worker.pid), None)
    return started is not None and started > max(config.modified.values())


@check("nginx.slow_clients", "NGX070", en="nginx waits for slow clients", zh="nginx 会等待慢速客户端")
def slow_clients(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX070: client_header_timeout or client_body_timeout, in force for predictions, is too short for a lost packet.

    The address's default server sets the value for a connection's first headers (ngx_http_core_module,
    client_header_timeout), the site's own server for later ones, and the location for the body."""
    server = _site_server(nginx_config, target)
    if server is None:
        return
    blocks = nginx_topology.servers(nginx_config)
    usual = [listen for listen in server.listens if listen.ssl] or server.listens
    waits: list[tuple[str, nginx_topology.Scope]] = [
        ("client_header_timeout", nginx_topology.default_server(blocks, listen.host, listen.port) or server)
        for listen in usual
    ]
    waits.append(("client_header_timeout", server))
    waits.append(("client_body_timeout", server.location_for(target.predict_path) or server))
    short = dict.fromkeys(
        (f"{directive.file}:{directive.line}", f"{name} {directive.args[0]};")
        for name, scope in waits
        for directive in scope.effective(name)[-1:]
        if directive.args and _is_too_short(directive.args[0])
    )
    if short:
        yield Finding(
            "NGX070",
            tuple(quote(where, statement) for where, statement in short),
            {
                "written": " ".join(statement for _, statement in short),
                "where": ", ".join(dict.fromkeys(where for where, _ in short)),
            },
            fix=(
                Text(
                    en="nginx's own default is 60s: a slow client is no attack before that",
                    zh="nginx 的默认值是 60s：在此之前，慢客户端并不是攻击",
                ),
                *(
                    replaced_in_line(where, statement, f"{statement.split()[0]} 60s;")
                    for where, statement in short
                ),
                target.test_nginx,
                target.reload_nginx,
            ),
        )


def _is_too_short(value: str) -> bool:
    seconds = nginx_seconds(value)
    return seconds is not None and seconds < SHORTEST_WAIT


CHECKS = (
    program,
    process,
    configuration,
    upstream,
    health_location,
    timeout,
    rate_limit,
    user_agents,
    server_block,
    proxied_service,
    redirects,
    limit_status,
    keepalive,
    worker_files,
    slow_clients,
)
