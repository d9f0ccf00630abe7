"""Where each of gunicorn's settings is made on this host: its file, a module, a variable, the command line. Pure.

Source: gunicorn documentation, configuration overview: the file or module of ``-c``, then GUNICORN_CMD_ARGS, then the
command line, of which the last counts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.facts.units import Unit, Units
from ops.interpret.gunicorn import arguments, options, process_of
from ops.text.language import Text

# Settings that a fix may change, each with its long option.
OPTIONS = {
    "bind": "bind",
    "errorlog": "error-logfile",
    "forwarder_headers": "forwarder-headers",
    "max_requests": "max-requests",
    "max_requests_jitter": "max-requests-jitter",
    "preload_app": "preload",
    "reload": "reload",
    "threads": "threads",
    "timeout": "timeout",
    "workers": "workers",
}
_PLACE = re.compile(r"\{((?:" + "|".join(OPTIONS) + r")_place)\}")
SERVICE_MODULE = "python:service.gunicorn_conf"
# What the service's own module takes from variables (service/settings.py); the other settings are its own.
_VARIABLES = {
    "bind": "GTE_BIND",
    "errorlog": "GTE_ERROR_LOG",
    "max_requests": "GTE_MAX_REQUESTS",
    "max_requests_jitter": "GTE_MAX_REQUESTS_JITTER",
    "threads": "GTE_THREADS",
    "timeout": "GTE_TIMEOUT",
    "workers": "GTE_WORKERS",
}
# Files of variables that distributions write for every program.
_OF_ALL_PROGRAMS = frozenset(
    {"/etc/default/locale", "/etc/locale.conf", "/etc/sysconfig/i18n", "/etc/environment"}
)


def setting_places(snapshot: Snapshot, target: Target) -> dict[str, str]:
    """For each setting ``NAME_place``, in words that both languages share: ``FILE:LINE``, ``FILE: VARIABLE=``,
    ``UNIT: ExecStart= ... --option``, ``gunicorn ... --option`` if nothing else is known."""
    master = (
        process_of(snapshot.processes, target.gunicorn_master)
        if isinstance(snapshot.processes, Processes)
        else None
    )
    config = snapshot.gunicorn.config if isinstance(snapshot.gunicorn, Gunicorn) else None
    file = config if isinstance(config, GunicornConfig) else None
    unit = _unit(snapshot.units) if isinstance(snapshot.units, Units) else None
    places = {name: _place(name, master, file, unit, target) for name in OPTIONS}
    return {f"{name}_place": place for name, place in places.items()}


def with_places(sentence: Text, values: Mapping[str, str]) -> Text:
    """Return a sentence with each ``{NAME_place}`` filled in, from `setting_places`; without one, what they are
    settings of."""

    def filled(words: str, unknown: str) -> str:
        return _PLACE.sub(lambda match: values.get(match[1], unknown), words)

    return Text(en=filled(sentence.en, "gunicorn's configuration"), zh=filled(sentence.zh, "gunicorn 的配置"))


def variables_file(unit: Unit | None) -> str | None:
    """The unit's last readable environment file, one of the unit's name before others; None without one."""
    if unit is None:
        return None
    files = [f.path for f in unit.environment_files if not f.error and f.path not in _OF_ALL_PROGRAMS]
    own = [path for path in files if unit.name.removesuffix(".service") in path]
    return next(reversed(own or files), None)


def module_of(master: Process | None) -> str | None:
    """The module that a master's command names for its settings (``-c python:...``); None without one."""
    module = options(arguments(master)).get("config", "")
    return module if module.startswith("python:") else None


def _unit(units: Units) -> Unit | None:
    return units.unit(units.service)


def _place(
    name: str, master: Process | None, file: GunicornConfig | None, unit: Unit | None, target: Target
) -> str:
    option = f"--{OPTIONS[name]}"
    if master is not None and not master.is_nested and OPTIONS[name] in options(master.command):
        started_by = f"{unit.name}: ExecStart=" if unit is not None and unit.file else f"pid {master.pid}:"
        return f"{started_by} ... {option}"
    if OPTIONS[name] in options(arguments(master)):
        return _variable(f"GUNICORN_CMD_ARGS={option}", unit)
    module = module_of(master)
    if module == SERVICE_MODULE:
        return _variable(
            f"{_VARIABLES[name]}=" if name in _VARIABLES else f"GUNICORN_CMD_ARGS={option}", unit
        )
    if module is not None:
        return module
    if file is not None and name in file.assigned:
        return f"{file.path}:{file.assigned[name].line}"
    if target.gunicorn_config_file is not None:
        return target.gunicorn_config_file
    if unit is not None and unit.file:
        return f"{unit.name}: ExecStart= ... {option}"
    return f"gunicorn ... {option}"


def _variable(written: str, unit: Unit | None) -> str:
    path = variables_file(unit)
    if path is not None:
        return f"{path}: {written}"
    return f"{unit.name}: Environment={written}" if unit is not None and unit.file else written
