"""Judges of gunicorn's workers: those that died, and those that hang."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ops.diagnosis.checks.gunicorn_capacity import by_its_record, share_hangs
from ops.diagnosis.checks.gunicorn_configuration import place_of, with_number
from ops.diagnosis.checks.log_reading import entries_with, nginx_entries, service_logs
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote, seen
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Host, Process, Processes
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.machine import KernelKill, KernelLog, OomCounter
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Activity, Backend, Exchange, Front
from ops.facts.safeguards import Schedule, WatchdogFacts
from ops.facts.target import Target
from ops.facts.units import Unit, Units
from ops.interpret.gunicorn import arguments, process_of, setting
from ops.interpret.nginx_error_line import request_of
from ops.interpret.progress import silence, stuck_for
from ops.interpret.traffic import all_traffic, general_path, judged_since, service_traffic
from ops.interpret.units import state_words
from ops.text.duration import age, age_zh
from ops.text.language import Text, in_seconds

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
ONE_DEATH = 30.0
# Seconds. A watchdog action can explain a death for this long: it first asks a process to end, and kills it later.
WATCHDOG_REACH = 120.0
# Seconds. A stopping master kills the remaining workers after its graceful timeout.
SHUTDOWN = 60.0
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
        (k for k in kernel.kills if k.pid == death.pid and abs(k.time - death.entry.time) <= ONE_DEATH), None
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
        is_recent = -1.0 <= at - action.time <= WATCHDOG_REACH
        if is_recent and (action.pid == death.pid or action.rung in ("restart", "reload")):
            return True
    stops = entries_with(log, "Handling signal: term", "Handling signal: int", "Handling signal: quit")
    return any(
        0 <= at - entry.time <= SHUTDOWN and not (started is not None and entry.time < started <= at)
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
        and not any(d.pid == kill.pid and abs(d.entry.time - kill.time) <= ONE_DEATH for d in logged)
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


@check(
    "gunicorn.stuck",
    "GUN015",
    en="no worker is stuck while others serve",
    zh="没有工作进程在其他进程正常时卡死",
)
def stuck(
    target: Target, activity: Activity, backend: Backend | NotSeen, taken_at: float
) -> Iterator[Finding]:
    """GUN015: by its own record a worker has exceeded the request deadline and completes nothing, while another has
    completed requests since the wait began. Without records: a share of the repeated probes hangs, in workers whose
    threads can never run again."""
    now = taken_at + activity.seconds
    held_for = {r.pid: stuck_for(r, now, target.request_deadline) for r in activity.progress}
    stuck_workers = [
        (record, seconds) for record in activity.progress if (seconds := held_for[record.pid]) is not None
    ]
    longest = max((seconds for _, seconds in stuck_workers), default=0.0)
    moving = [
        record
        for record in activity.progress
        if held_for[record.pid] is None and silence(record, now, 0.0, longest) < longest
    ]
    if stuck_workers and moving:
        worst, seconds = max(stuck_workers, key=lambda pair: pair[1])
        newest = min(moving, key=lambda record: silence(record, now, 0.0, 0.0))
        yield Finding(
            "GUN015",
            (
                *(by_its_record(record, now) for record, _ in stuck_workers),
                Evidence(
                    f"progress record {newest.pid}",
                    Text(
                        en=f"completed a request {age(silence(newest, now, 0.0, 0.0))} ago",
                        zh=f"{age_zh(silence(newest, now, 0.0, 0.0))}前还完成过请求",
                    ),
                ),
            ),
            {"pid": str(worst.pid), "age": age(seconds)},
        )
    elif not activity.progress and (repeats := share_hangs(activity, backend)):
        pids = ", ".join(str(pid) for pid in activity.hanging)
        missed, total = len(repeats.unanswered), len(repeats.unanswered) + len(repeats.answered)
        waited, quickest = f"{min(repeats.unanswered):.1f}", f"{max(repeats.answered):.2f}"
        yield Finding(
            "GUN015",
            (
                Evidence(
                    f"GET {target.backend}{target.health_path}",
                    Text(
                        en=f"{missed} of {total} had no answer in {waited} s, the others within {quickest} s",
                        zh=f"{total} 次中有 {missed} 次在 {waited} 秒内没有应答，其余在 {quickest} 秒内应答",
                    ),
                ),
                *(
                    Evidence(
                        f"/proc/{pid}/task",
                        Text(
                            en="has taken such a request; its threads wait for each other, without a time limit",
                            zh="接收了这样的请求；它的线程互相等待，且没有超时",
                        ),
                    )
                    for pid in activity.hanging
                ),
            ),
            {"pid": str(activity.hanging[0]), "age": in_seconds(str(waited))},
            summary=Text(
                en=f"Worker {pids} takes requests and will never answer them, while the others serve.",
                zh=f"工作进程 {pids} 接收请求却永远不会应答，其余工作进程正常服务。",
            ),
        )


@check("gunicorn.booting", "GUN017", en="no worker is stuck while booting", zh="没有工作进程卡在启动阶段")
def booting(
    target: Target, processes: Processes, activity: Activity, backend: Backend | NotSeen, taken_at: float
) -> Iterator[Finding]:
    """GUN017: a worker has lived longer than the boot deadline and is not ready: by its own record, if the application
    keeps one and reports when it is ready, or because it has never sent gunicorn's master a heartbeat."""
    records = {record.pid: record for record in activity.progress}
    answer = None if isinstance(backend, NotSeen) else backend.ready
    document = answer.json() if isinstance(answer, Exchange) and answer.status == 503 else None
    loads = isinstance(document, dict) and document.get("reason") == "loading"
    # An application that never reports ready leaves all its workers "booting": then the phase proves no hang.
    reports = loads or any(record.phase != "booting" for record in records.values())
    alive_for = {p.pid: taken_at + activity.seconds - p.started for p in processes.processes}
    hung = []
    for worker in activity.workers:
        record = records.get(worker.pid)
        by_record = record is not None and record.phase == "booting" and reports
        if (by_record or worker.has_beaten is False) and alive_for.get(
            worker.pid, 0.0
        ) > target.boot_deadline:
            hung.append((worker.pid, by_record))
    if hung:
        pid, _ = hung[0]
        yield Finding(
            "GUN017",
            tuple(
                Evidence(
                    f"progress record {each}" if by_record else f"/proc/{each}/fd",
                    Text(
                        en=f"{'phase booting' if by_record else 'no sign of life to its master yet'}, "
                        f"{age(alive_for[each])} after its start",
                        zh=f"启动 {age_zh(alive_for[each])}后"
                        f"{'仍处于 booting 阶段' if by_record else '还没有向主进程报过到'}",
                    ),
                )
                for each, by_record in hung[:8]
            ),
            {"pid": str(pid), "age": age(alive_for[pid])},
        )


