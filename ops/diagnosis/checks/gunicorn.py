"""Judges of gunicorn: its master, timeouts, capacity, settings and port."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ops.diagnosis.checks.gunicorn_settings import KNOWN_SETTINGS, MEANT
from ops.diagnosis.checks.log_reading import (
    LocatedEntry,
    Raised,
    entries_with,
    innermost_own,
    last_quote,
    nginx_entries,
    raised_in,
)
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, check, quote, seen
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig, ProgressRecord
from ops.facts.host import Process, Processes
from ops.facts.logs import AccessLog, Log, LogEntry, Logs
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Activity, Backend, Exchange, Repeats
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
    setting,
    wsgi,
)
from ops.interpret.nginx_error_line import own_words, request_of, upstream
from ops.interpret.progress import all_stuck, beat_age, in_flight_ages, stuck_for
from ops.interpret.service_name import is_service, serves
from ops.interpret.traffic import all_traffic, general_path, judged_since, service_traffic, users_traffic
from ops.text.duration import age, age_zh
from ops.text.language import Text, in_seconds, listed

if TYPE_CHECKING:
    from ops.diagnosis.checks.app_process import Circumstances

# Seconds between the lines that several programs write about one event: log times are whole seconds.
SAME_MOMENT = 2.0
# So many users, and so large a share of them, meet a full queue by no accident.
_FEW_REFUSED, _REFUSED_SHARE = 3, 0.01
_STOPPED = ("stopped", "tracing-stop")
# The master looks at its workers once a second (gunicorn: arbiter.py), here with as much again for a busy host.
_MASTER_LOOKS_EVERY = 2.0
# A worker that uses more than this share of a core while observed is spinning; otherwise it is blocked.
SPINNING = 0.8
# Requests that the front door's probes add to those a worker completes: plain, health, prediction, redirects.
PROBES_THROUGH_NGINX = 4
SLOW_HEALTH = 1.0


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
    "gunicorn.timeouts", "GUN004", en="no worker is killed for taking too long", zh="没有工作进程因超时被杀"
)
def timeouts(logs: Logs, gunicorn: Gunicorn, processes: Processes, target: Target) -> Iterator[Finding]:
    """GUN004: the master that runs now, with the settings it has now, has logged 'WORKER TIMEOUT' in the window."""
    log = seen(logs.gunicorn_error)
    master = process_of(processes, target.gunicorn_master)
    entries = _of_this_master(log, entries_with(log, "WORKER TIMEOUT"), master)
    if not entries:
        return
    limit = setting("timeout", "timeout", arguments(master), gunicorn.config)
    # For a healthy run these modules' patterns need not be compiled.
    from ops.diagnosis.checks.app_exceptions import running_circumstances

    around = running_circumstances(logs, gunicorn, processes, target)
    awaited = _asked_itself(logs, log, entries) or _waits_after_the_fork(logs, log, entries, around, target)
    # What a long request did is told in place of how to find it out; the catalogue's other steps remain.
    interrupted = None if awaited else _was_interrupted(log, entries, limit)
    more = awaited or interrupted
    yield Finding(
        "GUN004",
        (
            last_quote(log.path, entries),
            *_cut_off(logs, log, entries),
            *(more.evidence if more else ()),
        ),
        {"count": str(len(entries)), "timeout": f"{limit if limit is not None else 30} s"},
        summary=more.words if more else None,
        fix=(*awaited.steps, target.restart_command) if awaited else None,
        fix_first=interrupted.steps if interrupted else (),
    )


def _was_interrupted(log: Log, entries: tuple[LogEntry, ...], limit: object) -> _Wait | None:
    """What the worker that was ended last was doing, if its traceback shows it."""
    from ops.diagnosis.checks.gunicorn_waits import interrupted_work

    aborted = [
        raised
        for raised in raised_in(log)
        if raised.exception.startswith("SystemExit")
        and abs(raised.entry.time - entries[-1].time) <= SAME_MOMENT
        and _SERVED_REQUEST.search(raised.entry.text)
    ]
    served = _SERVED_REQUEST.search(aborted[-1].entry.text) if aborted else None
    work = interrupted_work(aborted[-1], served[1]) if served else None
    if work is None:
        return None
    seconds = limit if limit is not None else 30
    return _Wait(
        work.evidence,
        Text(
            en=f"gunicorn killed workers {len(entries)} times for exceeding the timeout of {seconds} s:"
            f" {work.words.en}.",
            zh=f"gunicorn 有 {len(entries)} 次因超过 {seconds} 秒的 timeout 结束工作进程：{work.words.zh}。",
        ),
        work.steps,
    )


def _waits_after_the_fork(
    logs: Logs, log: Log, entries: tuple[LogEntry, ...], around: Circumstances, target: Target
) -> _Wait | None:
    """Why workers exceed the timeout, if the master loads the application and has threads of its own, and a worker
    waited for a thread when it was ended, or did not heed SIGABRT (a library's code), for a path that was never
    answered: what waits for a thread that is in the master alone is never answered."""
    if not around.lost_threads:
        return None
    waits = [
        raised
        for raised in raised_in(log)
        if raised.exception.startswith("SystemExit")
        and abs(raised.entry.time - entries[-1].time) <= SAME_MOMENT
        and _ended_in_a_wait(raised.entry.text)
    ]
    if waits:
        served = _SERVED_REQUEST.search(waits[-1].entry.text)
        is_answered = served is not None and _is_answered(logs, served[1])
        return None if is_answered else _waits_for_a_thread(waits[-1], log, around, target)
    pids = {match[1] for entry in entries for match in [re.search(r"\(pid:(\d+)\)", entry.text)] if match}
    killed = [
        entry
        for entry in entries_with(log, "was sent SIGKILL")
        if any(f"(pid:{pid})" in entry.text for pid in pids)
    ]
    asked = [
        request.path
        for _, entry in _closed_connections(logs, entries[-1].time)
        if (request := request_of(entry.text)) is not None
    ]
    if not killed or not asked or any(_is_answered(logs, path) for path in asked):
        return None
    return _hung_in_a_library(killed, asked[-1], len(entries), log, around, target)


def _is_answered(logs: Logs, path: str) -> bool:
    """Whether any request for a path was answered by the application."""
    return any(
        item.path == general_path(path) and "100" <= item.status < "499"
        for located in all_traffic(logs)
        for item in located.traffic.answers
    )


def _hung_in_a_library(
    killed: list[LogEntry], path: str, count: int, log: Log, around: Circumstances, target: Target
) -> _Wait:
    from ops.diagnosis.checks.app_process import forked_evidence, forked_steps

    return _Wait(
        (last_quote(log.path, killed), *forked_evidence(around)),
        Text(
            en=f"gunicorn killed workers {count} times: they were inside a library, serving {path}, and did not heed"
            " SIGABRT; no request for it was answered. The application is loaded, and the library's threads are"
            " started, before the fork (preload_app): they may wait for threads that only the master has, or compute"
            " for longer than the timeout.",
            zh=f"gunicorn 有 {count} 次强制结束工作进程：它们处理 {path} 时停在某个库里，对 SIGABRT 没有反应；该路径"
            "没有任何请求得到应答。应用在 fork 之前加载（preload_app），库的线程那时已经启动：工作进程可能在等只存在于"
            "主进程里的线程，也可能是计算超过了 timeout。",
        ),
        (
            Text(
                en=f"See which: while a worker serves {path}, top shows it near 0 % of a core if it waits, near 100 %"
                " if it computes (then give it more timeout, or less to compute). If it waits:",
                zh=f"先判断：工作进程处理 {path} 时看 top，等待时 CPU 接近 0%，计算时接近 100%"
                "（那就调大 timeout 或减少计算量）。如果是等待：",
            ),
            *forked_steps(around, target)[:-1],
        ),
    )


_ABORTED = re.compile(r'\n\s*File "[^"\n]*", line \d+, in handle_abort')
# A lock has no frame of its own: the application's line is the last.
_TAKES_A_LOCK = re.compile(
    r"\bwith [\w.]{0,80}(?i:lock|mutex|semaphore)\w{0,80}\s*:|(?i:lock|mutex|semaphore)\w{0,80}\.acquire\("
)
# Threads that were lost in a fork are joined at once; an executor joins the ones that it has started here.
_JOINS = re.compile(
    r'/(?:threading\.py", line \d+, in join|concurrent/futures/thread\.py", line \d+, in shutdown)\b'
)


def _ended_in_a_wait(text: str) -> bool:
    """Whether the code that gunicorn's handle_abort interrupted waited for another thread: in one of Python's modules
    for threads, which the application called, or at a lock."""
    before = _ABORTED.split(text)[0]
    line = innermost_own(before)
    if not line or before == text or _JOINS.search(before):
        return False
    from ops.diagnosis.checks.app_process import waits_in_a_thread_module

    is_last = before.rstrip().endswith(line)
    return waits_in_a_thread_module(before) or (is_last and bool(_TAKES_A_LOCK.search(line)))


def _waits_for_a_thread(raised: Raised, log: Log, around: Circumstances, target: Target) -> _Wait:
    from ops.diagnosis.checks.app_process import forked_evidence, forked_steps

    line = innermost_own(raised.entry.text)
    served = _SERVED_REQUEST.search(raised.entry.text)
    path = served[1] if served else "?"
    return _Wait(
        (
            quote(log.path, raised.entry.text.partition("\n")[0]),
            quote(raised.where, line),
            *forked_evidence(around),
        ),
        Text(
            en=f"A worker waited for another thread until gunicorn ended it, serving {path}, at {raised.where}: {line}."
            " The application is loaded before the fork (preload_app), so the thread that it waits for, or that holds"
            " the lock, most likely is in the master alone.",
            zh=f"一个工作进程在处理 {path} 时一直等待另一个线程，直到被 gunicorn 结束，位置 {raised.where}：{line}。"
            "应用在 fork 之前加载（preload_app），它等的线程（或持有锁的线程）很可能只存在于主进程里。",
        ),
        forked_steps(around, target)[:1],
    )


# Frames of HTTP clients: the standard library's, urllib3 (requests), httpx, aiohttp.
_HTTP_CLIENT = re.compile(
    r'File "[^"]*/(?:http/client|urllib3/\w+|httpcore/[\w/]+|httpx/\w+|aiohttp/client\w*)\.py"'
)
_SERVED_REQUEST = re.compile(r"(?:Error handling request|Exception on) (?:[A-Z]+ )?(/[^\s?]*)")


class _Wait(NamedTuple):
    """What workers wait for until they exceed the timeout: the evidence, the summary, the steps."""

    evidence: tuple[Evidence, ...]
    words: Text
    steps: tuple[str | Text, ...]


def _asked_itself(logs: Logs, log: Log, entries: tuple[LogEntry, ...]) -> _Wait | None:
    """Why workers exceed the timeout, if they waited for an HTTP answer when they were ended, and requests for other
    paths came to the service past nginx: the service asks itself, and no worker is left to answer."""
    last = entries[-1].time
    waits = [
        raised
        for raised in raised_in(log)
        if raised.exception.startswith("SystemExit")
        and abs(raised.entry.time - last) <= SAME_MOMENT
        and _HTTP_CLIENT.search(raised.entry.text)
    ]
    own = service_traffic(logs)
    users = users_traffic(logs)[:1]
    if not waits or own is None or not users:
        return None
    through = {(item.method, item.path) for located in users for item in located.traffic.answers}
    past = [
        item
        for item in own.traffic.answers
        if (item.method, item.path) not in through and item.status < "400"
    ]
    served = _SERVED_REQUEST.search(waits[-1].entry.text)
    if not past or served is None:
        return None
    path, asked = served[1], f"{past[0].method} {past[0].path}"
    return _Wait(
        (
            quote(log.path, waits[-1].entry.text.partition("\n")[0]),
            Evidence(
                own.path,
                Text(
                    en=f"{past[0].count} x {asked}: not in nginx's access log, so they come from this host",
                    zh=f"{past[0].count} 次 {asked}：nginx 访问日志里没有，来自本机",
                ),
            ),
        ),
        Text(
            en=f"gunicorn ended workers {len(entries)} times that served {path} and waited there for an HTTP answer:"
            f" the service asks itself for {asked}, and no worker is left to answer.",
            zh=f"gunicorn 有 {len(entries)} 次结束了正在处理 {path} 并等待 HTTP 应答的工作进程；"
            f"服务在请求自己的 {asked}，而没有空闲的工作进程来应答。",
        ),
        (
            Text(
                en=f"In the code of {path} call the function behind {asked} in place of its URL; until then give"
                " the service more workers than requests that wait so (workers, or worker_class gthread with threads)",
                zh=f"在 {path} 的代码里直接调用 {asked} 背后的函数，不要走 URL；"
                "在此之前让工作进程（或线程）多于这样等待的请求（workers，或 worker_class 为 gthread 并设 threads）",
            ),
        ),
    )


def _of_this_master(log: Log, entries: tuple[LogEntry, ...], master: Process | None) -> tuple[LogEntry, ...]:
    """The entries since the master was started, or told to read its settings anew (SIGHUP). Those of the very second
    are the running master's if they have its pid."""
    if master is None:
        return entries
    second = int(master.started)
    reloads = [entry.time for entry in entries_with(log, "Handling signal: hup") if entry.pid == master.pid]
    reloaded = max(reloads, default=0.0)
    return tuple(
        entry
        for entry in entries
        if entry.time > reloaded
        and (entry.time >= second + 1 or (entry.time >= second and entry.pid in (master.pid, None)))
    )


def _closed_connections(logs: Logs, time: float) -> list[LocatedEntry]:
    """nginx's complaints of that moment about connections that the service closed before it answered."""
    return [
        (path, entry)
        for path, entry in nginx_entries(logs, "prematurely closed connection", "Connection reset by peer")
        if abs(entry.time - time) <= SAME_MOMENT and "upstream" in own_words(entry.text)
    ]


def _cut_off(logs: Logs, log: Log, entries: tuple[LogEntry, ...]) -> Iterator[Evidence]:
    """Quote the newest request that ended with its worker: nginx's complaint of that moment, and where the worker was
    (gunicorn's handle_abort raises SystemExit in the code that runs)."""
    last = entries[-1].time
    closed = _closed_connections(logs, last)
    yield from (quote(path, entry.text.partition("\n")[0]) for path, entry in closed[-1:])
    aborted = [
        raised
        for raised in raised_in(log)
        if raised.exception.startswith("SystemExit") and abs(raised.entry.time - last) <= SAME_MOMENT
    ]
    for raised in aborted[-1:]:
        yield Evidence(
            raised.where,
            Text(en="the worker was here when it was ended", zh="工作进程被结束时正执行到这里"),
        )


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
    entries = _of_this_master(log, entries_with(log, "WORKER TIMEOUT"), master)
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
        backend.health.failure is ProbeFailure.TIMEOUT or backend.health.elapsed > SLOW_HEALTH
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
    own = sum(isinstance(x, Exchange) and x.status is not None for x in exchanges) + PROBES_THROUGH_NGINX
    counted = [w.completed[1] - w.completed[0] for w in activity.workers if w.completed]
    completions = sum(counted) if sum(counted) > own else activity.others_completed
    if completions:
        return Evidence(
            "progress records" if counted else target.gunicorn_access_log or "?",
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
            and (worker.cpu[1] - worker.cpu[0]) / activity.seconds > SPINNING
        ):
            states.append((worker.pid, Text(en="spinning (uses a whole core)", zh="空转（占满一个核）")))
        else:
            states.append((worker.pid, Text(en="blocked (uses no CPU)", zh="阻塞（不占 CPU）")))
    return states


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


CHECKS = (master, timeouts, capacity, settings, port, shared_port)
