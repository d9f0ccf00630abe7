"""What the host shows before anything is probed: processes, configuration, and the target that they determine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ops.collect.task import start
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Host, Process, Processes
from ops.facts.nginx import NginxConfig, Pidfile
from ops.facts.target import Target
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret import nginx as nginx_topology
from ops.interpret import target as target_topology
from ops.interpret.commands import GUIDE_CONFIG_NAME, GUIDE_START_SCRIPT, FilesFound
from ops.interpret.site import find_site
from ops.settings import Settings

if TYPE_CHECKING:
    pass

# Time limit of `nginx -V`, seconds.
NGINX_SECONDS = 2.0


class Surroundings(msgspec.Struct, frozen=True):
    """The state before any probe: processes, configuration, and the target that they determine."""

    host: Host | NotSeen
    processes: Processes | NotSeen
    config: NginxConfig | NotSeen
    build: dict[str, str]
    gunicorn: Gunicorn
    target: Target
    nginx_pidfile: Pidfile | NotSeen


def look_around(settings: Settings, deadline: float, *, nginx_seconds: float = NGINX_SECONDS) -> Surroundings:
    """Collect the first half of a snapshot: no probe, no log. ``deadline`` is monotonic time; ``nginx_seconds``: for
    `nginx -V`, whose compiled-in paths are guessed after that. If it has more than is left, nothing is guessed: the
    configuration is NotSeen."""
    host_task = start("host", _host)
    processes = start("processes", _processes).wait(deadline)
    all_processes = processes if isinstance(processes, Processes) else Processes(processes=(), listeners=())
    masters = nginx_topology.nginx_masters(all_processes)
    outcome = start("nginx configuration", _nginx, settings, masters, nginx_seconds).wait(deadline)
    # If the configuration could not be read, do not report nginx as missing.
    config, build = (outcome, {"program": settings.nginx.binary}) if isinstance(outcome, NotSeen) else outcome
    host = host_task.wait(deadline)
    gunicorn, master, others = _gunicorn(settings, all_processes, config)
    target = target_topology.decide_target(
        settings,
        host
        if isinstance(host, Host)
        else Host(hostname="", addresses=(), user="", is_root=False, has_systemd=False),
        all_processes,
        config,
        build,
        gunicorn,
        master,
        _files(settings, master),
    )
    target = msgspec.structs.replace(target, other_gunicorns=others, headers_unread=_headers_unread(target))
    return Surroundings(host, processes, config, build, gunicorn, target, _pidfile(target.nginx_pidfile))


def _headers_unread(target: Target) -> str:
    """Why this user may not read the file of headers; empty if it was read or none is set. Raises SettingsError."""
    if target.headers_file is None:
        return ""
    from ops.collect.net.private_headers import read_private_headers

    return read_private_headers(target.headers_file).unread


def _pidfile(path: str | None) -> Pidfile | NotSeen:
    from ops.collect.services.nginx import read_pidfile

    return read_pidfile(path) if path else NotSeen(reason="no pidfile is configured", is_lasting=True)


def _host() -> Host:
    from ops.collect.host.host import host

    return host()


def _processes() -> Processes:
    from ops.collect.process.processes import processes

    return processes()


def _nginx(
    settings: Settings, masters: tuple[Process, ...], seconds: float
) -> tuple[NginxConfig | NotSeen, dict[str, str]]:
    from ops.collect.services import nginx

    binary = nginx.find_binary(settings.nginx.binary, masters)
    build = {"program": binary} | nginx.build_facts(binary, timeout=seconds) if binary else {}
    return nginx.read_config(binary, build, settings.nginx.config_file, masters), build


def _gunicorn(
    settings: Settings, processes: Processes, config: NginxConfig | NotSeen
) -> tuple[Gunicorn, Process | None, tuple[int, ...]]:
    """gunicorn's files, this service's master (each helps to find the other), and the masters of other services."""
    from ops.collect.locate import completed, locate_master
    from ops.collect.services.gunicorn import read_config, read_progress
    from ops.collect.services.nginx import read_pidfile

    own_settings = settings.gunicorn
    pidfile = read_pidfile(own_settings.pidfile) if own_settings.pidfile else None
    site = find_site(config, settings.target.domain, None) if isinstance(config, NginxConfig) else None
    hints = completed(processes, settings, target_topology.gunicorn_hints(settings, pidfile, site))
    master = gunicorn_topology.find_master(processes, hints)
    others = gunicorn_topology.other_masters(processes, hints)
    app_dir = settings.app.dir or (master.cwd if master else None) or target_topology.GUIDE_APP_DIR
    path = (
        own_settings.config_file
        or (gunicorn_topology.config_path(master) if master else None)
        or str(Path(app_dir) / GUIDE_CONFIG_NAME)
    )
    facts = read_config(path)
    if pidfile is None:
        arguments = gunicorn_topology.arguments(master)
        pidfile_setting = gunicorn_topology.setting("pidfile", "pid", arguments, facts)
        if isinstance(pidfile_setting, str) and pidfile_setting:
            pidfile = read_pidfile(str(Path((master.cwd if master else None) or app_dir) / pidfile_setting))
        elif master is None:
            pidfile = read_pidfile(target_topology.GUIDE_PIDFILE)
    if master is None and isinstance(facts, GunicornConfig) and not own_settings.bind:
        # The file may name the address, or the pidfile the process.
        bind = (
            gunicorn_topology.bind_addresses(facts.assigned["bind"].value) if "bind" in facts.assigned else ()
        )
        hints = gunicorn_topology.Hints(
            bind=next(iter(bind), None),
            pidfile_read=pidfile.path if pidfile else None,
            pidfile_pid=pidfile.pid if pidfile else None,
            pidfile_uid=pidfile.uid if pidfile else 0,
            config_files=(path,),
        )
        master = locate_master(processes, settings, hints)
    return (
        Gunicorn(
            config=facts,
            pidfile=pidfile or NotSeen(reason="gunicorn keeps no pidfile", is_lasting=True),
            progress=read_progress(settings.app.progress_dir),
        ),
        master,
        others,
    )


def _files(settings: Settings, master: Process | None) -> FilesFound:
    app_dir = Path(
        settings.app.dir or (master.cwd if master and master.cwd else target_topology.GUIDE_APP_DIR)
    )

    def exists(path: Path) -> bool:
        try:
            return path.exists()
        except OSError:
            return False

    return FilesFound(
        model_parent=exists((app_dir / target_topology.GUIDE_MODEL).parent),
        start_script=exists(app_dir / GUIDE_START_SCRIPT),
        unit=any(exists(Path(place) / settings.gunicorn.unit) for place in settings.schedule.systemd),
    )
