"""Judges of gunicorn: its master, settings and port."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from ops.diagnosis.checks.gunicorn_settings import KNOWN_SETTINGS, MEANT
from ops.diagnosis.checks.log_reading import entries_with, last_quote
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, check, quote, seen
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.logs import Log, Logs
from ops.facts.probes import Backend, Exchange
from ops.facts.target import Target
from ops.interpret.gunicorn import (
    application_server,
    arguments,
    foreign_holders,
    holder,
    is_gunicorn,
    is_listening,
    options,
    process_of,
    wsgi,
)
from ops.interpret.service_name import is_service, serves
from ops.interpret.traffic import users_traffic
from ops.text.language import Text

_STOPPED = ("stopped", "tracing-stop")


@check(
    "gunicorn.master",
    "GUN016",
    en="gunicorn's master supervises its workers",
    zh="gunicorn 主进程在管理工作进程",
)
def master(target: Target, processes: Processes, backend: Backend) -> Iterator[Finding]:
    """GUN016: the master is stopped while workers still serve."""
    process = process_of(processes, target.gunicorn_master)
    for owner in foreign_holders(processes, target) if process is None else ():
        if server := application_server(processes, owner):
            reason = f"{target.backend} is served by {server} (pid {owner.pid}), which is no gunicorn"
            raise NotJudgedError(NotSeen(reason=reason))
    serves_still = isinstance(backend.health, Exchange) and backend.health.status is not None
    if process is None or process.state not in _STOPPED or not serves_still:
        return
    yield Finding(
        "GUN016",
        (
            Evidence(f"pid {process.pid}", Text(en="stopped (state T)", zh="已暂停（状态 T）")),
            Evidence(
                f"GET {target.backend}{target.health_path}",
                Text(en="the workers answer", zh="工作进程仍在应答"),
            ),
        ),
        {"pid": str(process.pid)},
        fix=(f"kill -CONT {process.pid}",) if process.state == "stopped" else None,
    )


@check(
    "gunicorn.settings",
    "GUN008",
    en="gunicorn knows every setting in its file",
    zh="配置文件中的设置 gunicorn 都认识",
)
def settings(gunicorn: Gunicorn, target: Target, processes: Processes | NotSeen) -> Iterator[Finding]:
    """GUN008: the file assigns names that gunicorn ignores and that nothing else in it uses."""
    config = seen(gunicorn.config)
    if config.missing:
        master = None if isinstance(processes, NotSeen) else process_of(processes, target.gunicorn_master)
        if (module := options(arguments(master)).get("config", "")).startswith("python:"):
            raise NotJudgedError(
                NotSeen(reason=f"gunicorn's configuration is a module ({module})", is_lasting=True)
            )
        raise NotJudgedError(NotSeen(reason=f"{config.path}: no such file or directory", is_lasting=True))
    ignored = ignored_settings(config)
    if ignored:
        yield Finding(
            "GUN008",
            tuple(_ignored(config, name, likely) for name, likely in ignored.items()),
            {"names": ", ".join(ignored)},
            fix=_renamed(config, ignored, target),
        )


def _renamed(
    config: GunicornConfig, ignored: Mapping[str, str | None], target: Target
) -> tuple[str | Text, ...] | None:
    """A correcting line for each name with an unambiguous meaning; None if no name has one."""
    corrections = {
        name: likely
        for name, likely in ignored.items()
        if likely in KNOWN_SETTINGS and likely not in config.assigned
    }
    lines = tuple(
        replaced_in_line(f"{config.path}:{config.assigned[name].line}", name, likely or "")
        for name, likely in corrections.items()
    )
    rest = tuple(name for name in ignored if name not in corrections)
    advice = (
        (
            Text(
                en=f"Correct by hand in {config.path}: {', '.join(rest)}",
                zh=f"请自行改正 {config.path} 里的：{'、'.join(rest)}",
            ),
        )
        if rest
        else ()
    )
    return (*lines, *advice, target.restart_command) if lines else None


def ignored_settings(config: GunicornConfig) -> dict[str, str | None]:
    """The names that gunicorn ignores and nothing else in the file uses, each with the setting that was probably
    meant; None if no setting is similar."""
    return {
        name: MEANT.get(name) or _nearest_setting(name)
        for name in config.assigned
        if name not in KNOWN_SETTINGS
        and not name.startswith("_")
        and name not in config.read_names
        and name not in config.other_names
    }


def _nearest_setting(name: str) -> str | None:
    import difflib  # only a misspelt name needs it

    return next(iter(difflib.get_close_matches(name, KNOWN_SETTINGS, n=1, cutoff=0.75)), None)


def _ignored(config: GunicornConfig, name: str, likely: str | None) -> Evidence:
    value = config.assigned[name]
    # Quote no other values: a name that gunicorn does not know may hold anything, even a password.
    is_plain = value.known and (value.value is None or isinstance(value.value, bool))
    assignment = f"{name} = {value.value}" if is_plain else name
    return Evidence(
        f"{config.path}:{value.line}",
        Text(
            en=f"{assignment} (ignored; {f'meant: {likely}' if likely else 'no such setting'})",
            zh=f"{assignment}（被忽略；{f'应为 {likely}' if likely else '没有这个设置'}）",
        ),
    )


@check(
    "gunicorn.port",
    "GUN012",
    en="the service's port is held by its own gunicorn",
    zh="服务端口由自己的 gunicorn 占用",
)
def port(target: Target, processes: Processes, backend: Backend, logs: Logs | NotSeen) -> Iterator[Finding]:
    """GUN012: another program holds the bind address, or gunicorn could not bind and is not running now."""
    others = set(target.other_gunicorns)
    is_another_s = any({p.pid, p.ppid} & others for p in holder(processes, target.backend))
    answers = serves(backend, target) or (isinstance(backend.health, Exchange) and is_service(backend.health))
    # A container's service behind a proxy may give this answer; another service's gunicorn may give any answer.
    if answers and not is_another_s:
        return
    foreign = foreign_holders(processes, target)
    if not holder(processes, target.backend) and is_listening(processes, target.backend):
        raise NotJudgedError(NotSeen(reason=f"who holds {target.backend}", needs_root=True))
    log = logs.gunicorn_error if not isinstance(logs, NotSeen) else None
    # The master binds before it forks: a worker's traceback is about an address of the application's own.
    clashes = tuple(
        entry
        for entry in (entries_with(log, "Address already in use", "Connection in use") if log else ())
        if "Exception in worker process" not in entry.text
    )
    if foreign:
        owner = min(foreign, key=lambda p: p.pid)
        command = " ".join(owner.command)[:160] or owner.name
        yield Finding(
            "GUN012",
            (
                quote(f"ss -ltnp {target.backend}", f"pid {owner.pid} {command}"),
                *((last_quote(log.path, clashes),) if clashes and isinstance(log, Log) else ()),
            ),
            {"pid": str(owner.pid), "command": command},
        )
    elif (
        isinstance(log, Log)
        and clashes
        and not holder(processes, target.backend)
        and target.gunicorn_master is None
        and clashes[-1].time >= max((e.time for e in entries_with(log, "Listening at")), default=0.0)
    ):
        yield Finding("GUN012", (last_quote(log.path, clashes),), {"pid": "?", "command": "?"})


@check(
    "gunicorn.shared_port",
    "GUN019",
    en="no other application shares the service's port",
    zh="没有别的应用与本服务共用端口",
)
def shared_port(target: Target, processes: Processes, logs: Logs | NotSeen) -> Iterator[Finding]:
    """GUN019: a gunicorn of another application listens at this service's address too, which reuse_port allows
    (socket(7), SO_REUSEPORT): the kernel distributes the connections between both."""
    owners = holder(processes, target.backend)
    own = next((p for p in processes.processes if p.pid == target.gunicorn_master), None)
    members = {target.gunicorn_master, *target.gunicorn_workers, None}
    if own is None or not any(p.pid in members for p in owners):
        return
    mine = wsgi(own), own.cwd
    for owner in owners:
        master = next((p for p in processes.processes if p.pid == owner.ppid and is_gunicorn(p)), owner)
        # During an upgrade (USR2) the new master is a child of the old one; systemd (pid 1) holds sockets for others.
        if (
            {owner.pid, owner.ppid, master.pid, master.ppid} & members
            or owner.pid == 1
            or own.ppid == master.pid
        ):
            continue
        if not is_gunicorn(master) or (wsgi(master), master.cwd) == mine:
            continue
        command = _shortened(master)
        yield Finding(
            "GUN019",
            (
                _listener(target, owner, master, command),
                quote(f"ss -ltnp {target.backend}", f"pid {own.pid} {_shortened(own)}"),
                *(() if isinstance(logs, NotSeen) else _now_so_now_otherwise(logs, target)),
            ),
            {"pid": str(master.pid), "command": command},
        )
        return


def _listener(target: Target, owner: Process, master: Process, command: str) -> Evidence:
    """What listens beside the service; of a worker its master too, which is the one to end."""
    source = f"ss -ltnp {target.backend}"
    if owner.pid == master.pid:
        return quote(source, f"pid {owner.pid} {command}")
    return Evidence(
        source,
        Text(
            en=f"pid {owner.pid}, a worker of pid {master.pid}: {command}",
            zh=f"pid {owner.pid}，是进程 {master.pid} 的工作进程：{command}",
        ),
    )


def _shortened(process: Process) -> str:
    """Return the command line without its middle; the end names the application."""
    command = " ".join(process.command) or process.name
    return command if len(command) <= 160 else f"{command[:100]} ... {command[-50:]}"


def _now_so_now_otherwise(logs: Logs, target: Target) -> Iterator[Evidence]:
    """Quote the statuses of users' requests for one of the service's own paths if they differ."""
    own_paths = (target.predict_path, target.health_path)
    for located in users_traffic(logs):
        counts = Counter[tuple[str, str]]()
        for answers in located.traffic.answers:
            if answers.path in own_paths:
                counts[answers.path, answers.status] += answers.count
        for path in own_paths:
            statuses = {status: n for (request_path, status), n in counts.items() if request_path == path}
            if len(statuses) > 1:
                tally = ", ".join(f"{n} x {status}" for status, n in sorted(statuses.items()))
                yield quote(located.path, f"{path}: {tally}")
                return


CHECKS = (master, settings, port, shared_port)
