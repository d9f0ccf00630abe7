"""Whether nginx runs the configuration on disk, and whether its old workers end after a reload."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.diagnosis.checks.nginx import own_failures
from ops.diagnosis.checks.nginx_errors import of_this_site
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote, seen
from ops.diagnosis.steps import replaced_in_line, replaced_statement, set_in_main_context
from ops.facts.base import NotSeen
from ops.facts.host import Host, Process, Processes
from ops.facts.logs import Logs
from ops.facts.nginx import NginxConfig, NginxTest, Pidfile
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import REDIRECTS, Backend, Exchange, Front, Upstreams
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import is_loopback, same_address, split_address
from ops.interpret.nginx_error_line import upstream
from ops.interpret.service_name import is_prediction, serves
from ops.interpret.site import NginxSiteConfig, find_site
from ops.text.duration import age, age_zh, in_chinese_units
from ops.text.language import Text

# Seconds. A file written just before a reload is as old as the workers that read it; both times are rounded.
SLACK = 2.0
MANY_OLD_WORKERS = 8
LONG_SHUTDOWN = 3600.0  # seconds
_UPSTREAM = re.compile(r'https?://(unix:[^:"]+|\[[^\]]+\]:\d+|[^/":]+:\d+)')


@check("nginx.reload", "NGX004", en="nginx runs the configuration on disk", zh="nginx 运行的就是磁盘上的配置")
def reload(
    nginx_config: NginxConfig,
    target: Target,
    host: Host,
    processes: Processes,
    nginx_pidfile: Pidfile | NotSeen,
    nginx_test: NginxTest | NotSeen,
    front: Front | NotSeen,
    backend: Backend | NotSeen,
    upstreams: Upstreams | NotSeen,
    logs: Logs | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """NGX004: a file changed more than 2 s after the oldest current worker started, or nginx's behaviour contradicts
    the files. A file that does not load is NGX003. A time that is still to come tells nothing: the clock was set back
    since."""
    masters = tuple(nginx_topology.serving_masters(target, processes, nginx_pidfile))
    workers = tuple(w for m in masters for w in nginx_topology.nginx_workers(processes.processes, m.pid))
    if not workers or (isinstance(nginx_test, NginxTest) and own_failures(nginx_test, host)):
        return
    oldest = min(workers, key=lambda w: w.started)
    changed_paths = sorted(
        (
            path
            for path, at in nginx_config.modified.items()
            if oldest.started + SLACK < at <= taken_at + SLACK
        ),
        key=lambda path: nginx_config.modified[path],
    )
    site = find_site(nginx_config, target.domain, target.backend)
    nowhere = _sent_nowhere(nginx_config, site, target, front, backend, upstreams)
    contradictions = [
        *_listening(nginx_config, processes, (*masters, *workers)),
        *_forwarding(nowhere),
        *_logged(nginx_config, site, target, logs, taken_at, {worker.pid for worker in workers}),
        *_returned(site, target, front),
    ]
    if not changed_paths and not contradictions:
        return
    behind = isinstance(front, Front) and _fails_at_nginx(front, backend, target, bool(contradictions))
    evidence = [
        Evidence(
            path,
            Text(
                en=f"changed {age(later)} after nginx's worker {oldest.pid} started",
                zh=f"在 nginx 的工作进程 {oldest.pid} 启动 {age_zh(later)}之后改过",
            ),
        )
        for path in changed_paths[:4]
        if (later := nginx_config.modified[path] - oldest.started)
    ]
    where = contradictions[0].source if contradictions else "?"
    yield Finding(
        "NGX004",
        (*evidence, *contradictions[:4]),
        {"changed": changed_paths[-1] if changed_paths else where},
        severity=Severity.FAIL if behind else Severity.WARN,
        summary=None
        if changed_paths
        else Text(
            en=f"What nginx does is not what its configuration says ({where}): it runs an older one.",
            zh=f"nginx 的实际行为与配置不符（{where}）：它运行的是旧配置。",
        ),
        fix=_correcting(nowhere, target) if nowhere else None,
        explains=None if behind else (),
    )


def _fails_at_nginx(front: Front, backend: Backend | NotSeen, target: Target, is_contradicted: bool) -> bool:
    """Whether users get a failure that the service itself does not have and an older configuration can cause."""
    answer = front.predict
    if isinstance(backend, NotSeen) or not serves(backend, target) or not isinstance(answer, Exchange):
        return False
    if is_prediction(answer, target):
        return False
    misled = answer.status in (404, 405, *REDIRECTS) or (answer.status == 200 and answer.is_html)
    return misled or (is_contradicted and answer.status in (502, 504))


def _listening(config: NginxConfig, processes: Processes, nginx: tuple[Process, ...]) -> Iterator[Evidence]:
    """Ports that the files name but nginx does not listen on, and the reverse. Silent if either is unknown."""
    pids = {process.pid for process in nginx}
    ports = {
        split_address(item.address)[1]
        for item in processes.listeners
        if not item.address.startswith("unix:") and pids.intersection(item.pids)
    }
    if not ports or config.errors:
        return
    configured: dict[int, str] = {}
    for directive in nginx_topology.every(config, "listen"):
        listen = nginx_topology.parse_listen(directive.args) if directive.args else None
        if listen is None:
            return  # a range of ports, or nonsense
        if not listen.host.startswith("unix:") and "quic" not in directive.args:
            configured.setdefault(listen.port, directive.where)
    blocks = (server.blocks[0] for server in nginx_topology.servers(config))
    if any(all(d.name != "listen" for d in block.block or ()) for block in blocks):
        return  # without listen the port depends on the user that started nginx
    for port, where in configured.items():
        if port not in ports:
            yield Evidence(
                where,
                Text(
                    en=f"listen {port}: nginx does not listen there",
                    zh=f"listen {port}：nginx 没有监听此端口",
                ),
            )
    for port in sorted(ports - set(configured)):
        yield Evidence(
            f"ss -ltnp :{port}",
            Text(
                en="nginx listens there, and no file of its configuration says so",
                zh="nginx 监听着此端口，但配置文件里没有",
            ),
        )


def _sent_nowhere(
    config: NginxConfig,
    site: NginxSiteConfig | None,
    target: Target,
    front: Front | NotSeen,
    backend: Backend | NotSeen,
    upstreams: Upstreams | NotSeen,
) -> nginx_topology.ProxyPass | None:
    """The proxy_pass of the files by which predictions would reach nobody, although they pass; None without one."""
    proxy_pass = nginx_topology.proxy_pass_for(config, site.server, target.predict_path) if site else None
    if (
        proxy_pass is None
        or not proxy_pass.determined
        or isinstance(front, NotSeen)
        or isinstance(upstreams, NotSeen)
        or isinstance(backend, NotSeen)
        or not isinstance(front.predict, Exchange)
        or not is_prediction(front.predict, target)
        or not serves(backend, target)
    ):
        return None
    answers = [upstreams.answers.get(address) for address in proxy_pass.addresses]
    reach_nobody = all(
        x is not None and x.failure in (ProbeFailure.REFUSED, ProbeFailure.MISSING, ProbeFailure.UNREACHABLE)
        for x in answers
    )
    return proxy_pass if answers and reach_nobody else None


def _forwarding(proxy_pass: nginx_topology.ProxyPass | None) -> Iterator[Evidence]:
    """Predictions pass, although nobody listens at the addresses in the file."""
    if proxy_pass is not None:
        yield Evidence(
            proxy_pass.where,
            Text(
                en=f"proxy_pass {proxy_pass.written} leads to {', '.join(proxy_pass.addresses)}, where nobody listens; "
                "predictions pass all the same",
                zh=f"proxy_pass {proxy_pass.written} 指向 {', '.join(proxy_pass.addresses)}，那里无人监听，预测却成功",
            ),
        )


def _correcting(proxy_pass: nginx_topology.ProxyPass, target: Target) -> tuple[str | Text, ...]:
    """The steps where loading the files would take the service away: first the file, then the reload."""
    if proxy_pass.upstream is None:
        authority = proxy_pass.written.partition("://")[2].partition("/")[0]
        places = {proxy_pass.where: authority}
    else:
        members = (d for d in proxy_pass.upstream.block or () if d.name == "server" and d.args)
        places = {member.where: member.args[0] for member in members}
    lines = [replaced_in_line(where, old, target.backend) for where, old in places.items() if old]
    return (
        Text(
            en="Do not reload nginx before the file is correct: predictions would then answer 502. The service"
            f" listens at {target.backend}:",
            zh=f"改正文件之前不要重新加载：按现在的文件，预测会返回 502。服务监听在 {target.backend}：",
        ),
        *lines[:1],
        *(replaced_statement(where, "server", "") for where in list(places)[:0:-1]),
        target.test_nginx,
        target.reload_nginx,
    )


def _logged(
    config: NginxConfig,
    site: NginxSiteConfig | None,
    target: Target,
    logs: Logs | NotSeen,
    taken_at: float,
    workers: set[int],
) -> Iterator[Evidence]:
    """A current worker has just tried an upstream that the file does not name. Silent if the file names one by a host
    name. Lines of workers that a reload has replaced since do not count."""
    if site is None or isinstance(logs, NotSeen) or not site.passes:
        return
    addresses = {address for item in site.passes for address in item.addresses}
    if not all(item.determined for item in site.passes) or not all(map(_is_literal, addresses)):
        return
    ours = f", server: {next(iter(site.server.names), '')},"
    recent = [
        (path, entry)
        for path, entry in of_this_site(nginx_entries(logs, "while connecting to upstream"), config, target)
        if entry.time >= int(taken_at)  # log times are whole seconds
        and (entry.pid is None or entry.pid in workers)
        and ours in entry.text
    ]
    for path, entry in recent[-1:]:
        match = _UPSTREAM.match(upstream(entry.text))
        if match and not any(_is_named(match[1], address) for address in addresses):
            yield quote(path, entry.text)


def _is_named(tried: str, address: str) -> bool:
    """Whether the address that nginx tried is the one in the file: localhost may have been either loopback."""
    if same_address(tried, address):
        return True
    (host, port), (host_in_file, port_in_file) = split_address(tried), split_address(address)
    return port == port_in_file and is_loopback(host) and host_in_file == "127.0.0.1"


def _is_literal(address: str) -> bool:
    host, _ = split_address(address)
    return address.startswith("unix:") or is_loopback(host) or not re.search(r"[a-zA-Z]", host)


def _returned(site: NginxSiteConfig | None, target: Target, front: Front | NotSeen) -> Iterator[Evidence]:
    """The file makes nginx itself answer a path with one status, and another came."""
    if site is None or isinstance(front, NotSeen):
        return
    if nginx_topology.has_conditions(site.server):
        return
    for path, answer in ((target.health_path, front.health), (target.predict_path, front.predict)):
        location = site.server.location_for(path)
        directive = location.first_own("return") if location else None
        if location is None or directive is None or nginx_topology.has_conditions(location):
            continue
        status = directive.args[0] if directive.args else ""
        if (
            status.isdecimal()
            and status != "444"
            and isinstance(answer, Exchange)
            and answer.status is not None
            and answer.status != int(status)
            # nginx may give these answers before it reaches the location's return.
            and answer.status not in (400, 403, 413, 421, 429, 503)
        ):
            yield Evidence(
                directive.where,
                Text(
                    en=f"location {location.written} returns {status}, but {path} answers {answer.status}",
                    zh=f"location {location.written} 应返回 {status}，但 {path} 返回 {answer.status}",
                ),
            )


@check(
    "nginx.old_workers",
    "NGX053",
    en="nginx's old workers end after a reload",
    zh="reload 之后 nginx 的旧工作进程会退出",
)
def old_workers(
    target: Target,
    processes: Processes,
    nginx_config: NginxConfig | NotSeen,
    nginx_pidfile: Pidfile | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """NGX053: eight or more workers of several reloads shut down, or more than four times those that serve, the first
    for over an hour, and worker_shutdown_timeout is not set. Without it a worker waits for its last connection
    (ngx_core_module). A worker keeps the timeout that it started with, so one set since needs no advice."""
    for master in nginx_topology.serving_masters(target, processes, nginx_pidfile):
        workers = nginx_topology.nginx_workers(processes.processes, master.pid)
        old = nginx_topology.old_workers(processes.processes, master.pid)
        starts = sorted(process.started for process in (*workers, *old))
        # Nobody sees a worker begin to shut down, but the start of those that replaced it.
        replaced = [
            (next(at for at in starts if at > worker.started + SLACK), worker)
            for worker in old
            if starts[-1] > worker.started + SLACK
        ]
        is_many = len(old) >= MANY_OLD_WORKERS or len(old) > 4 * len(workers)
        if not workers or not is_many or len({at for at, _ in replaced}) < 2:
            continue
        at, first = min(replaced, key=lambda pair: pair[0])
        since = age(taken_at - at)
        if taken_at - at <= LONG_SHUTDOWN:
            continue
        unset = _no_shutdown_timeout(seen(nginx_config), master)
        if unset is None:
            continue
        replacement = Text(
            en=f"the worker that replaced process {first.pid} started {since} ago",
            zh=f"替换进程 {first.pid} 的工作进程在 {in_chinese_units(since)}前启动",
        )
        yield Finding(
            "NGX053",
            (quote(f"ps -p {first.pid}", nginx_topology.title(first)), Evidence("ps", replacement), unset),
            {"count": str(len(old)), "workers": str(len(workers)), "age": since, "pid": str(master.pid)},
            fix=_ends_old_workers(seen(nginx_config), target),
        )


def _ends_old_workers(config: NginxConfig, target: Target) -> tuple[str | Text, ...] | None:
    line = set_in_main_context(config, "worker_shutdown_timeout", "10m")
    if line is None:
        return None
    from_now_on = Text(
        en="It holds for workers that start from now on. Each older one ends with its last connection; whether to end"
        " one sooner (kill, then its number), which breaks its connections, is for you to decide",
        zh="这只对此后启动的工作进程有效。更早的要等最后一个连接关闭才退出；要不要提前结束它们"
        "（kill 加进程号，上面的连接会断开），由你决定",
    )
    return (line, target.test_nginx, target.reload_nginx, from_now_on)


def _no_shutdown_timeout(config: NginxConfig, master: Process) -> Evidence | None:
    """The evidence that no time limits the shutdown of a worker (0 means none); None if one does.

    Raises NotJudgedError if the directive may stand in a file that was not read."""
    directive = next(nginx_topology.every(config, "worker_shutdown_timeout"), None)
    if directive is not None:
        value = " ".join(directive.args)
        written = quote(directive.where, f"worker_shutdown_timeout {value}")
        return None if re.search("[1-9]", value) else written
    if "worker_shutdown_timeout" in nginx_topology.title(master):  # nginx -g
        return None
    if config.errors:
        raise NotJudgedError(NotSeen(reason=f"not all of {config.file} could be read"))
    return Evidence(
        config.file,
        Text(en="worker_shutdown_timeout is not set", zh="没有设置 worker_shutdown_timeout"),
    )


CHECKS = (reload, old_workers)
