"""Judges of gunicorn's workers that hang, that do not start to serve, or that refuse over a limit of their own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ops.diagnosis.checks.gunicorn_capacity import by_its_record, share_hangs
from ops.diagnosis.checks.log_reading import entries_with, service_logs
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.logs import Logs
from ops.facts.probes import Activity, Backend, Exchange, Front
from ops.facts.target import Target
from ops.interpret.progress import silence, stuck_for
from ops.interpret.traffic import judged_since, service_traffic
from ops.text.duration import age, age_zh
from ops.text.language import Text, in_seconds


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


CHECKS = (stuck, booting, own_limit)
