"""Judges whether gunicorn runs and its workers load the application; if not, why its last start failed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ops.diagnosis.checks.gunicorn_other_server import declared_server
from ops.diagnosis.checks.log_reading import Raised, entries_with, last_quote, last_trouble, raised_in
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, check, quote
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Host, Processes
from ops.facts.logs import AccessLog, Log, LogEntry, Logs
from ops.facts.nginx import Pidfile
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Backend, Exchange
from ops.facts.start import LastStart, ServiceManager, SupervisorAccount
from ops.facts.target import Target
from ops.facts.units import Units
from ops.interpret.balancer import is_balancer
from ops.interpret.gunicorn import holder, process_of
from ops.interpret.units import state_words, was_stopped
from ops.text.language import Text, verbatim

if TYPE_CHECKING:
    from ops.interpret.start_failure.kind import StartFailure
    from ops.interpret.start_failure.place import StartPlace

_REFUSALS = (ProbeFailure.REFUSED, ProbeFailure.MISSING)
# The master loads the application before it forks (gunicorn, Arbiter.setup), so no worker logs the failure.
_PRELOADS = re.compile(r'gunicorn/arbiter\.py", line \d+, in setup')
# Seconds. Log times are whole seconds, and a log is written a moment after the event.
_ROUNDING = 2.0


@check("gunicorn.process", "GUN001", "GUN002", en="gunicorn is running", zh="gunicorn 正在运行")
def process(
    target: Target,
    backend: Backend,
    gunicorn: Gunicorn,
    processes: Processes,
    logs: Logs | NotSeen,
    last_start: LastStart | NotSeen,
    units: Units | NotSeen,
    host: Host | NotSeen,
) -> Iterator[Finding]:
    """GUN001: no master, and the bind address refuses or is missing, or cannot be reached after a failed start, which
    the finding then explains. GUN002: the master runs, but its pidfile names another process."""
    pidfile = gunicorn.pidfile
    if declared_server(target, backend, last_start) is not None:
        return  # GUN020
    if target.gunicorn_master is None:
        if is_balancer(target, host):
            return  # NGX043
        failure = last_failure(target, processes, logs, last_start)
        supervised = _supervised_daemon(gunicorn, last_start) if _says_little(failure) else None
        if supervised is not None and backend.connection.failure in _REFUSALS:
            proof, summary, fix = supervised
            yield Finding("GUN001", (*_absence(target, backend, gunicorn), *proof), summary=summary, fix=fix)
            return
        unreachable = backend.connection.failure if failure else None
        if backend.connection.failure not in _REFUSALS and unreachable is None:
            return
        evidence = [*_absence(target, backend, gunicorn), *_state_of_unit(units)]
        if failure is None or isinstance(last_start, NotSeen):
            yield Finding("GUN001", (*evidence, *_trouble(logs)), fix=_past_pidfile(target, pidfile))
        elif _was_address_in_use(failure) and not holder(processes, target.backend):
            # The process that held it is gone.
            yield Finding("GUN001", (*evidence, *_words(failure)), summary=_gone(failure))
        else:
            finding = Finding("GUN001", (*evidence, *_words(failure)))
            yield _explained(finding, failure, target, last_start, gunicorn)
    elif (
        isinstance(pidfile, Pidfile)
        and not pidfile.missing
        and pidfile.unreadable is None
        and pidfile.pid != target.gunicorn_master
    ):
        yield Finding(
            "GUN002",
            (
                quote(pidfile.path, str(pidfile.pid)),
                Evidence(
                    "ps",
                    Text(
                        en=f"the master is process {target.gunicorn_master}",
                        zh=f"主进程是 {target.gunicorn_master}",
                    ),
                ),
            ),
            {"pidfile": pidfile.path, "pid": str(pidfile.pid)},
        )


def _says_little(failure: StartFailure | None) -> bool:
    """Whether a failed start may only be another attempt beside one that runs in the background."""
    if failure is None:
        return True
    from ops.interpret.start_failure.kind import VAGUE, Kind

    return failure.kind in (*VAGUE, Kind.PIDFILE_HELD, Kind.ADDRESS_IN_USE)


def _supervised_daemon(
    gunicorn: Gunicorn, last: LastStart | NotSeen
) -> tuple[tuple[Evidence, ...], Text, tuple[str | Text, ...]] | None:
    """The proof, a sentence and the steps, if supervisord gave up a gunicorn that goes to the background (supervisord's
    documentation, Subprocesses: programs must run in the foreground)."""
    accounts = () if isinstance(last, NotSeen) else last.supervisors
    account = next((a for a in accounts if a.manager is ServiceManager.SUPERVISORD and a.status == 0), None)
    daemon = _daemon_setting(account, gunicorn) if account else None
    if account is None or daemon is None:
        return None
    place, setting, step = daemon
    return (
        (quote(account.source, account.words), quote(place, setting)),
        Text(
            en=f"supervisord gave up {account.unit}: gunicorn goes to the background ({setting} at {place}), which"
            " supervisord takes for its end, so nothing watches or restarts it.",
            zh=f"supervisord 放弃了 {account.unit}：gunicorn 转入后台运行（{place} 的 {setting}），"
            "supervisord 以为它已退出，因此没有程序看管和重启它。",
        ),
        (step, f"{account.control} update", f"{account.control} start {shlex.quote(account.unit)}"),
    )


def _daemon_setting(account: SupervisorAccount, gunicorn: Gunicorn) -> tuple[str, str, str | Text] | None:
    """Where gunicorn is told to go to the background, the setting, and the step that takes it out."""
    config = gunicorn.config
    option = next((word for word in (account.program or "").split() if word in ("-D", "--daemon")), None)
    if option is not None:
        place = account.config or account.source
        words = Text(
            en=f"Take {option} out of command= of [program:{account.unit}] in {place}",
            zh=f"在 {place} 的 [program:{account.unit}] 里，从 command= 去掉 {option}",
        )
        return place, option, words
    daemon = config.assigned.get("daemon") if isinstance(config, GunicornConfig) else None
    if daemon is None or not isinstance(config, GunicornConfig):
        return None
    if str(daemon.value).strip().lower() not in ("true", "1", "yes", "on"):
        return None
    place = f"{config.path}:{daemon.line}"
    return place, f"daemon = {daemon.value}", replaced_in_line(place, str(daemon.value), "False")


def _absence(target: Target, backend: Backend, gunicorn: Gunicorn) -> list[Evidence]:
    """Evidence that there is no master, and from its pidfile and configuration."""
    pidfile = gunicorn.pidfile
    evidence = [
        quote(f"tcp {target.backend}", backend.connection.detail or str(backend.connection.failure)),
        Evidence("ps", Text(en="no gunicorn master of this service", zh="没有本服务的 gunicorn 主进程")),
    ]
    if isinstance(pidfile, Pidfile) and pidfile.pid is not None:
        evidence.append(Evidence(pidfile.path, _who_is_named(pidfile)))
    if isinstance(gunicorn.config, GunicornConfig) and gunicorn.config.error:
        evidence.append(quote(gunicorn.config.path, gunicorn.config.error))
    return evidence


def _state_of_unit(units: Units | NotSeen) -> Iterator[Evidence]:
    """What systemd says of the service's unit: whether it failed, or was stopped in order."""
    own = None if isinstance(units, NotSeen) else units.unit(units.service)
    if own is None or own.load == "not-found":
        return
    source, state = f"systemctl show {own.name}", state_words(own)
    if was_stopped(own):
        yield Evidence(
            source,
            Text(en=f"{state}: it was stopped, it did not fail", zh=f"{state}：是被正常停止的，不是失败"),
        )
    else:
        yield quote(source, state)


