"""Judge of gunicorn's workers that died: by whose hand, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from ops.diagnosis.checks.log_reading import entries_with, nginx_entries
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote, seen
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.machine import KernelKill, KernelLog, OomCounter
from ops.facts.probes import Backend, Exchange
from ops.facts.safeguards import WatchdogFacts
from ops.facts.target import Target
from ops.facts.units import Unit, Units
from ops.interpret.gunicorn import process_of
from ops.interpret.nginx_error_line import request_of
from ops.interpret.traffic import all_traffic, general_path
from ops.interpret.units import state_words
from ops.text.language import Text

# "Worker (pid:7) was sent SIGKILL! Perhaps out of memory?"; before 20.1 "Worker with pid 7 was terminated due to
# signal 9".
_DIED = re.compile(
    r"Worker \(pid:(\d+)\) was sent (SIG[A-Z]+)|Worker with pid (\d+) was terminated due to signal (\d+)"
)
_TIMED_OUT = re.compile(r"WORKER TIMEOUT \(pid:(\d+)\)")
_NUMBERS = {
    "4": "SIGILL",
    "6": "SIGABRT",
    "7": "SIGBUS",
    "8": "SIGFPE",
    "9": "SIGKILL",
    "11": "SIGSEGV",
    "31": "SIGSYS",
}
# signal(7): these signals are crashes; SIGTERM and SIGINT ask a worker to end.
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS", "SIGTRAP")
# Seconds. The kernel's and gunicorn's log times of one death differ by this at most: rounding, and a busy master.
_ONE_DEATH = 30.0
# Seconds. A watchdog action can explain a death for this long: it first asks a process to end, and kills it later.
_WATCHDOG_REACH = 120.0
# Seconds. A stopping master kills the remaining workers after its graceful timeout.
_SHUTDOWN = 60.0
# nginx's words for an answer that did not come because the process behind it ended (ngx_http_upstream.c).
_LOST_ANSWER = ("upstream prematurely closed connection", "(104: Connection reset by peer)")
# Seconds between nginx's line and gunicorn's about one death: both write whole seconds, gunicorn looks once a second.
_SAME_MOMENT = 2.0
# Seconds. A worker that died within this time of its start was loading the application.
_LOADING = 30.0


class Death(msgspec.Struct, frozen=True):
    """A worker's death by a signal, as gunicorn logged it."""

    entry: LogEntry
    pid: int
    signal: str


def deaths(log: Log) -> tuple[Death, ...]:
    """Every death by SIGKILL or a crash signal, oldest first, except those that a timeout explains: gunicorn itself
    sends SIGABRT and SIGKILL to a worker that took too long (GUN004)."""
    timed_out = {
        int(match[1])
        for entry in entries_with(log, "WORKER TIMEOUT")
        for match in _TIMED_OUT.finditer(entry.text)
    }
    result = []
    for entry in entries_with(log, "was sent SIG", "terminated due to signal"):
        if (match := _DIED.search(entry.text)) is None:
            continue
        pid = int(match[1] or match[3])
        signal = match[2] or _NUMBERS.get(match[4], "")
        if pid not in timed_out and signal in (*_CRASHES, "SIGKILL"):
            result.append(Death(entry, pid, signal))
    return tuple(result)


def killed_by_kernel(death: Death, kernel: KernelLog | NotSeen) -> KernelKill | None:
    """The kernel's own record that it killed this worker for lack of memory, None without one."""
    if death.signal != "SIGKILL" or isinstance(kernel, NotSeen) or isinstance(kernel.kills, NotSeen):
        return None
    return next(
        (k for k in kernel.kills if k.pid == death.pid and abs(k.time - death.entry.time) <= _ONE_DEATH), None
    )


def counted_by_group(kernel: KernelLog | NotSeen) -> OomCounter | None:
    """The cgroup that counted a kill, if the kernel's log, which names the process, could not be read; else None."""
    if isinstance(kernel, NotSeen) or not isinstance(kernel.kills, NotSeen) or kernel.group is None:
        return None
    return kernel.group if kernel.group.oom_kills > 0 else None


