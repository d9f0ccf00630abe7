"""Find the servers other than gunicorn that systemd or supervisord is to run for this service."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ops.collect.host.schedule import service_units
from ops.collect.services.supervisors import SUPERVISORD_PLACES, programs
from ops.facts.start import DeclaredServer, ServiceManager
from ops.facts.target import Target
from ops.interpret.address import split_address
from ops.interpret.gunicorn import server_of_command
from ops.settings import Settings
from ops.text.sanitize import safe_line, without_secrets
from ops.text.secret_scan.command_lines import without_secret_arguments

MAX_SERVERS = 4
MAX_WORDS = 24
_GUNICORN = "gunicorn"


def declared_servers(target: Target, settings: Settings) -> tuple[DeclaredServer, ...]:
    """Return them, those with the service's address first; none if one of the supervisors runs gunicorn there."""
    servers = list(_servers(target, settings))
    if any(server.server == _GUNICORN for server in servers):
        return ()
    return tuple(sorted(servers, key=lambda server: not server.has_address)[:MAX_SERVERS])


def _servers(target: Target, settings: Settings) -> Iterator[DeclaredServer]:
    for unit in service_units(settings.schedule.systemd):
        for command in unit.commands:
            yield from _server(target, ServiceManager.SYSTEMD, unit.name, unit.file, command, unit.directory)
    for place in SUPERVISORD_PLACES:
        for each in programs(place):
            command, directory = each.options.get("command", ""), each.options.get("directory", "")
            yield from _server(target, ServiceManager.SUPERVISORD, each.name, each.file, command, directory)


def _server(
    target: Target, manager: ServiceManager, name: str, file: str, command: str, directory: str
) -> Iterator[DeclaredServer]:
    has_address = _has_address(command, target.backend)
    if not (has_address or (target.app_dir and directory.rstrip("/") == target.app_dir)):
        return
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    is_gunicorn = any(word.rpartition("/")[2] == _GUNICORN for word in words[:6])
    server = _GUNICORN if is_gunicorn else server_of_command(words) if words else None
    if server is not None:
        yield DeclaredServer(
            server=server,
            manager=manager,
            name=safe_line(name, 200),
            file=safe_line(file, 1000),
            command=tuple(
                safe_line(without_secrets(word), 200) for word in without_secret_arguments(words[:MAX_WORDS])
            ),
            has_address=has_address,
        )


def _has_address(command: str, backend: str) -> bool:
    """Whether a command line has the service's port (``--port 8000``, ``127.0.0.1:8000``) or its socket."""
    if backend.startswith("unix:"):
        return backend.removeprefix("unix:") in command
    return re.search(rf"(?<![\w.]){split_address(backend)[1]}(?![\w.])", command) is not None
