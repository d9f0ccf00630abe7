"""What a worker was doing when gunicorn ended it for exceeding the timeout, by the traceback of that moment.

Sources: gunicorn documentation, timeout; workers/base.py (handle_abort raises SystemExit in the code that runs);
requests, httpx and redis-py documentation (no time limit of their own, or an endless one, by default)."""

from __future__ import annotations

import re
from typing import NamedTuple

from ops.diagnosis.checks.log_reading import Raised, innermost_own, package_frame
from ops.diagnosis.finding import Evidence, quote
from ops.text.language import Text

_ABORTED = re.compile(r'\n\s*File "[^"\n]*", line \d+, in handle_abort')
_FILE = re.compile(r'File "([^"\n]+)", line \d+, in (\w+)')
_PACKAGE = re.compile(r"/(?:site|dist)-packages/(\w+)")
# Where Python, or a library in C, waits for another server's bytes.
_SOCKETS = re.compile(
    r"/(?:socket|ssl|selectors|smtplib|ftplib|imaplib)\.py$|/psycopg2?/|/pymongo/|/MySQLdb/"
)
# Where it waits for another process or for nothing but time.
_PROCESSES = re.compile(r"/subprocess\.py$")
_SLEEPS = re.compile(r"\btime\.sleep\(|(?<![\w.])sleep\(")


class InterruptedWork(NamedTuple):
    """What the worker was doing: the evidence, a sentence without its end, and the steps."""

    evidence: tuple[Evidence, ...]
    words: Text
    steps: tuple[str | Text, ...]


def interrupted_work(raised: Raised, path: str) -> InterruptedWork | None:
    """Return what the worker was doing, serving ``path``, when gunicorn's handle_abort interrupted it; None if the
    traceback does not show the application's line."""
    before = _ABORTED.split(raised.entry.text)[0]
    line, frames = innermost_own(before), _FILE.findall(before)
    if not line or not frames or before == raised.entry.text:
        return None
    called = package_frame(before)
    names = _PACKAGE.search(called) if called else None
    package = names[1] if names else None
    evidence = (
        quote(raised.where, line),
        *(
            (Evidence(called, Text(en="the package's code that it called", zh="它调用的依赖包代码")),)
            if called
            else ()
        ),
    )
    if _SOCKETS.search(frames[-1][0]):
        return InterruptedWork(evidence, *_another_server(raised.where, line, path, package))
    if _PROCESSES.search(frames[-1][0]):
        return InterruptedWork(evidence, *_another_process(raised.where, line, path))
    if _SLEEPS.search(line):
        return InterruptedWork(evidence, *_sleep(raised.where, line, path))
    return InterruptedWork(evidence, *_computation(raised.where, line, path))


def _another_server(
    where: str, line: str, path: str, package: str | None
) -> tuple[Text, tuple[str | Text, ...]]:
    through = f" ({package})" if package else ""
    return (
        Text(
            en=f"the worker waited for another server's answer{through} that did not come, serving {path}, at {where}:"
            f" {line}",
            zh=f"工作进程在处理 {path} 时一直等另一台服务器的应答{through}，却没有等到，位置 {where}：{line}",
        ),
        (
            Text(
                en=f"Give the call at {where} a time limit below gunicorn's (requests: timeout=10; httpx, redis:"
                " socket_timeout, a database: connect_timeout and statement_timeout), and answer 503 or 504 when it is"
                " over",
                zh=f"给 {where} 的调用设一个小于 gunicorn timeout 的时限（requests：timeout=10；httpx、redis："
                "socket_timeout；数据库：connect_timeout 与 statement_timeout），超时返回 503 或 504",
            ),
            Text(
                en="See why that server does not answer: its address is in the line above or in the settings (curl -m"
                " 10 -v, nc -vz HOST PORT; ss -tnp while a worker waits)",
                zh="再看那台服务器为什么不应答：地址在上面那行或配置里（curl -m 10 -v、nc -vz 主机 端口；"
                "工作进程等待时用 ss -tnp）",
            ),
        ),
    )


def _another_process(where: str, line: str, path: str) -> tuple[Text, tuple[str | Text, ...]]:
    return (
        Text(
            en=f"the worker waited for a program that it had started, serving {path}, at {where}: {line}",
            zh=f"工作进程在处理 {path} 时等待自己启动的程序，位置 {where}：{line}",
        ),
        (
            Text(
                en=f"Give the call at {where} a time limit (subprocess: timeout=), or run what takes long in a queue's"
                " worker and answer at once; see what the program waits for: ps --forest, py-spy or strace -p",
                zh=f"给 {where} 的调用设时限（subprocess：timeout=），或把耗时的工作交给任务队列并立即应答；"
                "看该程序在等什么：ps --forest、strace -p",
            ),
        ),
    )


def _sleep(where: str, line: str, path: str) -> tuple[Text, tuple[str | Text, ...]]:
    return (
        Text(
            en=f"the worker slept, serving {path}, at {where}: {line}",
            zh=f"工作进程在处理 {path} 时在休眠（sleep），位置 {where}：{line}",
        ),
        (
            Text(
                en=f"Do not sleep in a request: take the wait at {where} out, or let the client ask again",
                zh=f"不要在请求里休眠：去掉 {where} 的等待，或让客户端稍后再问",
            ),
        ),
    )


def _computation(where: str, line: str, path: str) -> tuple[Text, tuple[str | Text, ...]]:
    return (
        Text(
            en=f"the worker was still at {where}, serving {path}: {line}",
            zh=f"工作进程处理 {path} 时停在 {where}：{line}",
        ),
        (
            Text(
                en=f"See what takes so long at {where}: py-spy dump --pid PID of a busy worker; top shows whether it"
                " computes or waits. Limit what one request may cost, or do it in a queue's worker",
                zh=f"看 {where} 为什么这么久：对忙碌的工作进程执行 py-spy dump --pid PID，用 top 看它在计算还是等待。"
                "限制单个请求的开销，或交给任务队列",
            ),
        ),
    )