def was_meant(
    death: Death, log: Log, watchdog: WatchdogFacts | NotSeen, started: float | None = None
) -> bool:
    """Whether a SIGKILL is known to come from the watchdog, or from the master while it stopped. ``started``: the
    running master; a stop before that was another's, and ended none of its workers."""
    if death.signal != "SIGKILL":
        return False
    at = death.entry.time
    for action in () if isinstance(watchdog, NotSeen) else watchdog.done:
        is_recent = -1.0 <= at - action.time <= _WATCHDOG_REACH
        if is_recent and (action.pid == death.pid or action.rung in ("restart", "reload")):
            return True
    stops = entries_with(log, "Handling signal: term", "Handling signal: int", "Handling signal: quit")
    return any(
        0 <= at - entry.time <= _SHUTDOWN and not (started is not None and entry.time < started <= at)
        for entry in stops
    )


@check(
    "gunicorn.deaths",
    "GUN005",
    "GUN014",
    en="no worker was killed or crashed",
    zh="没有工作进程被杀或崩溃",
)
def died(
    logs: Logs,
    kernel: KernelLog | NotSeen,
    watchdog: WatchdogFacts | NotSeen,
    units: Units | NotSeen,
    target: Target | NotSeen,
    processes: Processes | NotSeen,
    backend: Backend | NotSeen,
) -> Iterator[Finding]:
    """GUN005: a SIGKILL that the kernel recorded, for lack of memory. GUN014: a crash, or a SIGKILL of unknown origin.
    Warnings if the service has been restarted since, and answers.

    gunicorn logs 'Perhaps out of memory?' after every SIGKILL, so the message proves nothing."""
    served_since = _served_since(target, processes, backend)
    master = (
        None
        if isinstance(target, NotSeen) or isinstance(processes, NotSeen)
        else process_of(processes, target.gunicorn_master)
    )
    started = master.started if master is not None else None
    own = None if isinstance(units, NotSeen) else units.unit(units.service)
    kills = _unlogged_kills(own, kernel, logs.gunicorn_error)
    if own is not None and (
        evidence := (*_killed_in(own), *(quote("kernel log", k.text) for k in kills[-1:]))
    ):
        is_over = served_since is not None and all(k.time < served_since for k in kills)
        # Without a limit there was one before, or the machine's own memory ran out.
        limit = "" if own.memory_max is None else _limit(own)
        of_limit = Text(en=f" ({limit})" if limit else "", zh=f"（{limit}）" if limit else "")
        yield Finding(
            "GUN005",
            evidence,
            {"pid": str(kills[-1].pid if kills else own.main_pid or "?")},
            summary=Text(
                en=f"The kernel killed a process of {own.name} because memory ran out{of_limit.en}.",
                zh=f"内存耗尽{of_limit.zh}，内核杀掉了 {own.name} 的一个进程。",
            ),
            fix=_limit_fix(units, target),
            severity=Severity.WARN if is_over else None,
            explains=() if is_over else None,
        )
    log = seen(logs.gunicorn_error)
    unexplained = []
    starved: list[tuple[Death, Evidence]] = []
    for death in deaths(log):
        kill, group = killed_by_kernel(death, kernel), counted_by_group(kernel)
        # The kernel's word comes first: the watchdog or a stop may have been at work at the same moment.
        if kill is None and was_meant(death, log, watchdog, started):
            continue
        if kill is not None:
            starved.append((death, quote("kernel log", kill.text)))
        elif death.signal == "SIGKILL" and group is not None:
            starved.append((death, quote(group.path, f"oom_kill {group.oom_kills}")))
        else:
            unexplained.append(death)
    if starved:
        death, proof = starved[-1]
        yield Finding(
            "GUN005",
            (proof, quote(log.path, death.entry.text.partition("\n")[0])),
            {"pid": str(death.pid)},
            summary=_limit_summary(str(death.pid), units),
            fix=_limit_fix(units, target),
            **_as_past(death, served_since, master),
        )
    if unexplained:
        death = unexplained[-1]
        request = _request_of(death, logs)
        if _has_ended(death, request, served_since, master, logs):
            return
        yield Finding(
            "GUN014",
            (*_crash_evidence(unexplained, log, kernel), *((request.evidence,) if request else ())),
            {"pid": str(death.pid), "signal": death.signal},
            summary=Text(
                en=f"Worker {death.pid} ended on {death.signal} while it served {request.method} {request.path}.",
                zh=f"工作进程 {death.pid} 在处理 {request.method} {request.path} 时因 {death.signal} 退出。",
            )
            if request
            else None,
            fix=None if isinstance(target, NotSeen) else (_what_ended(death.signal), target.restart_command),
            **_as_past(death, served_since, master),
        )