# uvicorn, protocols/http: its limit_concurrency is reached.
_OVER_OWN_LIMIT = "Exceeded concurrency limit"


@check(
    "gunicorn.own_limit",
    "GUN021",
    en="the server does not refuse requests over a limit of its own",
    zh="服务器没有因自己的上限拒绝请求",
)
def own_limit(logs: Logs, backend: Backend, front: Front | NotSeen, target: Target) -> Iterator[Finding]:
    """GUN021: the server refuses requests over its own limit, and among them the doctor's single one, or half of the
    users'. To refuse a few under load is what such a limit is for."""
    since = judged_since(logs)
    entries = [
        (log.path, entry)
        for log in service_logs(logs)
        for entry in entries_with(log, _OVER_OWN_LIMIT)
        if not is_of_earlier_worker(entry, since, logs)
    ]
    if not entries:
        return
    asked = (backend.health, backend.predict, *(() if isinstance(front, NotSeen) else (front.predict,)))
    refused = [answer for answer in asked if isinstance(answer, Exchange) and answer.status == 503]
    own = service_traffic(logs)
    users = [item for item in own.answers("503") if 2 * item.count >= own.total_like(item)] if own else []
    if not refused and not users:
        return
    path, newest = entries[-1]
    yield Finding(
        "GUN021",
        (
            quote(path, newest.text.partition("\n")[0]),
            *(
                quote(f"{answer.method} {answer.url}", f"503 {answer.body.partition(chr(10))[0][:80]}")
                for answer in refused[:2]
            ),
            *(
                quote(own.path, f"{item.count} x {item.method} {item.path} 503")
                for item in users[:2]
                if own is not None
            ),
        ),
        {"count": str(len(entries)), "setting": "limit_concurrency"},
        verify=f"grep -rn limit_concurrency {shlex.quote(target.app_dir or '.')} --include=*.py",
    )


