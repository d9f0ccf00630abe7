"""Whether something tells gunicorn to reload again and again, and which scheduled job does.

Source: gunicorn documentation, signal handling (HUP: new workers are started, the old ones end)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from ops.diagnosis.checks.log_reading import entries_with, last_quote
from ops.diagnosis.finding import Evidence, Finding, Severity, quote
from ops.facts.base import NotSeen
from ops.facts.host import Process
from ops.facts.logs import Log
from ops.facts.probes import Exchange
from ops.facts.safeguards import Schedule
from ops.facts.target import Target
from ops.interpret.schedule import SENDS_HUP, Job, exact_period, jobs_running
from ops.text.language import Text, in_seconds

# Seconds, back from now: what happened within them happens at the present rate.
_RECENT = 300.0
# Fewer reloads are a person's.
_MANY = 3
# Seconds between two reloads, at most.
_OFTEN = 120.0
# Seconds by which the time between two reloads may differ from the job's: the log has whole seconds.
_LATE = 1.5
_MANAGED = re.compile(r"systemctl|supervisorctl|service")
_NOT_WORD = re.compile(r"[\s\"'`$()<>=]+")
_SEPARATORS = re.compile(r"&&|\|\||[;|\n]")
_REDIRECTION = re.compile(r"\d?&?>{1,2}(?:&\d|\S*)|/dev/null")
# A line of these may be edited in place; a user's crontab is changed by crontab(1).
_SPOOL = re.compile(r"/spool/cron|/crontabs/")


class _Reloads(NamedTuple):
    """The entries of gunicorn's log, and the seconds between two: the average, and the median."""

    number: int
    period: float
    usual: float
    evidence: Evidence


def scheduled_reloads(
    log: Log,
    master: Process,
    waits: Sequence[Exchange],
    schedule: Schedule | NotSeen,
    target: Target,
    taken_at: float,
    *,
    has_systemd: bool,
) -> Finding | None:
    """GUN022 by reloads: the master was told to reload at least three times in the last minutes, and a scheduled job
    does it, or a probe waited for a worker that was loading. A warning if no probe waited."""
    reloads = _reloads(log, master, taken_at)
    if reloads is None:
        return None
    job = _job(schedule, reloads, master, target, has_systemd=has_systemd)
    if job is None and not waits:
        return None
    waited = in_seconds(f"{max((wait.elapsed for wait in waits), default=0.0):.1f}")
    evidence = (
        reloads.evidence,
        *((quote(job.where, f"{job.when} {job.command}"),) if job else ()),
        *(
            quote(f"{wait.method} {wait.url}", f"{wait.failure or wait.status}, {wait.elapsed:.1f} s")
            for wait in waits[:1]
        ),
    )
    return Finding(
        "GUN022",
        evidence,
        {"count": str(reloads.number), "setting": "SIGHUP", "waited": waited},
        severity=None if waits else Severity.WARN,
        explains=None if waits else (),
        summary=_summary(reloads, job, waited if waits else None),
        verify=f"grep 'Handling signal: hup' {shlex.quote(log.path)} | tail -n 5",
        fix=_steps(job),
    )


def _reloads(log: Log, master: Process, taken_at: float) -> _Reloads | None:
    since = max(master.started, taken_at - _RECENT)
    told = [entry for entry in entries_with(log, "Handling signal: hup") if entry.time >= int(since)]
    if len(told) < _MANY:
        return None
    period = (told[-1].time - told[0].time) / (len(told) - 1)
    if period > _OFTEN or taken_at - told[-1].time > max(2 * period, 10.0):
        return None
    newest = last_quote(log.path, told)
    usual = median(later.time - earlier.time for earlier, later in pairwise(told))
    return _Reloads(len(told), period, usual, quote(newest.source, f"{len(told)} x {newest.detail.en}"))


