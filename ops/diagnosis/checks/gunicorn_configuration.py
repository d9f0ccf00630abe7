"""Judges of gunicorn's settings in force, and of code or configuration that changed since its start."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, check, quote
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.files import Application, ModelFiles
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.machine import Footprint
from ops.facts.probes import Activity, Backend, Exchange
from ops.facts.target import Target
from ops.interpret.gunicorn import arguments, options, process_of
from ops.text.duration import age, age_zh
from ops.text.language import Text


def determined(name: str, option: str, master: Process, config: GunicornConfig | NotSeen) -> Any:
    """The value in force of one of gunicorn's settings, None if it is set nowhere.

    ``option``: its long name on the command line. Raises NotJudgedError if it may be set in a place that was not, or
    cannot be, read."""
    command_line = options(arguments(master))
    if option in command_line:
        return command_line[option]
    if isinstance(config, NotSeen):
        raise NotJudgedError(config)
    if config.error:
        raise NotJudgedError(NotSeen(reason=f"{config.path}: {config.error}"))
    assignment = config.assigned.get(name)
    if assignment is not None:
        if not assignment.known:
            reason = (
                f"{config.path}:{assignment.line}: {name} = {assignment.source} is known only where it runs"
            )
            raise NotJudgedError(NotSeen(reason=reason))
        return assignment.value
    if (config_option := command_line.get("config", "")).startswith("python:"):
        raise NotJudgedError(
            NotSeen(reason=f"gunicorn's configuration is a module ({config_option})", is_lasting=True)
        )
    if config.star_imports:
        reason = f"{config.path} takes over everything in {', '.join(config.star_imports)}"
        raise NotJudgedError(NotSeen(reason=reason))
    if master.command[:1] and master.command[0].startswith("gunicorn:"):
        raise NotJudgedError(NotSeen(reason="gunicorn's title hides its command line", is_lasting=True))
    if master.environment is None:
        raise NotJudgedError(NotSeen(reason="GUNICORN_CMD_ARGS in gunicorn's environment", needs_root=True))
    return None


def running_master(target: Target, processes: Processes) -> Process:
    """The service's master. Raises NotJudgedError if it does not run: then no setting is in force."""
    master = process_of(processes, target.gunicorn_master)
    if master is None:
        raise NotJudgedError(NotSeen(reason="gunicorn does not run", is_lasting=True))
    return master


def place_of(name: str, option: str, master: Process, config: GunicornConfig | NotSeen) -> str:
    """The place of a setting in force: the command line, GUNICORN_CMD_ARGS, a line of the file, or ``gunicorn``."""
    if option in options(master.command):
        return f"pid {master.pid}"
    if option in options(arguments(master)):
        return "GUNICORN_CMD_ARGS"
    if isinstance(config, GunicornConfig) and name in config.assigned:
        return f"{config.path}:{config.assigned[name].line}"
    return "gunicorn"


def shown_by(place: str, master: Process) -> str | None:
    """The command that shows what `place_of` names; None for the catalogue's."""
    if place.startswith("pid "):
        return f"ps -o args= -p {master.pid}"
    if place == "GUNICORN_CMD_ARGS":
        return f"tr '\\0' '\\n' </proc/{master.pid}/environ | grep '^GUNICORN_CMD_ARGS='"
    file, colon, line = place.rpartition(":")
    return f"sed -n {line}p {shlex.quote(file)}" if colon and line.isdigit() else None


def with_number(config: GunicornConfig, name: str, number: int) -> tuple[str | Text, ...]:
    """The steps that give a setting, which the file assigns, this number: a command if the line is nothing but the
    assignment of a number, else advice: a line editor would break the statement."""
    assigned = config.assigned[name]
    file = shlex.quote(config.path)
    if assigned.is_plain:
        return (f"sed -i --follow-symlinks '{assigned.line}s#=.*#= {number}#' {file}",)
    return (
        Text(
            en=f"{config.path}:{assigned.line} computes {name}: edit that statement so that it gives"
            f" {name} = {number} here",
            zh=f"{config.path}:{assigned.line} 的语句计算出 {name}：请修改该语句，使本机得到 {name} = {number}",
        ),
    )


@check("gunicorn.reload", "GUN009", en="gunicorn does not run with --reload", zh="gunicorn 没有开启 --reload")
def reload(target: Target, processes: Processes, gunicorn: Gunicorn) -> Iterator[Finding]:
    """GUN009: reload is set on the command line, in GUNICORN_CMD_ARGS or in the configuration file."""
    master = running_master(target, processes)
    command_line = options(arguments(master))
    # On the command line it is a flag without a value.
    value = "reload" in command_line or determined("reload", "reload", master, gunicorn.config)
    if value:
        place = place_of("reload", "reload", master, gunicorn.config)
        words = "--reload" if "reload" in command_line else "reload = True"
        assigned = (
            gunicorn.config.assigned.get("reload") if isinstance(gunicorn.config, GunicornConfig) else None
        )
        is_editable = ":" in place and assigned is not None and assigned.is_plain and assigned.value is True
        line = replaced_in_line(place, "True", "False") if is_editable else None
        yield Finding(
            "GUN009",
            (quote(place, words),),
            verify=shown_by(place, master),
            fix=(line, target.restart_command) if line is not None else None,
        )