# gunicorn's words (workers/base.py), and uvicorn's in its worker (server.py).
_REPLACED = ("Autorestarting worker", "Maximum request limit of")
# Workers that gunicorn replaced within this many seconds are replaced at the present rate.
_RECENT = 300.0
# Fewer replacements are a reload's, or a coincidence.
_MANY = 3
# A worker that lives shorter than this on average is mostly loading, if loading takes seconds.
_SHORT_LIFE = 60.0
# At or above this share of their lives workers do little but load.
_LOADING_SHARE = 0.3
# Seconds that no light request takes once a worker has loaded.
_WAITED = 0.7


@check(
    "gunicorn.replaced",
    "GUN022",
    en="no request waits for a worker's replacement",
    zh="没有请求在等新的工作进程启动",
)
def replaced(
    logs: Logs,
    backend: Backend,
    target: Target,
    processes: Processes,
    gunicorn: Gunicorn | NotSeen,
    front: Front | NotSeen,
    schedule: Schedule | NotSeen,
    host: Host | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """GUN022: gunicorn replaced workers again and again within minutes (max_requests), all of them are young, and a
    probe waited, or loading is a large part of their lives (gunicorn's documentation, max_requests); or it is told to
    reload all the time (`scheduled_reloads`)."""
    log = seen(logs.gunicorn_error)
    master = process_of(processes, target.gunicorn_master)
    waits = _waits(logs, backend, front)
    if master is None:
        return
    if any(entries_with(log, "Handling signal: hup")):
        from ops.diagnosis.checks.gunicorn_reloads import scheduled_reloads

        has_systemd = isinstance(host, Host) and host.has_systemd
        told = scheduled_reloads(log, master, waits, schedule, target, taken_at, has_systemd=has_systemd)
        if told is not None:
            yield told
            return
    since = max(master.started, taken_at - _RECENT)
    ended = [entry for entry in entries_with(log, *_REPLACED) if entry.time >= int(since)]
    workers = [process for process in processes.processes if process.pid in target.gunicorn_workers]
    if len(ended) < _MANY or not workers:
        return
    life = (ended[-1].time - ended[0].time) * len(workers) / (len(ended) - 1)
    oldest = max(taken_at - process.started for process in workers)
    if life > _SHORT_LIFE or oldest > _SHORT_LIFE or taken_at - ended[-1].time > _SHORT_LIFE:
        return
    loads = _loads(log, since)
    mostly_loads = len(loads) >= _MANY and sum(loads) > _LOADING_SHARE * len(loads) * life
    if not waits and not mostly_loads:
        return
    config = gunicorn.config if isinstance(gunicorn, Gunicorn) else None
    place = place_of("max_requests", "max-requests", master, config or NotSeen(reason="-"))
    value = setting("max_requests", "max-requests", arguments(master), config)
    longest = max(exchange.elapsed for exchange in waits) if waits else max(loads)
    yield Finding(
        "GUN022",
        (
            quote(log.path, f"{len(ended)} x {ended[-1].text.partition(chr(10))[0]}"),
            quote(place, f"max_requests = {value}"),
            *(Evidence(f"pid {p.pid}", _started(taken_at - p.started)) for p in workers[:4]),
            *(
                quote(f"{wait.method} {wait.url}", f"{wait.failure or wait.status}, {wait.elapsed:.1f} s")
                for wait in waits[:1]
            ),
            *((_loading(loads, life),) if mostly_loads else ()),
        ),
        {
            "count": str(len(ended)),
            "setting": f"max_requests = {value}",
            "waited": in_seconds(f"{longest:.1f}"),
        },
        summary=None if waits else _mostly_loading(len(ended), f"max_requests = {value}", loads, life),
        fix=_fewer_replacements(config, target) if ":" in place else None,
    )


def _waits(logs: Logs, backend: Backend, front: Front | NotSeen) -> list[Exchange]:
    """The probes that waited: without an answer, light ones, and predictions that took longer than they usually do.
    One whose usual time is not known may take as long with workers that have loaded."""
    doors = (backend,) if isinstance(front, NotSeen) else (backend, front)
    asked = [(probe, 0.0) for probe in (backend.ready, *(door.health for door in doors))]
    known: list[float] = []
    for door in doors:
        if not isinstance(door.predict, Exchange):
            continue
        known += [usual] if (usual := _usual_seconds(logs, door.predict)) is not None else []
        asked.append((door.predict, min(known, default=math.inf)))
        # The front's prediction is the later one: what the first has loaded or cached does not slow it down.
        known += [door.predict.elapsed] if door.predict.status == 200 else []
    return [
        probe
        for probe, usual in asked
        if isinstance(probe, Exchange)
        and (probe.failure is ProbeFailure.TIMEOUT or probe.elapsed > usual + _WAITED)
    ]


def _usual_seconds(logs: Logs, probe: Exchange) -> float | None:
    """The longest median of the answers to users' requests like the probe, in all logs; None if no log has times."""
    path = general_path(urlsplit(probe.url).path)
    return max(
        (
            item.seconds.median
            for located in all_traffic(logs)
            for item in located.traffic.answers
            if (item.method, item.path) == (probe.method, path) and item.status < "400" and item.seconds
        ),
        default=None,
    )


def _loads(log: Log, since: float) -> list[float]:
    """How many seconds each worker took from its fork to uvicorn's word that the application has started."""
    booted = {
        int(match[1]): entry.time
        for entry in entries_with(log, "Booting worker with pid")
        if entry.time >= int(since) and (match := re.search(r"with pid: (\d+)", entry.text))
    }
    return [
        entry.time - booted[entry.pid]
        for entry in entries_with(log, "Application startup complete")
        if entry.pid in booted
    ]


def _loading(loads: list[float], life: float) -> Evidence:
    mean = sum(loads) / len(loads)
    return Evidence(
        "Booting worker, Application startup complete",
        Text(
            en=f"a worker takes {mean:.0f} s to load, and is replaced after {life:.0f} s on average",
            zh=f"一个工作进程加载要 {mean:.0f} 秒，平均 {life:.0f} 秒后就被更换",
        ),
    )


def _mostly_loading(count: int, setting: str, loads: list[float], life: float) -> Text:
    mean = sum(loads) / len(loads)
    return Text(
        en=f"gunicorn has replaced workers {count} times in the last minutes ({setting}): each takes {mean:.0f} s to"
        f" load and is replaced after {life:.0f} s on average, so users wait for loading ones.",
        zh=f"最近几分钟 gunicorn 更换了 {count} 次工作进程（{setting}）：每个加载要 {mean:.0f} 秒，"
        f"平均 {life:.0f} 秒后就被更换，用户会等到还在加载的进程。",
    )


def _started(seconds: float) -> Text:
    return Text(en=f"started {seconds:.1f} s ago", zh=f"{seconds:.1f} 秒前启动")


def _fewer_replacements(
    config: GunicornConfig | NotSeen | None, target: Target
) -> tuple[str | Text, ...] | None:
    """The steps, where a line of gunicorn's file has the setting; None for the catalogue's."""
    if not isinstance(config, GunicornConfig):
        return None
    return (
        *with_number(config, "max_requests", 1000),
        Text(
            en=f"In {config.path} set max_requests_jitter = 100 as well, so that the workers are not replaced at the"
            " same time; if loading is slow, preload_app = True lets a new worker begin with what the master has"
            " loaded",
            zh=f"在 {config.path} 里同时设 max_requests_jitter = 100，避免各工作进程同时重启；"
            "如果加载很慢，preload_app = True 可让新工作进程直接使用主进程已加载的内容",
        ),
        target.restart_command,
    )


CHECKS = (died, stuck, booting, own_limit, replaced)