def _what_ended(signal: str) -> Text:
    """What to look at, by the signal on which a worker ended."""
    if signal == "SIGKILL":
        return Text(
            en="Find out who sent SIGKILL: an operator, a script, a supervisor, or the kernel (dmesg -T | grep -i kill)"
            ". gunicorn has started another worker; a restart ends this finding, and nothing else needs it",
            zh="查是谁发的 SIGKILL：人工、脚本、守护程序，或内核（dmesg -T | grep -i kill）。"
            "gunicorn 已补了一个工作进程；重启只是让这条提示消失，别无必要",
        )
    return Text(
        en=f"{signal}: native code crashed (torch, onnxruntime, a tokenizer): see dmesg -T and coredumpctl list; set"
        " PYTHONFAULTHANDLER=1 in the service's environment for a traceback at the next one, then restart",
        zh=f"{signal}：本地库崩溃（torch、onnxruntime、分词器），看 dmesg -T 和 coredumpctl list；"
        "在服务环境里设 PYTHONFAULTHANDLER=1，下次崩溃就有堆栈，然后重启",
    )


class _LostRequest(NamedTuple):
    """The request that a worker served when it died: nginx lost its answer in that second."""

    method: str
    path: str
    evidence: Evidence


def _request_of(death: Death, logs: Logs) -> _LostRequest | None:
    lines = [
        (path, entry, request)
        for path, entry in nginx_entries(logs, *_LOST_ANSWER)
        if abs(entry.time - death.entry.time) <= _SAME_MOMENT and (request := request_of(entry.text))
    ]
    if not lines:
        return None
    path, entry, request = lines[-1]
    return _LostRequest(*request, quote(path, entry.text.partition("\n")[0]))


def _has_ended(
    death: Death,
    request: _LostRequest | None,
    served_since: float | None,
    master: Process | None,
    logs: Logs,
) -> bool:
    """Whether a crash of another start's worker is over: such requests have been answered since, or it came while the
    worker loaded the application, which now serves."""
    if death.signal not in _CRASHES or not _as_past(death, served_since, master):
        return False
    if request is None:
        return any(
            death.entry.time - _LOADING <= entry.time <= death.entry.time
            and f"pid: {death.pid}" in entry.text
            for entry in entries_with(logs.gunicorn_error, "Booting worker")
        )
    path = general_path(request.path)
    return any(
        (item.method, item.path) == (request.method, path)
        and item.status < "400"
        and item.last >= int(served_since or 0.0)
        for located in all_traffic(logs)
        for item in located.traffic.answers
    )


def _crash_evidence(
    unexplained: Sequence[Death], log: Log, kernel: KernelLog | NotSeen
) -> Iterator[Evidence]:
    """The newest death's line, those before it, and that the kernel killed nothing."""
    death = unexplained[-1]
    yield quote(log.path, death.entry.text.partition("\n")[0])
    if len(unexplained) > 1:
        others = ", ".join(f"{d.pid} {d.signal}" for d in unexplained[-6:-1])
        yield Evidence(log.path, Text(en=f"before it: {others}", zh=f"此前还有：{others}"))
    if (
        death.signal == "SIGKILL"
        and not isinstance(kernel, NotSeen)
        and not isinstance(kernel.kills, NotSeen)
    ):
        yield Evidence("kernel log", Text(en="no out-of-memory kill of it", zh="没有它因内存不足被杀的记录"))