@check("gunicorn.recycling", "GUN013", en="workers are recycled", zh="工作进程会定期回收")
def recycling(target: Target, processes: Processes, gunicorn: Gunicorn) -> Iterator[Finding]:
    """GUN013: max_requests is not set, or is 0, which is gunicorn's default and means never."""
    master = running_master(target, processes)
    value = determined("max_requests", "max-requests", master, gunicorn.config)
    if value is not None and str(value).strip() not in ("0", ""):
        return
    place = place_of("max_requests", "max-requests", master, gunicorn.config)
    if value is None:
        assert isinstance(gunicorn.config, GunicornConfig)  # noqa: S101  determined() raises otherwise
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
            verify=f"ps -o args= -p {master.pid}" if gunicorn.config.missing else None,
            fix=None
            if gunicorn.config.missing
            else (
                f"printf '\\nmax_requests = 1000\\nmax_requests_jitter = 100\\n' >>{shlex.quote(gunicorn.config.path)}",
                target.restart_command,
            ),
        )
    else:
        config = gunicorn.config
        steps: tuple[str | Text, ...] = ()
        if isinstance(config, GunicornConfig) and ":" in place:
            steps = with_number(config, "max_requests", 1000)
        yield Finding(
            "GUN013",
            (quote(place, f"max_requests = {value}"),),
            verify=shown_by(place, master),
            fix=(*steps, target.restart_command) if steps else None,
        )


# Seconds. A file's time and a process's start differ by the file system's clock and a fork (contract, GUN011).
SAME_MOMENT = 2.0


@check(
    "gunicorn.currency",
    "GUN011",
    en="gunicorn runs the configuration and code on disk",
    zh="gunicorn 运行的是磁盘上的配置和代码",
)
def currency(
    target: Target,
    processes: Processes,
    gunicorn: Gunicorn,
    application: Application,
    activity: Activity | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """GUN011: the configuration or a module changed after the oldest worker started; with preload_app, a
    module after the master started. A time that is still to come is from before the clock was set back.

    Draining workers do not count: they are about to end after a reload."""
    master = running_master(target, processes)
    records = () if isinstance(activity, NotSeen) else activity.progress
    draining = {record.pid for record in records if record.phase == "draining"}
    started = [
        p.started
        for p in processes.processes
        if p.pid in target.gunicorn_workers and p.pid not in draining and p.state != "zombie"
    ]
    if not started:
        return
    oldest = min(started)
    loads = master.started if is_preloaded(master, gunicorn.config) else oldest
    files = [(application.config, oldest)] if application.config else []
    newer_files = [
        (file, since)
        for file, since in (*files, *((module, loads) for module in application.modules))
        if since + SAME_MOMENT < file.modified <= taken_at + SAME_MOMENT
    ]
    if newer_files:
        yield Finding(
            "GUN011",
            tuple(
                Evidence(
                    file.path,
                    Text(
                        en=f"written {age(file.modified - since)} after the processes that read it started",
                        zh=f"在读取它的进程启动 {age_zh(file.modified - since)}之后又被改写",
                    ),
                )
                for file, since in newer_files[:8]
            ),
            {"changed": ", ".join(file.path for file, _ in newer_files[:3])},
            verify=f"ps -o pid,lstart,args -p {master.pid} --ppid {master.pid}; ls -l --time-style=full-iso"
            f" {shlex.join(file.path for file, _ in newer_files[:3])}",
        )


def is_preloaded(master: Process, config: GunicornConfig | NotSeen) -> bool:
    """Whether the master is known to load the application for its workers."""
    if "preload" in options(arguments(master)):
        return True
    try:
        return bool(determined("preload_app", "preload", master, config))
    except NotJudgedError:
        return False


@check(
    "gunicorn.memory", "GUN010", en="the workers' models fit the memory", zh="所有工作进程的模型内存放得下"
)
def memory(
    target: Target,
    processes: Processes,
    gunicorn: Gunicorn,
    footprint: Footprint,
    model: ModelFiles | NotSeen,
    backend: Backend | NotSeen,
) -> Iterator[Finding]:
    """GUN010: the workers need more than the available memory, each as much as the largest or as its copy of the model.

    Safetensors weights are mapped and so shared between workers; other checkpoints are not, unless the master loads
    them for all (preload_app)."""
    master = running_master(target, processes)
    count = len(target.gunicorn_workers)
    if not count:
        return
    own, shared = (0, 0) if _is_embedded(backend) else _weights(model)
    if is_preloaded(master, gunicorn.config):
        own, shared = 0, shared + own
    largest = max(footprint.private.values(), default=0)
    needed = count * max(largest, own) + shared
    available = footprint.available + sum(footprint.private.values())
    if needed > available:
        facts = {"workers": str(count), "needed": _gigabytes(needed), "available": _gigabytes(available)}
        weights = own or shared
        yield Finding(
            "GUN010",
            (
                Evidence(
                    "/proc",
                    Text(
                        en=f"the largest worker holds {_gigabytes(largest)}; "
                        f"{_gigabytes(footprint.available)} are available beside what workers hold",
                        zh=f"最大的工作进程占用 {_gigabytes(largest)}；除工作进程占用外还可用 "
                        f"{_gigabytes(footprint.available)}",
                    ),
                ),
                *((quote(f"weights in {target.model_dir}", _gigabytes(weights)),) if weights else ()),
            ),
            facts,
        )


def _weights(model: ModelFiles | NotSeen) -> tuple[int, int]:
    """The size on disk, in bytes, of the weights that each worker loads for itself, and of those that all share."""
    files = () if isinstance(model, NotSeen) else model.files
    mapped = sum(file.size for file in files if file.path.endswith(".safetensors"))
    loaded = sum(file.size for file in files if file.path.endswith((".bin", ".pt", ".pth")))
    return (0, mapped) if mapped else (loaded, 0)


def _is_embedded(backend: Backend | NotSeen) -> bool:
    """Whether the health answer says that the service uses its embedded engine, not the model in the directory."""
    health = None if isinstance(backend, NotSeen) else backend.health
    body = health.json() if isinstance(health, Exchange) else None
    return isinstance(body, dict) and body.get("engine") == "embedded"


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


CHECKS = (reload, memory, currency, recycling)
