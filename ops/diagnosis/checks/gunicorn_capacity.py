"""Judge of whether requests queue or hang while the service accepts their connections."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.diagnosis.checks.gunicorn_timeouts import of_this_master
from ops.diagnosis.checks.log_reading import (
    entries_with,
    nginx_entries,
)
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, ProgressRecord
from ops.facts.host import Processes
from ops.facts.logs import AccessLog, Logs
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Activity, Backend, Exchange, Repeats
from ops.facts.target import Target
from ops.interpret.gunicorn import (
    arguments,
    foreign_holders,
    process_of,
    setting,
)
from ops.interpret.nginx_error_line import own_words, upstream
from ops.interpret.progress import all_stuck, beat_age, in_flight_ages, stuck_for
from ops.interpret.traffic import judged_since, users_traffic
from ops.text.duration import age, age_zh
from ops.text.language import Text, in_seconds, listed

# So many users, and so large a share of them, meet a full queue by no accident.
_FEW_REFUSED, _REFUSED_SHARE = 3, 0.01
_STOPPED = ("stopped", "tracing-stop")
# The master looks at its workers once a second (gunicorn: arbiter.py), here with as much again for a busy host.
_MASTER_LOOKS_EVERY = 2.0
# A worker that uses more than this share of a core while observed is spinning; otherwise it is blocked.
_SPINNING = 0.8
# Requests that the front door's probes add to those a worker completes: plain, health, prediction, redirects.
_PROBES_THROUGH_NGINX = 4
_SLOW_HEALTH = 1.0


@check(
    "gunicorn.capacity",
    "GUN006",
    "GUN007",
    en="the service answers, and requests complete",
    zh="服务有应答，请求能够完成",
)
def capacity(
    target: Target,
    backend: Backend,
    activity: Activity,
    processes: Processes,
    logs: Logs | NotSeen,
    gunicorn: Gunicorn | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """GUN006: requests queue while others complete. GUN007: connections are accepted, and no request completes."""
    full = _full_queue(logs, target, backend)
    if full is not None and (done := _completions(target, activity, backend, logs, taken_at)) is not None:
        yield Finding("GUN006", (full, done), {"queued": "?"}, summary=_FULL)
        return
    if _is_another_cause(target, backend, activity, processes, taken_at):
        return
    unanswered = [
        x
        for x in (backend.health, backend.predict)
        if isinstance(x, Exchange) and x.failure is ProbeFailure.TIMEOUT
    ]
    completes = _completions(target, activity, backend, logs, taken_at)
    queues = _queue_evidence(target, backend, activity, completes)
    states = _states(target, activity, processes)
    states_text = listed(words for _, words in states)
    # SIGCONT resumes a stopped process (state T); a restart would lose the requests in progress.
    ours = (target.gunicorn_master, *target.gunicorn_workers)
    stopped = tuple(str(p.pid) for p in processes.processes if p.pid in ours and p.state == "stopped")
    fix = (f"kill -CONT {' '.join(stopped)}",) if stopped else None
    accepted = Evidence(f"tcp {target.backend}", Text(en="the connection is accepted", zh="连接被接受"))
    if stuck := _past_deadline(activity, target, taken_at):
        pids = ", ".join(str(record.pid) for record in activity.progress)
        waited = in_seconds(f"{target.request_deadline:.0f}")
        facts: dict[str, str | Text] = {"pids": pids, "waited": waited, "states": states_text}
        yield Finding("GUN007", (accepted, *stuck), facts, fix=fix)
    elif queues:
        queued = max((count for count in activity.queued if count), default=0)
        yield Finding("GUN006", (*((full,) if full else ()), *queues), {"queued": str(queued)})
    elif (
        unanswered
        and completes is None
        and not _some_answer(backend)
        and not _master_ends_them(logs, gunicorn, processes, target, taken_at)
    ):
        longest = max(x.elapsed for x in unanswered)
        silent = _silence_evidence(target, backend, unanswered[0], longest)
        records = (
            by_its_record(record, taken_at + activity.seconds)
            for record in activity.progress
            if stuck_for(record, taken_at + activity.seconds, longest)
        )
        by_state = (Evidence(f"pid {pid}", words) for pid, words in states)
        pids = ", ".join(str(pid) for pid, _ in states) or "?"
        facts = {"pids": pids, "waited": in_seconds(f"{longest:.1f}"), "states": states_text}
        yield Finding("GUN007", (accepted, silent, *records, *by_state), facts, fix=fix)


def _master_ends_them(
    logs: Logs | NotSeen, gunicorn: Gunicorn | NotSeen, processes: Processes, target: Target, taken_at: float
) -> bool:
    """Whether the master ends every worker that does not answer (GUN004): each was ended by its timeout, or was
    started since one was and has not lived for longer than the timeout itself; and the newest such end is no older than
    that. False without workers: there is none to end."""
    master = process_of(processes, target.gunicorn_master)
    if isinstance(logs, NotSeen) or isinstance(logs.gunicorn_error, NotSeen) or isinstance(gunicorn, NotSeen):
        return False
    log = logs.gunicorn_error
    entries = of_this_master(log, entries_with(log, "WORKER TIMEOUT"), master)
    workers = [p for p in processes.processes if p.pid in target.gunicorn_workers]
    if (
        not entries
        or not workers
        or master is None
        or any(process.state in _STOPPED for process in (master, *workers))
    ):
        return False
    limit = setting("timeout", "timeout", arguments(master), gunicorn.config)
    longest = (float(limit) if re.fullmatch(r"\d{1,9}(\.\d*)?", str(limit)) else 30.0) + _MASTER_LOOKS_EVERY
    ended = " ".join(entry.text for entry in entries)
    # The master looks once more before the place of the one that it ended is taken.
    is_recent = taken_at - entries[-1].time <= longest + _MASTER_LOOKS_EVERY
    return is_recent and all(
        f"(pid:{worker.pid})" in ended
        or (worker.started >= entries[0].time and taken_at - worker.started <= longest)
        for worker in workers
    )


_FULL = Text(
    en="The queue of the service's socket is full: nginx's connections are refused while the workers are busy.",
    zh="后端 socket 的排队已满：工作进程都在忙，nginx 的新连接被拒绝。",
)


def _full_queue(logs: Logs | NotSeen, target: Target, backend: Backend) -> Evidence | None:
    """Quote nginx's newest complaint that a unix socket's queue had no room (unix(7): connect(2) fails with EAGAIN,
    where TCP makes clients wait); None unless the doctor met it too, or a share of the users did."""
    if isinstance(logs, NotSeen) or not target.backend.startswith("unix:"):
        return None
    users = users_traffic(logs)[:1]
    refused = sum(item.count for located in users for item in located.answers("502"))
    total = sum(item.count for located in users for item in located.traffic.answers)
    if backend.connection.failure is None and refused < max(_FEW_REFUSED, _REFUSED_SHARE * total):
        return None
    entries = [
        (path, entry)
        for path, entry in nginx_entries(logs, "failed (11: Resource temporarily unavailable)")
        if target.backend in f"{own_words(entry.text)} {upstream(entry.text)}"
        and not is_of_earlier_worker(entry, judged_since(logs), logs)
    ]
    return quote(entries[-1][0], entries[-1][1].text.partition("\n")[0]) if entries else None


def _is_another_cause(
    target: Target, backend: Backend, activity: Activity, processes: Processes, taken_at: float
) -> bool:
    """Whether a cause other than capacity, which another judge reports, explains the silence."""
    hangs = [stuck_for(r, taken_at, target.request_deadline) for r in activity.progress]
    # Some workers hang and others do not: GUN015, by their records or by our probes.
    some_hang = any(hangs) and not all_stuck(activity.progress, taken_at, target.request_deadline)
    # No worker serves yet: within the boot deadline that is normal, after it GUN017.
    boots = activity.workers and all(worker.has_beaten is False for worker in activity.workers)
    return (
        backend.connection.failure is not None
        or bool(foreign_holders(processes, target))
        or some_hang
        or share_hangs(activity, backend) is not None
        or bool(boots)
    )


def _queue_evidence(
    target: Target, backend: Backend, activity: Activity, completes: Evidence | None
) -> tuple[Evidence, ...]:
    """Evidence that requests queue while others complete; empty if they do not."""
    ready = backend.ready.json() if isinstance(backend.ready, Exchange) else None
    saturated = isinstance(ready, dict) and ready.get("reason") == "saturated"
    queued = [count for count in activity.queued if count]
    slow = isinstance(backend.health, Exchange) and (
        backend.health.failure is ProbeFailure.TIMEOUT or backend.health.elapsed > _SLOW_HEALTH
    )
    if not saturated and not (len(queued) == 2 and slow and completes):
        return ()
    evidence = (
        quote(f"GET {target.backend}{target.ready_path}", "saturated") if saturated else None,
        quote(f"ss -ltn {target.backend}", f"Recv-Q {max(queued)}") if queued else None,
        completes,
    )
    return tuple(filter(None, evidence))


def _silence_evidence(target: Target, backend: Backend, first: Exchange, waited: float) -> Evidence:
    path = target.health_path if first is backend.health else target.predict_path
    return Evidence(
        f"{first.method} {target.backend}{path}",
        Text(en=f"no answer in {waited:.1f} s", zh=f"{waited:.1f} 秒内没有应答"),
    )


def share_hangs(activity: Activity, backend: Backend | NotSeen) -> Repeats | None:
    """The repeated probes if a share of them provably hangs for ever: some workers hold such a request and can never
    run again, while others answer at once. Otherwise None: a slow answer is no hang."""
    repeats = None if isinstance(backend, NotSeen) else backend.repeats
    if repeats is None or not activity.hanging or not repeats.answered or not repeats.unanswered:
        return None
    return repeats if max(repeats.answered) < min(repeats.unanswered) else None


def _some_answer(backend: Backend) -> bool:
    """Whether some of the repeated probes, which reach every worker, are answered and some are not: then the service
    does answer, whatever the others wait for."""
    return backend.repeats is not None and bool(backend.repeats.answered and backend.repeats.unanswered)


def _past_deadline(activity: Activity, target: Target, now: float) -> tuple[Evidence, ...]:
    """Proof by the workers' records that each of them is stuck: its oldest request has been in flight for longer than
    the deadline, and none completed for as long. Empty if any of them is not."""
    if not all_stuck(activity.progress, now, target.request_deadline):
        return ()
    return tuple(by_its_record(record, now) for record in activity.progress)


def by_its_record(record: ProgressRecord, now: float) -> Evidence:
    """Evidence from a stuck worker's own progress record."""
    blocked = beat_age(record, now)
    if blocked is not None:
        return Evidence(
            f"progress record {record.pid}",
            Text(
                en=f"its event loop has not run for {age(blocked)}, with {len(record.in_flight)} requests in flight",
                zh=f"事件循环已 {age_zh(blocked)}没有运行，有 {len(record.in_flight)} 个请求在处理",
            ),
        )
    oldest = max(in_flight_ages(record, now))
    return Evidence(
        f"progress record {record.pid}",
        Text(
            en=f"{len(record.in_flight)} requests in flight for up to {age(oldest)}, none completed since",
            zh=f"{len(record.in_flight)} 个请求处理中，最久的已 {age_zh(oldest)}；其间没有完成任何请求",
        ),
    )


