"""Collect everything about the host into one Snapshot, in parallel and within a budget.

First the state (host, processes, nginx's and gunicorn's configuration), which determines the target; then the behaviour
(name, certificate, answers, logs). Nothing here judges.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from ops.collect.behaviour import RESERVE, probe
from ops.collect.front_doors import dial_resolved, other_doors, resolve, served_elsewhere, with_files
from ops.collect.surroundings import look_around
from ops.collect.task import start
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.nginx import NginxConfig, NginxTest, Pidfile, SocketView
from ops.facts.safeguards import OpenLog, Rotation
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.collect.net.probes import Probes
    from ops.collect.site_causes import SiteCauseCollector
    from ops.diagnosis.site_causes import SiteCauseDefinition

NGINX_TEST_SECONDS = 4.0


def collect(
    settings: Settings,
    since: float,
    budget: float,
    *,
    unprivileged: bool = False,
    site_causes: Sequence[SiteCauseDefinition] = (),
) -> Snapshot:
    """Take one snapshot of the host. ``since``: how far back logs are read; ``budget``: the whole run's length (both in
    seconds); ``unprivileged``: peers' data is parsed in a process that is not root (`Prober`); ``site_causes``: the
    causes of the site whose conditions are observed."""
    started = time.monotonic()
    deadline = started + max(budget - RESERVE, budget / 2)
    probes = _probes(deadline, unprivileged=unprivileged)
    try:
        return _collect(settings, since, probes, deadline, site_causes)
    finally:
        probes.close()


def _probes(deadline: float, *, unprivileged: bool) -> Probes:
    from ops.collect.net.probes import Probes

    if unprivileged:
        from ops.collect.net.prober import Prober
        from ops.files.unprivileged import unprivileged_account

        account = unprivileged_account()
        if account is not None:
            return Prober(account, deadline)
    return Probes(deadline)


def _collect(
    settings: Settings,
    since: float,
    probes: Probes,
    deadline: float,
    site_causes: Sequence[SiteCauseDefinition],
) -> Snapshot:
    now = time.time()
    # The slowest imports start now, in parallel with the first round's system calls.
    warm = start("libraries", _import_libraries)
    # A silent resolver takes longest, so resolve a configured name first.
    name = settings.target.domain
    resolver = settings.target.resolver or None
    early = start("dns", resolve, probes, name, resolver, deadline) if name else None
    around = look_around(settings, deadline)
    config, host = around.config, around.host
    pidfile = around.nginx_pidfile
    target = _reachable_by_reload(around.target, around.processes, pidfile)
    test_task = (
        start("nginx -t", _nginx_test, config, around.build) if isinstance(config, NginxConfig) else None
    )
    if test_task is not None and not _nginx_serves(target, around.processes, pidfile):
        # nginx -t opens the configured listeners, too (ngx_open_listening_sockets): while nothing else holds them, a
        # probe would be accepted by the test and cut off at its end.
        test_task.wait(deadline)
    site_tasks = _site_causes(site_causes, target, now, deadline) if site_causes else None
    resolution_task = early or start("dns", resolve, probes, target.domain, target.resolver, deadline)
    warm.wait(deadline)
    elsewhere = None
    if not settings.target.connect_to:
        resolution = resolution_task.wait(deadline)
        elsewhere = start("resolved address", served_elsewhere, probes, target, resolution, host, deadline)
        target = dial_resolved(target, resolution, host)
    doors = other_doors(probes, target, config, resolution_task, host, deadline)
    rotation_task = start("rotation rules", _rotation, settings, target)
    open_logs_task = start("open logs", _open_logs, around.processes, target, deadline)
    behaviour = probe(
        settings, around, probes, target, now - since, deadline, asked_before=site_tasks is not None
    )
    test = test_task.wait(deadline) if test_task else _untested(config)
    return Snapshot(
        taken_at=now,
        host=host,
        processes=around.processes,
        nginx_config=config,
        nginx_test=test,
        nginx_pidfile=pidfile,
        nginx_sockets=_nginx_sockets(target, around.processes, pidfile),
        gunicorn=around.gunicorn,
        target=target,
        resolution=resolution_task.wait(deadline),
        rotation=rotation_task.wait(deadline),
        open_logs=open_logs_task.wait(deadline),
        **({"elsewhere": elsewhere.wait(deadline)} if elsewhere else {}),
        other_doors=with_files([task.wait(deadline) for task in doors], config),
        site_causes=site_tasks.wait()
        if site_tasks
        else NotSeen(reason="the site defines no causes of its own", is_lasting=True),
        **behaviour,
    )


def _site_causes(
    definitions: Sequence[SiteCauseDefinition], target: Target, now: float, deadline: float
) -> SiteCauseCollector:
    from ops.collect.site_causes import SiteCauseCollector

    return SiteCauseCollector(definitions, target, now, deadline)


def _nginx_serves(target: Target, processes: Processes | NotSeen, pidfile: Pidfile | NotSeen) -> bool:
    """Whether a master runs this configuration: another one on the host holds none of its listeners."""
    return isinstance(processes, Processes) and any(
        nginx_topology.serving_masters(target, processes, pidfile)
    )


def _reachable_by_reload(
    target: Target, processes: Processes | NotSeen, pidfile: Pidfile | NotSeen
) -> Target:
    """``target`` with a reload command that names nginx's master by pid if its pidfile does not."""
    if isinstance(processes, NotSeen):
        return target
    master = nginx_topology.unnamed_master(target, processes, pidfile)
    return (
        target if master is None else msgspec.structs.replace(target, reload_nginx=f"kill -HUP {master.pid}")
    )


def _nginx_sockets(
    target: Target, processes: Processes | NotSeen, pidfile: Pidfile | NotSeen
) -> tuple[SocketView, ...] | NotSeen:
    from ops.collect.process.socket_views import socket_views

    if isinstance(processes, NotSeen):
        return processes
    master = next(nginx_topology.serving_masters(target, processes, pidfile), None)
    return socket_views((*target.upstreams, target.backend), master.pid if master else None)


def _import_libraries() -> None:
    import ops.collect.net.dns
    import ops.collect.net.service_probes
    import ops.collect.net.tls  # noqa: F401


def _rotation(settings: Settings, target: Target) -> Rotation:
    from ops.collect.services.logrotate import rotation

    return rotation(settings.logrotate, target)


def _open_logs(
    processes: Processes | NotSeen, target: Target, deadline: float
) -> tuple[OpenLog, ...] | NotSeen:
    from ops.collect.logs.open_logs import open_logs
    from ops.collect.services.logrotate import service_logs

    if isinstance(processes, NotSeen):
        return processes
    masters = {p.pid for p in nginx_topology.nginx_masters(processes)}
    of_nginx = [p.pid for p in processes.processes if p.pid in masters or p.ppid in masters]
    of_gunicorn = [target.gunicorn_master] if target.gunicorn_master else []
    pids = (*of_nginx, *of_gunicorn, *target.gunicorn_workers)
    return open_logs(pids, service_logs(target), deadline)


def _untested(config: NginxConfig | NotSeen) -> NotSeen:
    """Why there is no test of a configuration that was not read, and whether that lasts."""
    reason = "nginx's configuration was not read"
    return (
        msgspec.structs.replace(config, reason=reason)
        if isinstance(config, NotSeen)
        else NotSeen(reason=reason)
    )


def _nginx_test(config: NginxConfig, build: dict[str, str]) -> NginxTest | NotSeen:
    from ops.collect.services.nginx import test_config

    return test_config(config, build, NGINX_TEST_SECONDS)
