"""Judges of nginx on this host: whether its pidfile names it, and whether it sees the service's socket."""

from __future__ import annotations

from collections.abc import Iterator

from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.nginx import NginxConfig, Pidfile, SocketView
from ops.facts.probes import Exchange, Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.service_name import reaches_service
from ops.interpret.site import find_site
from ops.text.language import Text


@check("nginx.pidfile", "NGX050", en="nginx's pidfile names its master", zh="nginx 的 pidfile 指向其主进程")
def pidfile(target: Target, processes: Processes, nginx_pidfile: Pidfile) -> Iterator[Finding]:
    """NGX050: the master runs, but its pidfile is empty, missing or names another process: a reload cannot reach it."""
    master = nginx_topology.unnamed_master(target, processes, nginx_pidfile)
    if master is None:
        return
    yield Finding(
        "NGX050",
        (
            Evidence(nginx_pidfile.path, _content(nginx_pidfile)),
            Evidence(f"pid {master.pid}", Text(en="nginx's master", zh="nginx 主进程")),
        ),
        {"pidfile": nginx_pidfile.path, "pid": str(master.pid)},
    )


def _content(file: Pidfile) -> Text:
    if file.missing:
        return Text(en="is not there", zh="不存在")
    if file.pid is None:
        return Text(en="holds no process id", zh="其中没有进程号")
    if not file.is_alive:
        return Text(en=f"names process {file.pid}, which has ended", zh=f"其中的进程 {file.pid} 已经结束")
    return Text(en=f"names process {file.pid}, another one", zh=f"其中的 {file.pid} 是另一个进程")


@check(
    "nginx.socket",
    "NGX051",
    en="nginx sees the unix socket that the service listens at",
    zh="nginx 能看到服务监听的 unix socket",
)
def socket(
    target: Target,
    nginx_config: NginxConfig,
    nginx_sockets: tuple[SocketView, ...],
    processes: Processes,
    front: Front | NotSeen,
) -> Iterator[Finding]:
    """NGX051: a process listens at the path that nginx proxies to, but nginx does not share its mount namespace."""
    if (
        isinstance(front, Front)
        and isinstance(front.predict, Exchange)
        and reaches_service(front.predict, target)
    ):
        return
    site = find_site(nginx_config, target.domain, target.backend)
    for proxy_pass in site.passes if site else ():
        for view in nginx_sockets:
            owner = _listens_elsewhere(view, processes)
            if f"unix:{view.path}" not in proxy_pass.addresses or owner is None:
                continue
            yield Finding(
                "NGX051",
                (
                    quote(proxy_pass.where, f"proxy_pass {proxy_pass.written}"),
                    Evidence(
                        f"/proc/{view.nginx_pid}/root{view.path}",
                        Text(en="is not there: nginx does not see it", zh="不存在：nginx 看不到它"),
                    ),
                    Evidence(
                        f"/proc/{owner.pid}/root{view.path}",
                        Text(
                            en=f"pid {owner.pid} ({owner.name}) listens there, in a mount namespace of its own",
                            zh=f"进程 {owner.pid}（{owner.name}）在自己的挂载命名空间里监听该路径",
                        ),
                    ),
                ),
                {
                    "socket": view.path,
                    "pid": str(owner.pid),
                    "unit": owner.unit or f"systemctl status {owner.pid}",
                    "where": proxy_pass.where,
                },
            )
            return


def _listens_elsewhere(view: SocketView, processes: Processes) -> Process | None:
    """The process that listens at the path, if nginx does not see its socket."""
    if view.is_nginx_s:
        return None
    listeners = processes.listeners if view.is_here else processes.private
    pids = {pid for item in listeners if item.address == f"unix:{view.path}" for pid in item.pids}
    return min(
        (p for p in processes.processes if p.pid in pids and p.pid != 1), key=lambda p: p.pid, default=None
    )


CHECKS = (pidfile, socket)
