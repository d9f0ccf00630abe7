"""What on a host would keep an installation from serving: told before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ops.collect.surroundings import Surroundings
from ops.deployment.install import RefusedError
from ops.deployment.render import Deployment
from ops.facts.host import Process, Processes
from ops.facts.nginx import NginxConfig
from ops.installation.issuance import CHALLENGE_FILE
from ops.installation.steps import Record
from ops.interpret.address import is_wildcard, split_address
from ops.interpret.gunicorn import is_gunicorn
from ops.interpret.nginx import servers
from ops.interpret.port_holder import container_stop, is_of_container, own_unit
from ops.settings import Settings
from ops.text.language import Text
from ops.text.sanitize import safe_line


def refuse_obstacles(
    settings: Settings,
    deployment: Deployment,
    around: Surroundings,
    record: Record | None,
    *,
    has_systemd: bool,
) -> None:
    """Raise RefusedError for an address that another program has, and for a site of the same name that is not ours.

    ``record``: what is installed; a site that is among it was judged by the run that installed it."""
    if isinstance(around.processes, Processes):
        for words in taken_addresses(deployment, around.processes, has_systemd=has_systemd):
            raise RefusedError(words)
    if record is not None and record.digest(deployment.site_file) is not None:
        return
    if isinstance(around.config, NginxConfig):
        for words in foreign_sites(settings, deployment, around.config):
            raise RefusedError(words)


def taken_addresses(deployment: Deployment, table: Processes, *, has_systemd: bool) -> Iterator[Text]:
    """The addresses of the site and of the service at which another program listens."""
    for listen in (deployment.site.http, deployment.site.https):
        address = listen if ":" in listen else f"0.0.0.0:{listen}"
        for holder in _holders(table, address):
            if holder.name != "nginx":
                yield _taken(listen, address, holder, "nginx", table)
    for holder in _holders(table, deployment.site.backend):
        is_own = holder.unit == deployment.unit if has_systemd else is_gunicorn(holder)
        if not is_own:
            yield _taken(deployment.site.backend, deployment.site.backend, holder, deployment.unit, table)


def _holders(table: Processes, address: str) -> Iterator[Process]:
    """Who listens there, or in its way; systemd (pid 1) does so for others."""
    pids = {pid for item in table.listeners if _clash(item.address, address) for pid in item.pids} - {1}
    yield from (process for process in table.processes if process.pid in pids)


def _clash(one: str, other: str) -> bool:
    """Whether two sockets cannot listen there at once."""
    if one.startswith("unix:") or other.startswith("unix:"):
        return one == other
    (host, port), (other_host, other_port) = split_address(one), split_address(other)
    return port == other_port and (host == other_host or is_wildcard(host) or is_wildcard(other_host))


def _taken(shown: str, address: str, holder: Process, by: str, table: Processes) -> Text:
    where = f"port {shown}" if shown.isdecimal() else shown
    command = safe_line(" ".join(holder.command) or holder.name, 100)
    stop = _stop(holder, address, table)
    adopt = Text(en="", zh="")
    if is_gunicorn(holder):
        adopt = Text(
            en=", or take a service over that runs already: gte-ops adopt",
            zh="；如果它就是正在运行的服务，请用 gte-ops adopt 接管",
        )
    return Text(
        en=f"{where} is taken by {command} (process {holder.pid}), so {by} cannot listen there; nothing was changed:"
        f" {stop.en} or move it{adopt.en}",
        zh=f"{where} 已被 {command}（进程 {holder.pid}）占用，{by} 无法在此监听；未作任何改动："
        f"请{stop.zh}或让它改用其他地址{adopt.zh}",
    )


def _stop(holder: Process, address: str, table: Processes) -> Text:
    """How this program alone is ended."""
    port = split_address(address)[1]
    if is_of_container(holder):
        command = container_stop(holder, port) or "docker ps, podman ps, lxc list"
        return Text(
            en=f"stop the container that has the port ({command})", zh=f"停掉占用该端口的容器（{command}）"
        )
    unit = own_unit(holder, table)
    if unit is None:
        more = holder.unit is not None
        return Text(
            en=f"stop it (kill {holder.pid}"
            + (
                f"; its unit {holder.unit} may have other programs: end this one where it is started)"
                if more
                else ")"
            ),
            zh=f"停止它（kill {holder.pid}"
            + (f"；所属的 {holder.unit} 可能还有别的程序：请在启动它的地方停掉它）" if more else "）"),
        )
    is_activated = any(1 in item.pids and _clash(item.address, address) for item in table.listeners)
    # Its socket unit would start it again at the next connection.
    socket = f"$(systemctl show -p TriggeredBy --value {unit}) " if is_activated else ""
    return Text(en=f"stop it (systemctl stop {socket}{unit})", zh=f"停止它（systemctl stop {socket}{unit}）")


def foreign_sites(settings: Settings, deployment: Deployment, config: NginxConfig) -> Iterator[Text]:
    """The sites of nginx that have our name, or are in the file that ours would replace."""
    domain, site_file = deployment.site.domain, deployment.site_file
    usual = f"{deployment.nginx_dir}/conf.d/gte-api.conf"
    is_named = settings.nginx.site_file is not None or site_file == usual
    for server in servers(config):
        file = server.where.rpartition(":")[0]
        is_there = Path(file).resolve() == Path(site_file).resolve()
        if domain in server.names and not (is_there and is_named) and Path(file).name != CHALLENGE_FILE:
            shown = safe_line(file, 200)
            yield Text(
                en=f"{shown} is a site for {domain} already; nothing was changed: gte-ops adopt takes a running service"
                f' over; site_file = "{shown}" below [nginx] has that file replaced (a copy is kept); or remove it',
                zh=f"{shown} 已经是 {domain} 的站点；未作任何改动：正在运行的服务可用 gte-ops adopt 接管；"
                f'在 [nginx] 下写 site_file = "{shown}" 则替换该文件（保留副本）；或者删除它',
            )
    others = other_names(config, site_file, domain)
    if others:
        yield shared_site(site_file, others)


def other_names(config: NginxConfig, file: str, domain: str | None) -> tuple[str, ...]:
    """The names of other sites in a file of nginx."""
    names = {
        name
        for server in servers(config)
        if server.where.rpartition(":")[0] == file
        for name in server.names
        if name not in ("", "_", domain) and not name.endswith(".invalid")
    }
    return tuple(sorted(names))


def shared_site(file: str, others: tuple[str, ...]) -> Text:
    """Why the file is not replaced: its other names would no longer be served."""
    names = safe_line(", ".join(others), 200)
    return Text(
        en=f"{file} has other sites too ({names}): move them to a file of their own first; nothing was changed",
        zh=f"{file} 中还有其他站点（{names}）：请先把它们移到单独的文件；未作任何改动",
    )