def _job(
    schedule: Schedule | NotSeen, reloads: _Reloads, master: Process, target: Target, *, has_systemd: bool
) -> Job | None:
    """The job that reloads this gunicorn: it does so as often as gunicorn was told to, and its command names this
    gunicorn's pidfile, its unit, or gunicorn itself."""
    if isinstance(schedule, NotSeen):
        return None
    for job in jobs_running(schedule, SENDS_HUP, has_systemd=has_systemd):
        period = exact_period(job)
        if job.idle is not None or period is None:
            continue
        if abs(period - reloads.usual) > max(_LATE, period / 10):
            continue
        if any(
            _names(found[0], master, target) for found in SENDS_HUP.finditer(f"{job.command}\n{job.script}")
        ):
            return job
    return None


def _names(command: str, master: Process, target: Target) -> bool:
    """Whether a command that tells something to reload names this gunicorn, in a word of its own."""
    words = [word for word in _NOT_WORD.split(command) if word]
    if _MANAGED.match(command):
        unit = master.unit or "gunicorn.service"
        return bool({unit, unit.removesuffix(".service")} & set(words))
    return target.gunicorn_pidfile in words or any(word.rpartition("/")[2] == "gunicorn" for word in words)


def _only_reloads(command: str) -> bool:
    """Whether a command line does nothing else: one reload of one service, behind a test or none."""
    reloads = 0
    for part in _SEPARATORS.split(command):
        words = [
            word for word in part.split() if word not in ("sudo", "-n") and not _REDIRECTION.fullmatch(word)
        ]
        if not words or words[0] in ("test", "["):
            continue
        program = words[0].rpartition("/")[2]
        if program not in ("kill", "pkill", "killall", "systemctl", "service", "supervisorctl"):
            return False
        named = [word for word in words[1:] if not word.startswith("-")]
        if program == "systemctl" and (named[:1] != ["reload"] or len(named) != 2):
            return False
        reloads += 1
    return reloads == 1


def _summary(reloads: _Reloads, job: Job | None, waited: Text | None) -> Text:
    every = f"{reloads.period:.0f}"
    by_en, by_zh = (f" by {job.where}", f"由 {job.where} ") if job else ("", "")
    cost_en = f", and a request waited {waited.en} for one" if waited else ""
    cost_zh = f"，有请求为此等了 {waited.zh}" if waited else ""
    return Text(
        en=f"gunicorn was told to reload {reloads.number} times in the last minutes, every {every} s{by_en}: each time"
        f" all workers are replaced and load anew{cost_en}.",
        zh=f"最近几分钟 gunicorn {by_zh}被要求重新加载 {reloads.number} 次，每 {every} 秒一次："
        f"每次所有工作进程都会被更换并重新加载{cost_zh}。",
    )


def _steps(job: Job | None) -> tuple[str | Text, ...]:
    instead = Text(
        en="Against a leak of memory set max_requests (thousands) and max_requests_jitter (a tenth of it): it replaces"
        " one worker at a time",
        zh="要应对内存泄漏，请设置 max_requests（几千）和 max_requests_jitter（它的十分之一）：每次只更换一个工作进程",
    )
    if job is None:
        return (
            Text(
                en="Find what sends SIGHUP to the master: cron, a timer, a deployment that loops, a script that watches"
                " files; and end that",
                zh="查出是谁在给主进程发 SIGHUP（cron、定时器、循环执行的部署、监视文件的脚本），并停掉它",
            ),
            instead,
        )
    if not _only_reloads(job.command):
        return (
            Text(
                en=f"Take the reload out of what {job.where} runs, and leave the rest of it",
                zh=f"从 {job.where} 执行的命令中去掉重新加载的部分，其余保留",
            ),
            instead,
        )
    file, colon, line = job.where.rpartition(":")
    if not colon or not line.isdigit():
        return (f"systemctl disable --now {shlex.quote(job.where)}", instead)
    if _SPOOL.search(file):
        return (
            Text(
                en=f"Take line {line} out of {file} (crontab -e of that user)",
                zh=f"删除 {file} 的第 {line} 行（用该用户执行 crontab -e）",
            ),
            instead,
        )
    return (f"sed -i --follow-symlinks '{line}s/^/#/' {shlex.quote(file)}", instead)