def _killed_in(unit: Unit) -> tuple[Evidence, ...]:
    """systemd's own word that the kernel killed a process of the unit for lack of memory; empty without it."""
    lines = [line for line in unit.words if "OOM killer" in line or "'oom-kill'" in line]
    if unit.result != "oom-kill" and not lines:
        return ()
    return (
        quote(f"systemctl show {unit.name}", f"{state_words(unit)}, {_limit(unit)}"),
        *(quote(f"journalctl -u {unit.name}", line) for line in lines[-1:]),
    )


def _unlogged_kills(
    own: Unit | None, kernel: KernelLog | NotSeen, log: Log | NotSeen
) -> tuple[KernelKill, ...]:
    """The kernel's kills in the unit's control group of which gunicorn says nothing: of the master, which leaves nobody
    to say it, and of a worker's own children."""
    if own is None or isinstance(kernel, NotSeen) or isinstance(kernel.kills, NotSeen):
        return ()
    logged = () if isinstance(log, NotSeen) else deaths(log)
    return tuple(
        kill
        for kill in kernel.kills
        if own.name in kill.group.split("/")
        and not any(d.pid == kill.pid and abs(d.entry.time - kill.time) <= _ONE_DEATH for d in logged)
    )


def _limit(unit: Unit) -> str:
    return "MemoryMax=infinity" if unit.memory_max is None else f"MemoryMax={unit.memory_max >> 20}M"


def _served_since(
    target: Target | NotSeen, processes: Processes | NotSeen, backend: Backend | NotSeen
) -> float | None:
    """When the running master was started, if the service answers; else None. What was logged before is over."""
    if isinstance(target, NotSeen) or isinstance(processes, NotSeen) or isinstance(backend, NotSeen):
        return None
    answer = backend.health
    if not isinstance(answer, Exchange) or answer.status is None or answer.status >= 500:
        return None
    master = process_of(processes, target.gunicorn_master)
    return master.started if master is not None else None


def _as_past(death: Death, served_since: float | None, master: Process | None) -> dict[str, Any]:
    """How a finding about a death differs if the service has been restarted since: it explains nothing of now. The log
    has whole seconds; within the second of the restart the master that wrote the line decides."""
    if served_since is None or death.entry.time >= int(served_since) + 1:
        return {}
    is_same_second = death.entry.time >= int(served_since)
    if is_same_second and (master is None or death.entry.pid in (None, master.pid)):
        return {}
    return {"severity": Severity.WARN, "explains": ()}


def _limited_unit(units: Units | NotSeen) -> Unit | None:
    """The service's unit, if it has a limit of memory."""
    own = None if isinstance(units, NotSeen) else units.unit(units.service)
    return own if own is not None and own.memory_max is not None else None


def _limit_summary(pid: str, units: Units | NotSeen) -> Text | None:
    own = _limited_unit(units)
    if own is None:
        return None
    limit = _limit(own)
    return Text(
        en=f"The kernel killed worker {pid}, because {own.name} reached its limit of memory, {limit}.",
        zh=f"{own.name} 达到了内存上限 {limit}，内核杀掉了工作进程 {pid}。",
    )


def _limit_fix(units: Units | NotSeen, target: Target | NotSeen) -> tuple[str | Text, ...] | None:
    """Steps where the unit's own limit is what is reached; None for the catalogue's."""
    own = _limited_unit(units)
    if own is None or isinstance(target, NotSeen):
        return None
    limit = _limit(own)
    return (
        Text(
            en=f"Raise {limit} of {own.name}, if the machine has the memory (systemctl edit {own.name}); or set"
            " fewer workers, or preload_app = True so that they share the model",
            zh=f"如果机器内存够用，调大 {own.name} 的 {limit}（systemctl edit {own.name}）；否则减少 workers，"
            "或设 preload_app = True 共享模型",
        ),
        target.restart_command,
    )


CHECKS = (died,)
