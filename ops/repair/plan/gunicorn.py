"""Remedies of gunicorn's causes. Pure."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator

from ops.diagnosis.checks.gunicorn import ignored_settings
from ops.diagnosis.checks.gunicorn_settings import KNOWN_SETTINGS
from ops.diagnosis.checks.gunicorn_start import last_failure
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.nginx import Pidfile
from ops.facts.probes import Activity
from ops.interpret import gunicorn as gunicorn_rules
from ops.interpret.progress import stuck_for
from ops.interpret.start_failure.kind import PASSING
from ops.repair.model import (
    Continue,
    EditGunicorn,
    EndWorker,
    FileEdit,
    ReloadGunicorn,
    Remedy,
    RestartGunicorn,
    Safety,
    StartGunicorn,
)
from ops.repair.plan.case import NO_MASTER, NO_PLAN, NO_START, Case, difference, identity, not_edited
from ops.text.language import Text

_INTERRUPTS = Text(
    en="requests in progress are lost, and the service is down until it has started again",
    zh="处理中的请求会丢失，启动完成前服务不可用",
)


_FAILS_AGAIN = Text(
    en="the last start failed, and another would fail the same way: first the steps of its cause, by hand",
    zh="上次启动失败，再启动也会同样失败：请先按该原因的修复步骤手动处理",
)


def _start_gunicorn(case: Case) -> Iterator[Remedy]:
    if case.context.start is None:
        yield case.by_hand(NO_START)
        return
    if _fails_again(case):
        yield case.by_hand(_FAILS_AGAIN)
        return
    yield case.remedy(
        Safety.SAFE,
        StartGunicorn(),
        Text(en="start the service", zh="启动服务"),
        commands=(*_pidfile_in_the_way(case), case.context.start),
    )


def _fails_again(case: Case) -> bool:
    """Whether the next start would fail as the last one did: its words say so."""
    snapshot = case.snapshot
    failure = last_failure(case.target, snapshot.processes, snapshot.logs, snapshot.last_start)
    return failure is not None and failure.kind not in PASSING


def _pidfile_in_the_way(case: Case) -> tuple[str, ...]:
    """The command that removes a pidfile beside which gunicorn refuses to start."""
    gunicorn = case.snapshot.gunicorn
    pidfile = gunicorn.pidfile if isinstance(gunicorn, Gunicorn) else None
    if not isinstance(pidfile, Pidfile) or not pidfile.is_in_the_way:
        return ()
    return (f"rm -- {shlex.quote(pidfile.path)}",)


def _end_and_start(case: Case, master: Process, start: str) -> tuple[str, ...]:
    """What a restart does, as a person would type it. gunicorn leaves its pidfile behind when it is killed."""
    pid, seconds = master.pid, f"{case.context.grace_seconds:g}"
    gunicorn = case.snapshot.gunicorn
    pidfile = gunicorn.pidfile if isinstance(gunicorn, Gunicorn) else None
    removal = (f"rm -f -- {shlex.quote(pidfile.path)}",) if isinstance(pidfile, Pidfile) else ()
    wait = f"timeout {seconds} tail --pid={pid} -f /dev/null || kill -9 {pid}"
    return (f"kill {pid}", wait, *removal, start)


def _continue_or_restart(case: Case) -> Iterator[Remedy]:
    """Continue stopped processes (state T); restart a master that hangs in another way."""
    processes = case.snapshot.processes
    table = processes.processes if isinstance(processes, Processes) else ()
    ours = (case.target.gunicorn_master, *case.target.gunicorn_workers)
    stopped = tuple(p for p in table if p.pid in ours and p.state == "stopped")
    if stopped:
        pids = " ".join(str(p.pid) for p in stopped)
        yield case.remedy(
            Safety.SAFE,
            Continue(tuple(map(identity, stopped))),
            Text(
                en=f"continue the stopped processes ({pids}): nothing in progress is lost",
                zh=f"让被暂停的进程继续运行（{pids}）：不会丢失处理中的请求",
            ),
            commands=(f"kill -CONT {pids}",),
        )
        return
    yield from restart_gunicorn(case)


def restart_gunicorn(case: Case) -> Iterator[Remedy]:
    """Restart the service; by hand if nothing here can start it."""
    master = case.master
    if case.context.start is None or master is None:
        yield case.by_hand(NO_START if master else NO_MASTER)
        return
    yield case.remedy(
        Safety.RISKY,
        RestartGunicorn(identity(master)),
        Text(en="restart the service", zh="重启服务"),
        risk=_INTERRUPTS,
        commands=_end_and_start(case, master, case.context.start),
    )


def _take_up_change(case: Case) -> Iterator[Remedy]:
    """GUN011: new workers read the changed files, unless the master has loaded the application (preload_app)."""
    master, gunicorn = case.master, case.snapshot.gunicorn
    if master is None or not isinstance(gunicorn, Gunicorn):
        yield case.by_hand(NO_MASTER)
        return
    arguments = gunicorn_rules.arguments(master)
    if gunicorn_rules.setting("preload_app", "preload", arguments, gunicorn.config):
        yield from restart_gunicorn(case)
        return
    yield case.remedy(
        Safety.RISKY,
        ReloadGunicorn(identity(master), case.target.gunicorn_workers),
        Text(
            en="have gunicorn start new workers from the files as they are now",
            zh="让 gunicorn 用现在的文件启动新的工作进程",
        ),
        risk=Text(
            en="the change goes live: look at it first",
            zh="改动会立即上线：请先确认改了什么",
        ),
        commands=(f"kill -HUP {master.pid}",),
    )


def _rename_settings(case: Case) -> Iterator[Remedy]:
    """GUN008: replace each name that gunicorn does not know by the setting that was meant, if that is beyond doubt."""
    gunicorn, master = case.snapshot.gunicorn, case.master
    config = gunicorn.config if isinstance(gunicorn, Gunicorn) else None
    if not isinstance(config, GunicornConfig) or master is None or case.context.start is None:
        yield case.by_hand(NO_START if master else NO_MASTER)
        return
    before = case.context.files.get(config.path, b"")
    text = before.decode("utf-8", "surrogateescape")
    renamed: dict[str, str] = {}
    for name, setting in ignored_settings(config).items():
        if setting in KNOWN_SETTINGS and setting not in config.assigned and setting not in renamed.values():
            edited = _renamed(text, config.assigned[name].line, name, setting)
            if edited is not None:
                text, renamed[name] = edited, setting
    if not renamed:
        yield case.by_hand(NO_PLAN)
        return
    edit = FileEdit(config.path, before, text.encode("utf-8", "surrogateescape"))
    if (why := case.context.not_edited.get(config.path)) is not None:
        yield case.by_hand(not_edited(why), tuple(difference(edit)))
        return
    names = ", ".join(f"{name} -> {setting}" for name, setting in renamed.items())
    yield case.remedy(
        Safety.RISKY,
        EditGunicorn(edit, identity(master)),
        Text(
            en=f"rename in {config.path}: {names}; restart the service, or put the old file back",
            zh=f"在 {config.path} 里改名：{names}；然后重启服务，起不来就恢复原文件",
        ),
        risk=Text(
            en="what was ignored takes effect, and the service is down until it has started again",
            zh="之前被忽略的设置会生效；启动完成前服务不可用",
        ),
        commands=_end_and_start(case, master, case.context.start),
        diff=tuple(difference(edit)),
    )


def _renamed(text: str, line: int, name: str, setting: str) -> str | None:
    """``text`` with the name assigned on ``line`` replaced; None if it is not there, or the result is no Python."""
    lines = text.splitlines(keepends=True)
    if not 0 < line <= len(lines):
        return None
    edited, count = re.subn(
        rf"^(\s*){re.escape(name)}(?=\s*(?::[^=]*)?=)", rf"\g<1>{setting}", lines[line - 1]
    )
    lines[line - 1] = edited
    try:
        ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return None
    return "".join(lines) if count else None


def _end_worker(case: Case) -> Iterator[Remedy]:
    """End the workers that the watchdog would end too; its own proof is required again when the remedy is applied."""
    stuck = _stuck_workers(case)
    if not stuck:
        yield case.by_hand(NO_PLAN)
    for pid in stuck:
        yield case.remedy(
            Safety.RISKY,
            EndWorker(pid),
            Text(
                en=f"keep the evidence, then end the stuck worker {pid}: gunicorn starts another",
                zh=f"保留证据，然后结束卡死的工作进程 {pid}：gunicorn 会补一个",
            ),
            risk=Text(en="what it works on is lost", zh="它正在处理的请求会丢失"),
            commands=(f"py-spy dump --nonblocking --pid {pid}", f"kill -9 {pid}"),
        )


def _stuck_workers(case: Case) -> tuple[int, ...]:
    """Pids of workers past the request deadline by their own records, or past the boot deadline and never ready."""
    activity, processes = case.snapshot.activity, case.snapshot.processes
    if not isinstance(activity, Activity) or not isinstance(processes, Processes):
        return ()
    now = case.snapshot.taken_at + activity.seconds
    ours = set(case.target.gunicorn_workers)  # a record names whatever process its writer likes
    if case.cause.code == "GUN015":
        deadline = case.target.request_deadline
        return tuple(
            r.pid for r in activity.progress if r.pid in ours and stuck_for(r, now, deadline) is not None
        )
    old = {p.pid for p in processes.processes if now - p.started > case.target.boot_deadline}
    booting = {r.pid for r in activity.progress if r.phase == "booting"}
    booting |= {w.pid for w in activity.workers if w.has_beaten is False}
    return tuple(sorted(ours & old & booting))


def _end_the_second_copy(case: Case) -> Iterator[Remedy]:
    """GUN012, APP006: what holds the port is a gunicorn, or the development server, of the same application: end it,
    and start the service."""
    processes, target = case.snapshot.processes, case.target
    table = processes.processes if isinstance(processes, Processes) else ()
    listeners = processes.listeners if isinstance(processes, Processes) else ()
    pids = {pid for listener in listeners if listener.address == target.backend for pid in listener.pids}
    copies = [
        p
        for p in table
        if p.pid in pids
        and p.ppid not in pids
        and (gunicorn_rules.is_gunicorn(p) or case.cause.code == "APP006")
        and p.cwd == target.app_dir
        and p.uid in (case.caller, None if case.master is None else case.master.uid)
    ]
    if len(copies) != 1 or case.context.start is None:
        yield case.by_hand(NO_PLAN if case.context.start else NO_START)
        return
    yield case.remedy(
        Safety.RISKY,
        RestartGunicorn(identity(copies[0])),
        Text(
            en=f"end the second copy of the service (process {copies[0].pid}), and start the service",
            zh=f"结束服务的第二个副本（进程 {copies[0].pid}），再启动服务",
        ),
        risk=_INTERRUPTS,
        commands=_end_and_start(case, copies[0], case.context.start),
    )


PLANNERS: dict[str, Callable[[Case], Iterator[Remedy]]] = {
    "APP006": _end_the_second_copy,
    "GUN001": _start_gunicorn,
    "GUN007": _continue_or_restart,
    "GUN008": _rename_settings,
    "GUN011": _take_up_change,
    "GUN012": _end_the_second_copy,
    "GUN015": _end_worker,
    "GUN016": _continue_or_restart,
    "GUN017": _end_worker,
}
