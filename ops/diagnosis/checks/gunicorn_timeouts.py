"""Judge of the workers that gunicorn ended for exceeding its timeout, and of what they waited for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ops.diagnosis.checks.log_reading import (
    LocatedEntry,
    Raised,
    entries_with,
    innermost_own,
    last_quote,
    nginx_entries,
    raised_in,
)
from ops.diagnosis.finding import Evidence, Finding, check, quote, seen
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Process, Processes
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.target import Target
from ops.interpret.gunicorn import arguments, process_of, setting
from ops.interpret.nginx_error_line import own_words, request_of
from ops.interpret.traffic import all_traffic, general_path, service_traffic, users_traffic
from ops.text.language import Text, verbatim

if TYPE_CHECKING:
    from ops.diagnosis.checks.app_process import Circumstances

# Seconds between the lines that several programs write about one event: log times are whole seconds.
_SAME_MOMENT = 2.0


@check(
    "gunicorn.timeouts", "GUN004", en="no worker is killed for taking too long", zh="没有工作进程因超时被杀"
)
def timeouts(logs: Logs, gunicorn: Gunicorn, processes: Processes, target: Target) -> Iterator[Finding]:
    """GUN004: the master that runs now, with the settings it has now, has logged 'WORKER TIMEOUT' in the window."""
    log = seen(logs.gunicorn_error)
    master = process_of(processes, target.gunicorn_master)
    entries = of_this_master(log, entries_with(log, "WORKER TIMEOUT"), master)
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
        and abs(raised.entry.time - entries[-1].time) <= _SAME_MOMENT
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
        and abs(raised.entry.time - entries[-1].time) <= _SAME_MOMENT
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
    path = verbatim(served[1]) if served else Text(en="a request", zh="一个请求")
    return _Wait(
        (
            quote(log.path, raised.entry.text.partition("\n")[0]),
            quote(raised.where, line),
            *forked_evidence(around),
        ),
        Text(
            en=f"A worker waited for another thread until gunicorn ended it, serving {path.en}, at"
            f" {raised.where}: {line}. The application is loaded before the fork (preload_app), so the thread that it"
            " waits for, or that holds the lock, most likely is in the master alone.",
            zh=f"一个工作进程在处理 {path.zh} 时一直等待另一个线程，直到被 gunicorn 结束，位置 {raised.where}：{line}。"
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
        and abs(raised.entry.time - last) <= _SAME_MOMENT
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


def of_this_master(log: Log, entries: tuple[LogEntry, ...], master: Process | None) -> tuple[LogEntry, ...]:
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
        if abs(entry.time - time) <= _SAME_MOMENT and "upstream" in own_words(entry.text)
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
        if raised.exception.startswith("SystemExit") and abs(raised.entry.time - last) <= _SAME_MOMENT
    ]
    for raised in aborted[-1:]:
        yield Evidence(
            raised.where,
            Text(en="the worker was here when it was ended", zh="工作进程被结束时正执行到这里"),
        )


CHECKS = (timeouts,)
