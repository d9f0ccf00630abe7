"""Find this service's gunicorn master among the machine's processes, by the same rules for every command."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ops.collect.services.gunicorn import read_config
from ops.collect.services.nginx import build_facts, find_binary
from ops.collect.services.nginx import read_config as nginx_config
from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.nginx import NginxConfig
from ops.files.bounded_read import read_regular_file
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret.gunicorn import Hints
from ops.interpret.nginx import nginx_masters
from ops.interpret.site import find_site, public_name
from ops.settings import Settings

MAX_UNIT_BYTES = 64 << 10
NGINX_SECONDS = 2.0
_USER = re.compile(rb"^User[ \t]*=[ \t]*([^\s#;]+)[ \t]*$", re.MULTILINE)


def locate_master(processes: Processes, settings: Settings, hints: Hints) -> Process | None:
    """`find_master` with hints completed from the file system: the targets of links, the owners of files, and whether
    the pidfile's process is configured to write it."""
    return gunicorn_topology.find_master(processes, completed(processes, settings, hints))


def completed(processes: Processes, settings: Settings, hints: Hints) -> Hints:
    """``hints`` completed with facts that only the file system shows."""
    places = (*hints.config_files, *hints.app_dirs)
    # The service's user owns the files that the service writes; one that root made proves nothing.
    service_files = (hints.pidfile_read, settings.app.progress_dir)
    accounts = (_owner(place) for place in service_files if place)
    pidfile_process = gunicorn_topology.pidfile_process(processes, hints)
    all_accounts = (*hints.accounts, *filter(None, accounts), *filter(None, (_unit_user(settings),)))
    return msgspec.structs.replace(
        hints,
        config_files=_with_targets(hints.config_files),
        app_dirs=_with_targets(hints.app_dirs),
        bind=hints.bind or _bind_of(hints.config_files),
        owners=tuple(dict.fromkeys(uid for place in places if (uid := _owner(place)) is not None)),
        accounts=tuple(dict.fromkeys(all_accounts)),
        pidfile_is_own=_writes(pidfile_process, hints.pidfile_read)
        if pidfile_process and hints.pidfile_read
        else None,
    )


def public_host(settings: Settings, processes: Processes, backend: str) -> str:
    """The host name that users use: from settings, else from nginx's site for ``backend``, else localhost."""
    name = settings.target.domain or urlsplit(settings.target.url or "").hostname
    if name:
        return name
    masters = nginx_masters(processes)
    binary = find_binary(settings.nginx.binary, masters)
    build = build_facts(binary, NGINX_SECONDS) if binary else {}
    config = nginx_config(binary, build, settings.nginx.config_file, masters)
    site = find_site(config, None, backend) if isinstance(config, NginxConfig) else None
    return (public_name(site.server) if site else None) or "localhost"


def _bind_of(config_files: tuple[str, ...]) -> str | None:
    """The first address that gunicorn's configuration file binds; None if it assigns none."""
    for path in config_files[:1]:
        config = read_config(path)
        if isinstance(config, GunicornConfig) and "bind" in config.assigned:
            return next(iter(gunicorn_topology.bind_addresses(config.assigned["bind"].value)), None)
    return None


def _unit_user(settings: Settings) -> int | None:
    """The user of the service's unit (systemd.exec(5), User=); None without a unit or a user, or for root."""
    for place in settings.schedule.systemd:
        try:
            read = read_regular_file(str(Path(place) / settings.gunicorn.unit), MAX_UNIT_BYTES)
        except (OSError, ValueError):
            continue
        match = _USER.findall(read.content)
        try:
            return pwd.getpwnam(match[-1].decode()).pw_uid or None if match else None
        except (KeyError, UnicodeDecodeError):
            return None
    return None


def own_pidfile(master: Process) -> str | NotSeen:
    """The absolute path of the pidfile that a gunicorn is configured to write; empty for none."""
    path = gunicorn_topology.config_path(master)
    config = read_config(path) if path else NotSeen(reason="which configuration file it reads")
    value = gunicorn_topology.setting("pidfile", "pid", gunicorn_topology.arguments(master), config)
    if isinstance(value, str) and value:
        return str(Path(master.cwd or "/") / value)
    if not isinstance(config, GunicornConfig) or config.error or config.star_imports:
        return NotSeen(reason="gunicorn's configuration was not read")
    if "pidfile" in (*config.assigned, *config.other_names):
        return NotSeen(reason="the pidfile's name has to be computed", is_lasting=True)
    return ""


def _writes(master: Process, pidfile: str) -> bool | None:
    own = own_pidfile(master)
    if isinstance(own, NotSeen):
        return None
    return _same_place(own, pidfile)


def _same_place(first: str, second: str) -> bool:
    return first == second or os.path.realpath(first) == os.path.realpath(second)


def _with_targets(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*paths, *(os.path.realpath(path) for path in paths))))


def _owner(path: str) -> int | None:
    try:
        return Path(path).stat().st_uid
    except OSError:
        return None