def _completions(
    target: Target, activity: Activity, backend: Backend, logs: Logs | NotSeen, taken_at: float
) -> Evidence | None:
    """Proof that requests complete: the workers' records count more than our probes, others' were seen to complete, or
    the log has a prediction."""
    exchanges = (backend.health, backend.ready, backend.predict, backend.debugger)
    own = sum(isinstance(x, Exchange) and x.status is not None for x in exchanges) + _PROBES_THROUGH_NGINX
    counted = [w.completed[1] - w.completed[0] for w in activity.workers if w.completed]
    completions = sum(counted) if sum(counted) > own else activity.others_completed
    if completions:
        return Evidence(
            "progress records" if counted else target.gunicorn_access_log or "gunicorn",
            Text(
                en=f"{completions} requests completed in {activity.seconds:.1f} s",
                zh=f"{activity.seconds:.1f} 秒内完成了 {completions} 个请求",
            ),
        )
    log = NotSeen(reason="") if isinstance(logs, NotSeen) else logs.gunicorn_access
    # Log times are whole seconds, rounded down: this one was answered after the probes began.
    if isinstance(log, AccessLog) and log.last_prediction is not None and log.last_prediction >= taken_at:
        return Evidence(log.path, Text(en="predictions were answered meanwhile", zh="其间有预测请求得到应答"))
    return None


def _states(target: Target, activity: Activity, processes: Processes) -> list[tuple[int, Text]]:
    """State of each stuck process: stopped, deadlocked, spinning or blocked."""
    states: list[tuple[int, Text]] = []
    master = process_of(processes, target.gunicorn_master)
    if master is not None and master.state in _STOPPED:
        states.append((master.pid, Text(en="stopped (state T)", zh="已暂停（状态 T）")))
    for worker in activity.workers:
        if worker.state in _STOPPED:
            states.append((worker.pid, Text(en="stopped (state T)", zh="已暂停（状态 T）")))
        elif worker.pid in activity.deadlocked:
            words = Text(
                en="deadlocked (its threads wait for each other, without a time limit)",
                zh="死锁（线程互相等待，且没有超时）",
            )
            states.append((worker.pid, words))
        elif (
            worker.cpu
            and activity.seconds > 0
            and (worker.cpu[1] - worker.cpu[0]) / activity.seconds > _SPINNING
        ):
            states.append((worker.pid, Text(en="spinning (uses a whole core)", zh="空转（占满一个核）")))
        else:
            states.append((worker.pid, Text(en="blocked (uses no CPU)", zh="阻塞（不占 CPU）")))
    return states


CHECKS = (capacity,)