def _who_is_named(pidfile: Pidfile) -> Text:
    """Describe the process that a pidfile names, and whether it keeps gunicorn from starting."""
    if pidfile.is_zombie:
        return Text(
            en=f"process {pidfile.pid} is a zombie (state Z), so gunicorn refuses to start",
            zh=f"进程 {pidfile.pid} 是僵尸进程（状态 Z），gunicorn 因此拒绝启动",
        )
    if pidfile.is_alive:
        return Text(
            en=f"names process {pidfile.pid}, which is not this service's gunicorn, so gunicorn refuses to start",
            zh=f"其中的进程 {pidfile.pid} 不是本服务的 gunicorn，gunicorn 因此拒绝启动",
        )
    return Text(
        en=f"names process {pidfile.pid}, which is not this service's gunicorn",
        zh=f"其中的进程 {pidfile.pid} 不是本服务的 gunicorn",
    )


def _trouble(logs: Logs | NotSeen) -> tuple[Evidence, ...]:
    log = None if isinstance(logs, NotSeen) else logs.gunicorn_error
    trouble = last_trouble(log) if isinstance(log, Log) else None
    return (trouble,) if trouble is not None else ()


def _past_pidfile(target: Target, pidfile: Pidfile | NotSeen) -> tuple[Text, ...] | None:
    """Steps to remove a pidfile that keeps gunicorn from starting: its process exists (gunicorn, pidfile.py)."""
    if not isinstance(pidfile, Pidfile) or not pidfile.is_in_the_way:
        return None
    return (verbatim(f"rm -- {shlex.quote(pidfile.path)}"), verbatim(target.start_command))


def _was_address_in_use(failure: StartFailure) -> bool:
    from ops.interpret.start_failure.kind import Kind

    return failure.kind is Kind.ADDRESS_IN_USE


def _gone(failure: StartFailure) -> Text:
    address = failure.values.get("address", "")
    return Text(
        en=f"The last start failed, because another process held {address or 'its address'}; nobody holds it now.",
        zh=f"上次启动失败，因为 {address or '它的地址'} 当时被别的进程占用；现在已无人占用。",
    )


def _verify(failure: StartFailure) -> str | None:
    return f"tail -n 40 {shlex.quote(failure.source)}" if failure.source.startswith("/") else None


def _words(failure: StartFailure) -> list[Evidence]:
    return [quote(failure.source, failure.quote.replace("\n", " ")[:400])]


