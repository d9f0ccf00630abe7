"""This service's gunicorn master among all processes of the machine, by the same rules for every command."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ops.collect.services.gunicorn import read_config
from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.host import Process, Processes
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret.gunicorn import Hints
from ops.settings import Settings


def locate_master(processes: Processes, settings: Settings, hints: Hints) -> Process | None:
    """`find_master` with what the file system knows of the hints: where their links lead, whose their files are, and
    whether the pidfile's process is configured to write it."""
    return gunicorn_topology.find_master(processes, completed(processes, settings, hints))


def completed(processes: Processes, settings: Settings, hints: Hints) -> Hints:
    """``hints`` with what only the file system knows of them."""
    places = (*hints.config_files, *hints.app_dirs, hints.pidfile_read, settings.app.progress_dir)
    named = gunicorn_topology.pidfile_process(processes, hints)
    return msgspec.structs.replace(
        hints,
        config_files=_with_targets(hints.config_files),
        app_dirs=_with_targets(hints.app_dirs),
        owners=tuple(dict.fromkeys(uid for place in places if place and (uid := _owner(place)) is not None)),
        pidfile_is_own=_writes(named, hints.pidfile_read) if named and hints.pidfile_read else None,
    )


def own_pidfile(master: Process) -> str | NotSeen:
    """The pidfile that a gunicorn was told to write, absolute; empty for none."""
    path = gunicorn_topology.config_path(master)
    config = read_config(path) if path else NotSeen(reason="which configuration file it reads")
    value = gunicorn_topology.setting("pidfile", "pid", gunicorn_topology.arguments(master), config)
    if isinstance(value, str) and value:
        return str(Path(master.cwd or "/") / value)
    if not isinstance(config, GunicornConfig) or config.error or config.star_imports:
        return NotSeen(reason="gunicorn's configuration was not read")
    if "pidfile" in (*config.assigned, *config.other_names):
        return NotSeen(reason="the pidfile's name has to be computed")
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
