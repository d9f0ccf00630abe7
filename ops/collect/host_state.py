"""This host's files and state besides the configuration: certificates, model, units, schedules, backups, memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ops.collect.surroundings import Surroundings
from ops.collect.task import Task
from ops.facts.base import NotSeen
from ops.facts.certificates import Certificates, Lineages
from ops.facts.host import Host, Process, Processes
from ops.facts.safeguards import Schedule
from ops.facts.target import Target
from ops.facts.units import Units
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret import nginx as nginx_topology
from ops.settings import Settings

if TYPE_CHECKING:
    pass

# The home of the user who types the guide's commands.
GUIDE_HOME = "/root"


def read_host_state(
    settings: Settings, around: Surroundings, target: Target, deadline: float
) -> dict[str, Task]:
    """Start reading this host's files and state besides the configuration."""
    from ops.collect.host import environment, machine, packet_filter, schedule
    from ops.collect.services import (
        application,
        backups,
        model,
        model_access,
        watchdog_state,
    )

    own = settings.watchdog
    places = (settings.app.progress_dir, str(Path(own.state_file).parent))
    nginx = _nginx_processes(target, around)
    processes = around.processes if isinstance(around.processes, Processes) else None
    master = gunicorn_topology.process_of(processes, target.gunicorn_master) if processes else None
    wsgi = gunicorn_topology.wsgi(master) or settings.app.wsgi
    state_file, interval = own.state_file, float(own.interval)
    homes = (target.app_dir, GUIDE_HOME)
    has_watchdog = bool(master and "WATCHDOG_USEC" in (master.environment or {}))
    scheduled = Task("schedule", lambda: schedule.schedule(settings.schedule, has_watchdog=has_watchdog))
    return {
        "lineages": Task("certbot's lineages", lambda: _lineages(target)),
        "certificates": Task("certificate files", lambda: _certificates(target, around, scheduled, deadline)),
        "watchdog": Task("watchdog state", lambda: watchdog_state.watchdog_state(state_file, interval)),
        "backups": Task("backups", lambda: backups.backups(settings.backup, homes, deadline)),
        "schedule": scheduled,
        "packet_filter": Task("packet filter", lambda: packet_filter.packet_filter(deadline)),
        "units": Task("systemd's units", lambda: _units(settings, master, around, deadline)),
        "machine": Task(
            "machine", lambda: machine.machine(target, around.config, around.build, nginx, places)
        ),
        "model": Task("model files", lambda: model.model_files(target.model_dir)),
        "environment": Task("Python environment", lambda: environment.environment(target, settings.app)),
        "application": Task("application files", lambda: application.application(target, wsgi)),
        "footprint": Task("workers' memory", lambda: application.footprint(target)),
        "model_access": Task(
            "access to the model", lambda: model_access.model_access(target, settings.gunicorn.unit)
        ),
    }


def _certificates(target: Target, around: Surroundings, scheduled: Task, deadline: float) -> Certificates:
    """The site's files, and the pairs that ACME clients keep for it elsewhere."""
    from ops.collect.services.certificate_files import certificate_files

    files = certificate_files(target, around.config)
    jobs = scheduled.wait(deadline)
    if not isinstance(jobs, Schedule):
        return files
    from ops.collect.services.acme_pairs import acme_pairs

    has_systemd = isinstance(around.host, Host) and around.host.has_systemd
    return msgspec.structs.replace(files, elsewhere=acme_pairs(target, jobs, has_systemd=has_systemd))


def _units(
    settings: Settings, master: Process | None, around: Surroundings, deadline: float
) -> Units | NotSeen:
    from ops.collect.services.units import units

    nginx = (
        next(iter(nginx_topology.nginx_masters(around.processes)), None)
        if isinstance(around.processes, Processes)
        else None
    )
    masters = (master.unit if master else None, nginx.unit if nginx else None)
    written = {"gte-ops-backup.service": (settings.backup.dir,)}
    return units(settings.gunicorn.unit, masters, settings.schedule.systemd, deadline, written)


def _nginx_processes(target: Target, around: Surroundings) -> tuple[Process, ...]:
    """The workers of the nginx that serves this configuration: they hold the connections."""
    if isinstance(around.processes, NotSeen):
        return ()
    masters = nginx_topology.serving_masters(target, around.processes, around.nginx_pidfile)
    return tuple(
        worker
        for master in masters
        for worker in nginx_topology.nginx_workers(around.processes.processes, master.pid)
    )


def _lineages(target: Target) -> Lineages | NotSeen:
    """certbot's lineage of the target's certificate, if the certificate is in certbot's directory."""
    from ops.collect.services.certbot import lineages

    live = Path(target.letsencrypt_dir) / "live"
    if not target.certificate or not Path(target.certificate).is_relative_to(live):
        return NotSeen(reason="the certificate does not lie in certbot's directory", is_lasting=True)
    name = Path(target.certificate).relative_to(live).parts
    return lineages(target.letsencrypt_dir, name[0] if name else None)