@check("gunicorn.boot", "GUN003", en="workers boot", zh="工作进程能够启动")
def boot(
    logs: Logs,
    backend: Backend,
    target: Target,
    last_start: LastStart | NotSeen,
    processes: Processes | NotSeen,
    gunicorn: Gunicorn | NotSeen,
) -> Iterator[Finding]:
    """GUN003: the workers of the last start, or its master before it forked (preload_app), failed to load the
    application, and the service does not answer."""
    if isinstance(backend.health, Exchange) and backend.health.status is not None:
        return
    failure = last_failure(target, processes, logs, last_start)
    finding = _boot_failure(logs.gunicorn_error) if isinstance(logs.gunicorn_error, Log) else None
    if failure is None or not failure.is_loading or not isinstance(last_start, LastStart):
        if isinstance(logs.gunicorn_error, NotSeen):
            raise NotJudgedError(logs.gunicorn_error)
        newer = failure is not None and not failure.is_loading
        if finding is not None and not newer and not _served_since(logs, finding[1]):
            yield finding[0]
        return
    evidence = _words(failure)
    if failure.where and not failure.quote.startswith(failure.where):
        evidence.insert(0, Evidence(failure.where, verbatim(failure.quote)))
    old = finding[0] if finding is not None else None
    new = Finding(
        "GUN003",
        (*evidence, *(old.evidence if old else ())),
        {"exception": failure.quote, "where": failure.where or (old.facts["where"] if old else "?")},
    )
    yield _explained(new, failure, target, last_start, gunicorn)


def _boot_failure(log: Log) -> tuple[Finding, LogEntry] | None:
    """A finding for 'Worker failed to boot' or a like message with its exception, and the last such entry."""
    failures = entries_with(
        log, "Worker failed to boot", "App failed to load", "Exception in worker process", "Reason: Worker"
    )
    raised = raised_in(log)
    preloads = [r for r in raised if _PRELOADS.search(r.entry.text)]
    failures = tuple(sorted((*failures, *(r.entry for r in preloads)), key=lambda entry: entry.time))
    boots = [r for r in raised if "Exception in worker process" in r.entry.text or r in preloads] or [
        r for r in raised if failures and r.entry.time <= failures[-1].time
    ]
    if not failures or not boots:
        return None
    last: Raised = boots[-1]
    finding = Finding(
        "GUN003",
        (
            quote(log.path, last.entry.text.partition("\n")[0]),
            quote(last.where, last.exception),
            last_quote(log.path, failures),
        ),
        {"exception": last.exception, "where": last.where},
    )
    return finding, failures[-1]


def _served_since(logs: Logs, failure: LogEntry) -> bool:
    """Whether the service has answered requests since: then this failure does not explain the present silence."""
    access = logs.gunicorn_access
    return isinstance(access, AccessLog) and access.last is not None and access.last > failure.time


# --- the last start --------------------------------------------------------------------------------------------------


def last_failure(
    target: Target, processes: Processes | NotSeen, logs: Logs | NotSeen, last: LastStart | NotSeen
) -> StartFailure | None:
    """Why the last start failed, by messages newer than the running master and the last answered request."""
    if isinstance(last, NotSeen):
        return None
    since = 0.0
    if isinstance(processes, Processes) and (master := process_of(processes, target.gunicorn_master)):
        since = master.started
    if not isinstance(logs, NotSeen) and isinstance(logs.gunicorn_access, AccessLog):
        since = max(since, logs.gunicorn_access.last or 0.0)
    from ops.interpret.start_failure.reason import start_failure

    return start_failure(last, since=max(0.0, since - _ROUNDING))


def _explained(
    finding: Finding, failure: StartFailure, target: Target, last: LastStart, gunicorn: Gunicorn | NotSeen
) -> Finding:
    """Return ``finding`` with the summary, the verify command and the fix of the failed start."""
    from ops.interpret.start_failure.advice import fix_for
    from ops.interpret.start_failure.summary import summary_of

    return replace(
        finding,
        summary=summary_of(failure, last),
        verify=_verify(failure),
        fix=fix_for(failure, last, _place(target, last, gunicorn)),
        kind=failure.kind,
    )


def _place(target: Target, last: LastStart, gunicorn: Gunicorn | NotSeen) -> StartPlace:
    from ops.interpret.start_failure.place import StartPlace

    config = None if isinstance(gunicorn, NotSeen) else gunicorn.config
    begin = target.start_command
    if target.gunicorn_master is not None:
        restart = target.restart_command
        is_own = restart == target.start_command
        begin = f"kill -HUP {target.gunicorn_master}" if is_own else restart
    return StartPlace(
        start=target.start_command,
        begin=begin,
        app_dir=target.app_dir,
        python=target.python_command or shlex.quote(target.python),
        wsgi=last.wsgi,
        config=config.path if isinstance(config, GunicornConfig) and not config.missing else None,
        backend=target.backend,
        listeners=_listeners(target.backend),
    )


def _listeners(backend: str) -> str:
    socket = backend.removeprefix("unix:")
    if socket != backend:
        return f"ss -lxp | grep {shlex.quote(socket)}"
    return f"ss -ltnp | grep {shlex.quote(':' + backend.rpartition(':')[2])}"


CHECKS = (process, boot)
