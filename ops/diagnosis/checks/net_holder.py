"""Judge of the process that listens at the front address."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.logs import Logs
from ops.facts.nginx import Pidfile
from ops.facts.probes import Exchange, Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import split_address
from ops.interpret.listeners import described, not_nginx, taking
from ops.interpret.nginx_error_line import own_words
from ops.interpret.port_holder import container_stop, is_of_container, own_unit
from ops.interpret.service_name import reaches_service
from ops.text.language import Text


@check("net.holder", "NET010", en="nginx holds the front address", zh="入口地址由 nginx 监听")
def holder(
    target: Target,
    front: Front,
    processes: Processes,
    nginx_pidfile: Pidfile | NotSeen,
    logs: Logs | NotSeen,
) -> Iterator[Finding]:
    """NET010: another program accepts the connections meant for nginx, and they do not reach the service.

    If they reach it, the program is a load balancer or proxy that the operator set up."""
    is_served = isinstance(front.predict, Exchange) and reaches_service(front.predict, target)
    if front.connection.failure is not None or target.connect_to is None or is_served:
        return
    owners = not_nginx(processes, target.connect_to, target, nginx_pidfile)
    if not owners:
        return
    owner = _first_process(owners, processes)
    listening = taking(processes, target.connect_to)[0].address
    master = next(nginx_topology.serving_masters(target, processes, nginx_pidfile), None)
    yield Finding(
        "NET010",
        (
            quote(f"ss -ltnp {listening}", f"{described(owner)}: {' '.join(owner.command)[:160]}"),
            _nginx_s_state(master),
            *_refused_to_nginx(logs, split_address(listening)[1]),
            *_published(owner),
        ),
        {"holder": described(owner), "pid": str(owner.pid)},
        summary=_sentence(target.connect_to, owner, master),
        fix=tuple(_steps(target, owner, master, processes)),
    )


def _first_process(owners: tuple[Process, ...], processes: Processes) -> Process:
    """The process that started the others which accept there: it replaces a child that is ended (nginx, Apache and
    gunicorn do), and its command line names the configuration."""
    by_pid = {process.pid: process for process in processes.processes}
    first = min(owners, key=lambda process: process.pid)
    while (parent := by_pid.get(first.ppid)) is not None and (
        parent in owners or _is_same_program(parent, first)
    ):
        first = parent
    return first


def _is_same_program(parent: Process, child: Process) -> bool:
    return parent.executable is not None and parent.executable == child.executable and parent.pid != 1


def _refused_to_nginx(logs: Logs | NotSeen, port: int) -> Iterator[Evidence]:
    """Quote nginx's newest complaint that the port was taken."""
    if isinstance(logs, NotSeen):
        return
    entries = [
        (path, entry)
        for path, entry in nginx_entries(logs, "(98: Address already in use)")
        if f":{port} failed" in own_words(entry.text)
    ]
    for path, entry in entries[-1:]:
        yield quote(path, entry.text.partition("\n")[0])


def _nginx_s_state(master: Process | None) -> Evidence:
    if master is None:
        return Evidence(
            "ps", Text(en="no nginx master for this configuration", zh="没有使用此配置的 nginx 主进程")
        )
    return Evidence(
        f"pid {master.pid}",
        Text(en="nginx runs, and does not listen there", zh="nginx 在运行，但没有监听该地址"),
    )


def _sentence(address: str, owner: Process, master: Process | None) -> Text:
    who = described(owner)
    if master is None and owner.name == "nginx":
        return Text(
            en=f"No nginx with this service's configuration runs; another nginx, {who}, holds the front address"
            f" {address}.",
            zh=f"使用本服务配置的 nginx 没有运行；入口地址 {address} 被另一个 nginx（{who}）占用。",
        )
    if master is None:
        return Text(
            en=f"nginx is not running; {who} holds the front address {address}.",
            zh=f"nginx 没有运行；入口地址 {address} 被 {who} 占用。",
        )
    return Text(
        en=f"nginx (pid {master.pid}) does not listen at {address}: {who} holds it.",
        zh=f"nginx（进程 {master.pid}）没有监听 {address}：该地址被 {who} 占用。",
    )


def _published(owner: Process) -> Iterator[Evidence]:
    """The container's port that docker-proxy publishes (docker-proxy -container-ip IP -container-port PORT)."""
    options = dict(zip(owner.command, owner.command[1:], strict=False))
    address, port = options.get("-container-ip"), options.get("-container-port")
    if owner.name.startswith("docker-proxy") and address and port:
        yield Evidence(
            f"pid {owner.pid}",
            Text(
                en=f"publishes port {port} of the container at {address}",
                zh=f"发布容器 {address} 的端口 {port}",
            ),
        )


def _steps(
    target: Target, owner: Process, master: Process | None, processes: Processes
) -> Iterator[str | Text]:
    port = split_address(target.connect_to or "")[1]
    yield Text(
        en=f"Decide which of the two is to serve port {port}. If nginx is, stop the other one, and keep it from"
        " starting again:",
        zh=f"先确定端口 {port} 应由谁提供。如果应由 nginx 提供，就停掉另一个程序，并防止它再次启动：",
    )
    if is_of_container(owner):
        yield container_stop(owner, port) or Text(
            en=f"Stop the container that publishes port {port}: docker ps, podman ps, lxc list",
            zh=f"停掉发布端口 {port} 的容器：docker ps、podman ps、lxc list",
        )
    elif (unit := own_unit(owner, processes)) is not None:
        yield f"systemctl disable --now {shlex.quote(unit)}"
    else:
        yield f"kill {owner.pid}"
    yield target.test_nginx
    yield target.start_nginx if master is None else target.reload_nginx


CHECKS = (holder,)
