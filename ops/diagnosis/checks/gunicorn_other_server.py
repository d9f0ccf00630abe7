"""Judge of a service that another server than gunicorn runs: uvicorn by itself, hypercorn, daphne, uWSGI.

Sources: uvicorn documentation, deployment; systemd.service(5); supervisord documentation, running supervisorctl."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Backend
from ops.facts.start import DeclaredServer, LastStart, ServiceManager
from ops.facts.target import Target
from ops.interpret.gunicorn import application_server, listening_on
from ops.text.language import Text


@check(
    "gunicorn.other_server",
    "GUN020",
    en="the server that is to run the application runs",
    zh="负责运行应用的服务器在运行",
)
def other_server(
    target: Target, backend: Backend, processes: Processes, last_start: LastStart | NotSeen
) -> Iterator[Finding]:
    """GUN020: nobody accepts connections for nginx, and the service is another server's than gunicorn's: it is
    declared for this service and does not run, or it runs and listens at another address."""
    declared = declared_server(target, backend, last_start)
    if declared is None:
        return
    refused = quote(f"tcp {target.backend}", backend.connection.detail or str(backend.connection.failure))
    running = _running(target, processes, declared)
    if running is None:
        yield Finding(
            "GUN020",
            (
                refused,
                Evidence("ps", Text(en=f"no {declared.server}", zh=f"没有 {declared.server} 进程")),
                quote(declared.file, " ".join(declared.command)),
            ),
            {"server": declared.server, "name": declared.name},
            fix=(*_start(declared), *_words_of(declared)),
        )
        return
    process, addresses = running
    yield Finding(
        "GUN020",
        (
            refused,
            quote(
                f"ss -ltnp | grep {process.pid}", f"{', '.join(addresses)}: {' '.join(process.command)[:160]}"
            ),
            quote(declared.file, " ".join(declared.command)),
        ),
        {"server": declared.server, "name": declared.name},
        summary=Text(
            en=f"{declared.server} (pid {process.pid}, {declared.name}) listens at {', '.join(addresses)}, and nginx"
            f" connects to {target.backend}, where nobody listens.",
            zh=f"{declared.server}（进程 {process.pid}，{declared.name}）监听在 {'、'.join(addresses)}，"
            f"而 nginx 连接的是 {target.backend}，那里没有程序监听。",
        ),
        fix=_same_address(target, declared, addresses[0]),
    )


def declared_server(
    target: Target, backend: Backend, last_start: LastStart | NotSeen
) -> DeclaredServer | None:
    """The server that is to run the service, if it is no gunicorn and nobody accepts connections at the service's
    address; None otherwise."""
    if (
        target.gunicorn_master is not None
        or backend.connection.failure not in (ProbeFailure.REFUSED, ProbeFailure.MISSING)
        or isinstance(last_start, NotSeen)
    ):
        return None
    return next(iter(last_start.servers), None)


def _running(
    target: Target, processes: Processes, declared: DeclaredServer
) -> tuple[Process, tuple[str, ...]] | None:
    """A process of that server in the service's directory, and the addresses where it listens."""
    for process in processes.processes:
        if application_server(processes, process) != declared.server or process.cwd != target.app_dir:
            continue
        if addresses := listening_on(processes, (process.pid,)):
            return process, addresses
    return None


def _start(declared: DeclaredServer) -> tuple[str, ...]:
    name = shlex.quote(declared.name)
    return (
        (f"systemctl start {name}",)
        if declared.manager is ServiceManager.SYSTEMD
        else (f"supervisorctl start {name}",)
    )


def _words_of(declared: DeclaredServer) -> tuple[str | Text, ...]:
    name = shlex.quote(declared.name)
    shown = (
        f"journalctl -u {name} -n 40 --no-pager"
        if declared.manager is ServiceManager.SYSTEMD
        else f"supervisorctl tail {name} stderr"
    )
    return (
        Text(
            en=f"If it does not stay up, its last words say why: {shown}",
            zh=f"如果起来又退出，看它最后的输出：{shown}",
        ),
    )


def _same_address(target: Target, declared: DeclaredServer, address: str) -> tuple[str | Text, ...]:
    restart = "systemctl restart" if declared.manager is ServiceManager.SYSTEMD else "supervisorctl restart"
    where = target.site_file or target.nginx_config_file
    return (
        Text(
            en=f"Give both the same address: {target.backend} in {declared.file} (then {restart} {declared.name}), or"
            f" {address} in proxy_pass or upstream of {where}",
            zh=f"让两边用同一个地址：在 {declared.file} 里改成 {target.backend}（然后 {restart} {declared.name}），"
            f"或在 {where} 的 proxy_pass 或 upstream 里改成 {address}",
        ),
        target.test_nginx,
        target.reload_nginx,
    )


CHECKS = (other_server,)
