"""What gunicorn runs with: settings that do not belong into production."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ops.finding import Evidence, Finding, NotJudgedError, check, quote
from ops.language import Text
from ops.snapshot import Gunicorn, GunicornConfig, NotSeen, Process, Processes, Target
from ops.topology.gunicorn import arguments, options, process_of


def determined(name: str, option: str, master: Process, config: GunicornConfig | NotSeen) -> Any:
    """One of gunicorn's settings as it is in force, None where it is set nowhere.

    ``option``: its long name on the command line. Raises NotJudgedError where it may be set in a place that was not,
    or cannot be, read."""
    told = options(arguments(master))
    if option in told:
        return told[option]
    if isinstance(config, NotSeen):
        raise NotJudgedError(config)
    if config.error:
        raise NotJudgedError(NotSeen(reason=f"{config.path}: {config.error}"))
    written = config.assigned.get(name)
    if written is not None:
        if not written.known:
            reason = f"{config.path}:{written.line}: {name} = {written.source} is known only where it runs"
            raise NotJudgedError(NotSeen(reason=reason))
        return written.value
    if (named := told.get("config", "")).startswith("python:"):
        raise NotJudgedError(NotSeen(reason=f"gunicorn's configuration is a module ({named})"))
    if config.star_imports:
        reason = f"{config.path} takes over everything in {', '.join(config.star_imports)}"
        raise NotJudgedError(NotSeen(reason=reason))
    if master.command[:1] and master.command[0].startswith("gunicorn:"):
        raise NotJudgedError(NotSeen(reason="gunicorn's title hides its command line"))
    if master.environment is None:
        raise NotJudgedError(NotSeen(reason="GUNICORN_CMD_ARGS in gunicorn's environment", needs_root=True))
    return None


def running_master(target: Target, processes: Processes) -> Process:
    """The service's master. Raises NotJudgedError where it does not run: then nothing is in force."""
    master = process_of(processes, target.gunicorn_master)
    if master is None:
        raise NotJudgedError(NotSeen(reason="gunicorn does not run"))
    return master


def place_of(name: str, option: str, master: Process, config: GunicornConfig | NotSeen) -> str:
    """Where a setting in force was found: the command line, or a line of the file."""
    if option in options(master.command):
        return f"pid {master.pid}"
    if option in options(arguments(master)):
        return "GUNICORN_CMD_ARGS"
    if isinstance(config, GunicornConfig) and name in config.assigned:
        return f"{config.path}:{config.assigned[name].line}"
    return "gunicorn"


@check("gunicorn.reload", "GUN009", en="gunicorn does not run with --reload", zh="gunicorn 没有开启 --reload")
def reload(target: Target, processes: Processes, gunicorn: Gunicorn) -> Iterator[Finding]:
    """GUN009: on the command line, in GUNICORN_CMD_ARGS or in the configuration file."""
    master = running_master(target, processes)
    told = options(arguments(master))
    # On the command line it is a flag: its presence is its value.
    value = "reload" in told or determined("reload", "reload", master, gunicorn.config)
    if value:
        place = place_of("reload", "reload", master, gunicorn.config)
        words = "--reload" if "reload" in told else "reload = True"
        yield Finding("GUN009", (quote(place, words),))


@check("gunicorn.recycling", "GUN013", en="workers are recycled", zh="工作进程会定期回收")
def recycling(target: Target, processes: Processes, gunicorn: Gunicorn) -> Iterator[Finding]:
    """GUN013: max_requests is set nowhere, or to 0, which is gunicorn's default and means never."""
    master = running_master(target, processes)
    value = determined("max_requests", "max-requests", master, gunicorn.config)
    if value is not None and str(value).strip() not in ("0", ""):
        return
    place = place_of("max_requests", "max-requests", master, gunicorn.config)
    if value is None:
        assert isinstance(gunicorn.config, GunicornConfig)  # noqa: S101  else it would not be determined
        yield Finding(
            "GUN013",
            (
                Evidence(
                    gunicorn.config.path,
                    Text(en="max_requests is not set", zh="没有设置 max_requests")
                    if not gunicorn.config.missing
                    else Text(
                        en="no such file, and no --max-requests on the command line",
                        zh="文件不存在，命令行里也没有 --max-requests",
                    ),
                ),
            ),
        )
    else:
        yield Finding("GUN013", (quote(place, f"max_requests = {value}"),))


CHECKS = (reload, recycling)
