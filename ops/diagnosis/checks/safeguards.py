"""Checks of the safeguards: log rotation, backups, the watchdog, and the configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Host, Processes
from ops.facts.safeguards import Backups, LogFile, OpenLog, Rotation, RotationRule, Schedule, WatchdogFacts
from ops.facts.target import Target
from ops.facts.units import Units
from ops.interpret.balancer import is_balancer
from ops.interpret.logrotate import covering, oldest_line_days, tears_lines
from ops.interpret.nginx import title
from ops.interpret.schedule import WATCHDOG_RUN, Job, cron_period, jobs_running
from ops.interpret.units import is_up, state_words
from ops.text.duration import age, age_zh, in_chinese_units
from ops.text.language import Text, verbatim
from ops.text.reasons import reason


@check("ops.rotation", "OPS001", en="every log of the service is rotated", zh="服务的日志都有轮转")
def rotation(taken_at: float, rotation: Rotation) -> Iterator[Finding]:
    """OPS001: no logrotate rule covers a log, its rule compresses it while a process still writes to it, or the rule
    has no effect: logrotate refuses the directory, or the log's first line is too old for it."""
    if (idle := _without_effect(taken_at, rotation)) is not None:
        yield idle
    present = [log for log in rotation.logs if log.is_file]
    rules = {log.path: covering(rotation.rules, (log.path, log.resolved)) for log in present}
    bare = [path for path, taking in rules.items() if not taking]
    torn = [path for path, taking in rules.items() if taking and all(map(tears_lines, taking))]
    hidden = next((unread for unread in rotation.unread if unread.needs_root), None)
    if bare and hidden:
        raise NotJudgedError(hidden)
    if not bare and not torn:
        return
    read = ", ".join(rotation.files) or "-"
    evidence = [
        Evidence(path, Text(en=f"matched by no rule in {read}", zh=f"{read} 中没有规则匹配")) for path in bare
    ]
    evidence += [quote("logrotate", unread.reason) for unread in rotation.unread if bare]
    for path in torn:
        rule = rules[path][0]
        evidence.append(
            Evidence(
                f"{rule.file}:{rule.line}",
                Text(
                    en=f"compresses {path}, and no postrotate has its process open the new file",
                    zh=f"压缩 {path}，但没有 postrotate 让进程打开新文件",
                ),
            )
        )
    logs = ", ".join((*bare, *torn))
    summary = None
    if not bare:
        summary = Text(
            en=f"The rule for {logs} compresses what is still written to: nobody tells the process to reopen its log.",
            zh=f"{logs} 的规则会压缩仍在写入的文件：没有让进程重新打开日志。",
        )
    yield Finding("OPS001", tuple(evidence), {"logs": logs}, summary=summary)


def _without_effect(taken_at: float, rotation: Rotation) -> Finding | None:
    evidence, logs, files = [], [], []
    for log in rotation.logs:
        taking = covering(rotation.rules, (log.path, log.resolved)) if log.is_file else ()
        if not taking:
            continue
        rule = taking[0]
        where = f"{rule.file}:{rule.line}"
        if log.loose_directory and "su" not in rule.options:
            words = Text(
                en=f"no su: logrotate skips {log.path}, because others than root may write {log.loose_directory}",
                zh=f"没有 su：root 以外的用户可写 {log.loose_directory}，logrotate 会跳过 {log.path}",
            )
        elif (days := _overdue(log, rule, taken_at)) is not None:
            words = Text(
                en=f"it has not rotated {log.path}: the first line is {days} days old",
                zh=f"没有轮转 {log.path}：第一行已有 {days} 天",
            )
        else:
            continue
        evidence.append(Evidence(where, words))
        logs.append(log.path)
        files.append(rule.file)
    if not evidence:
        return None
    names = ", ".join(logs)
    return Finding(
        "OPS001",
        tuple(evidence),
        {"logs": names},
        summary=Text(
            en=f"There is a rule for {names}, and it has no effect.", zh=f"{names} 有规则，但没有效果。"
        ),
        fix=(
            *(verbatim(f"logrotate --debug {shlex.quote(file)}") for file in dict.fromkeys(files)),
            verbatim("systemctl status logrotate.timer logrotate.service"),
            Text(
                en="Fix the errors that they report; if a directory belongs to others, add `su USER GROUP` to the rule",
                zh="按其报错修正；目录属于其他用户时，在规则中加 `su 用户 组`",
            ),
        ),
    )


def _overdue(log: LogFile, rule: RotationRule, taken_at: float) -> int | None:
    """The age of the log's first line in days, if the rule should long have rotated it: a rule as it stands since
    yesterday has not had the time."""
    limit = oldest_line_days(rule)
    if limit is None or log.first_line is None or rule.file_changed is None:
        return None
    days, rule_days = (int((taken_at - time) // 86400) for time in (log.first_line, rule.file_changed))
    return days if min(days, rule_days) > limit else None


@check("ops.open_logs", "OPS002", en="nothing writes to a rotated log", zh="没有进程还在写已轮转的日志")
def open_logs(
    rotation: Rotation, open_logs: tuple[OpenLog, ...], processes: Processes, target: Target
) -> Iterator[Finding]:
    """OPS002: a process of nginx or gunicorn has a renamed or removed log open; the fix names the rule to correct."""
    current = {log.resolved for log in rotation.logs}
    for item in _stale(open_logs, current):
        master = _master_of(item.pid, processes, target)
        program = _program_of(master, processes, target)
        rule = _rule_of(item, rotation)
        yield Finding(
            "OPS002",
            (
                Evidence(
                    f"/proc/{item.pid}/fd",
                    Text(
                        en=f"{item.path}{' (deleted)' if item.deleted else ''}, {item.size} bytes, open for writing",
                        zh=f"{item.path}{'（已删除）' if item.deleted else ''}，{item.size} 字节，仍打开写入",
                    ),
                ),
            ),
            {"pid": str(item.pid), "path": item.path, "master": str(master), "program": program},
            fix=(f"kill -USR1 {master}", _to_tell(program, rule)),
        )


def _program_of(master: int, processes: Processes, target: Target) -> str:
    """The name of the program that writes the log."""
    if master == target.gunicorn_master:
        return "gunicorn"
    process = next((process for process in processes.processes if process.pid == master), None)
    if process is None:
        return f"pid {master}"
    return "nginx" if title(process).startswith("nginx:") else process.name


def _rule_of(item: OpenLog, rotation: Rotation) -> RotationRule | None:
    """The first rule that covers the former log of a renamed or removed file."""
    was = [log for log in rotation.logs if item.path.startswith(log.resolved)]
    longest = max(was, key=lambda log: len(log.resolved), default=None)
    taking = covering(rotation.rules, (longest.path, longest.resolved)) if longest else ()
    return next(iter(taking), None)


def _to_tell(program: str, rule: RotationRule | None) -> Text:
    """Advice on notifying the program after each rotation."""
    if rule is None:
        return Text(
            en=f"No rule of logrotate takes this log: whatever moved it has to send USR1 to {program}'s master"
            " afterwards; gte-ops render logrotate shows a rule that does",
            zh=f"没有 logrotate 规则管这份日志：移走它的脚本事后要给 {program} 主进程发 USR1；"
            "gte-ops render logrotate 会给出这样的规则",
        )
    where = f"{rule.file}:{rule.line}"
    return Text(
        en=f"Correct the postrotate part of the rule at {where}: it has to reach {program}'s master;"
        " gte-ops render logrotate shows a working one",
        zh=f"修正 {where} 这条规则里的 postrotate，让它通知到 {program} 主进程；"
        "gte-ops render logrotate 会给出可用的写法",
    )


def _master_of(pid: int, processes: Processes, target: Target) -> int:
    """The master, nginx's or gunicorn's, that makes its workers reopen their logs at USR1."""
    if pid in target.gunicorn_workers and target.gunicorn_master is not None:
        return target.gunicorn_master
    by_pid = {process.pid: process for process in processes.processes}
    parent = by_pid.get(by_pid[pid].ppid) if pid in by_pid else None
    return parent.pid if parent is not None and title(parent).startswith("nginx: master process") else pid


def _stale(logs: tuple[OpenLog, ...], current: set[str]) -> list[OpenLog]:
    """Stale logs, one per file: the workers only follow their master."""
    stale: dict[tuple[str, bool], OpenLog] = {}
    for item in logs:
        if item.deleted or item.path not in current:
            stale.setdefault((item.path, item.deleted), item)
    return list(stale.values())


@check(
    "ops.backup",
    "OPS003",
    "OPS004",
    "OPS005",
    en="there is a backup that could be restored",
    zh="有可恢复的备份",
)
def backup(taken_at: float, backups: Backups, target: Target, host: Host | NotSeen) -> Iterator[Finding]:
    """OPS003: no backup, or none recent; OPS004: the newest is damaged; OPS005: certificates' links lack their files.

    If the newest is damaged or incomplete, do not also report that no good backup is left. A balancer needs none: what
    it has is rendered from gte-ops.toml, and another host of its kind has the same certificate."""
    if not backups.backups:
        if not is_balancer(target, host):
            yield _no_backup(backups)
        return
    newest = backups.backups[0]
    old = taken_at - newest.created_at
    if old > backups.max_age:
        too_old = Text(
            en=f"{age(old)} old; allowed are {age(backups.max_age)}",
            zh=f"已有 {age_zh(old)}；允许 {age_zh(backups.max_age)}",
        )
        words = Text(en=f"{newest.path}, {too_old.en}", zh=f"{newest.path}，{too_old.zh}")
        yield Finding(
            "OPS003", (Evidence(newest.path, too_old),), {"newest": newest.path}, summary=_newest(words)
        )
    for item in backups.backups:
        # An old backup that a newer one has replaced does no harm; one within the allowed age does.
        if item.loose_links and (item is newest or taken_at - item.created_at <= backups.max_age):
            yield Finding(
                "OPS005",
                (quote(item.path, f"{item.loose_links[0]} -> ?"),),
                {"archive": shlex.quote(item.path)},
            )
    if newest.verified is False:
        yield Finding(
            "OPS004",
            (Evidence(newest.path, reason(newest.reason or "-")),),
            {"archive": shlex.quote(newest.path), "reason": reason(newest.reason or "-")},
        )
    elif newest.needs_root and old <= backups.max_age:
        raise NotJudgedError(NotSeen(reason=f"{newest.path}: {newest.reason}", needs_root=True))


def _no_backup(backups: Backups) -> Finding:
    nothing = Text(en="there is none", zh="一份也没有")
    evidence = [Evidence(backups.directory, Text(en="no archive is there", zh="目录里没有备份文件"))]
    if backups.other_hosts:
        nothing = Text(en="there is none of this host", zh="没有本机的备份")
        hosts = ", ".join(backups.other_hosts[:5])
        evidence = [
            Evidence(backups.directory, Text(en=f"archives of {hosts}", zh=f"只有其他主机的备份：{hosts}"))
        ]
    evidence += [
        Evidence(path, Text(en="its time is in the future: it does not count", zh="备份时间晚于现在，不计入"))
        for path in backups.ahead[:5]
    ]
    return Finding("OPS003", tuple(evidence), {"newest": "-"}, summary=_newest(nothing))


def _newest(words: Text) -> Text:
    return Text(en=f"The newest backup: {words.en}.", zh=f"最近一份备份：{words.zh}。")


# Seconds. A cycle that restarts the service takes up to a minute and a half, and cron's unit is the minute.
_SHORTEST_SILENCE = 180.0


@check("ops.watching", "OPS006", en="something watches the service", zh="有程序在守护服务")
def watching(
    taken_at: float,
    host: Host,
    processes: Processes,
    schedule: Schedule,
    watchdog: WatchdogFacts | NotSeen,
    units: Units | NotSeen,
    target: Target,
) -> Iterator[Finding]:
    """OPS006: nothing runs the watchdog, or it should run and has not for three intervals. A unit that systemd does not
    keep up runs nothing. A balancer has no service that it could watch."""
    if is_balancer(target, host):
        return
    every = [
        job for job in jobs_running(schedule, WATCHDOG_RUN, has_systemd=host.has_systemd) if not job.idle
    ]
    down = {
        unit.name: unit for unit in (() if isinstance(units, NotSeen) else units.units) if not is_up(unit)
    }
    jobs = [job for job in every if job.where not in down]
    hidden = next((unseen for unseen in schedule.unseen if unseen.needs_root), None)
    if not jobs and hidden:
        raise NotJudgedError(hidden)
    if isinstance(watchdog, NotSeen):
        if watchdog.needs_root and jobs:
            raise NotJudgedError(watchdog)
        if jobs:
            return  # it has yet to run for the first time
        last = Text(en="never", zh="从未运行")
    else:
        silent = None if watchdog.last_round is None else taken_at - watchdog.last_round
        period = max((cron_period(job.when) for job in jobs), default=0.0)
        limit = max(3 * max(watchdog.interval, period), _SHORTEST_SILENCE)
        # Without a schedule another supervisor may run it; but without its process it will not run again.
        resident = any(WATCHDOG_RUN.search(" ".join(p.command)) for p in processes.processes)
        # Before an earlier boot's clock was set back, the last round has a time that is still to come.
        if (jobs and silent is None) or ((jobs or resident) and abs(silent or 0.0) <= limit):
            return
        last = _moment(silent)
    evidence = [
        Evidence(job.where, Text(en=f"should run it: {job.when}", zh=f"应当运行它：{job.when}"))
        for job in jobs
    ] or [
        Evidence(
            "cron, systemd",
            Text(
                en="no entry, timer or unit runs gte-ops watchdog",
                zh="没有任务、定时器或服务运行 gte-ops watchdog",
            ),
        )
    ]
    stopped = [down[job.where] for job in every if job.where in down]
    if stopped:
        evidence = [quote(f"systemctl show {unit.name}", state_words(unit)) for unit in stopped]
    if isinstance(watchdog, WatchdogFacts):
        evidence.append(Evidence(watchdog.path, Text(en=f"last check {last.en}", zh=f"上次检查：{last.zh}")))
    yield Finding(
        "OPS006",
        tuple(evidence),
        {"last_run": last.en},
        summary=Text(en=f"The watchdog's last run: {last.en}.", zh=f"watchdog 最近一次运行：{last.zh}。"),
        fix=_run_again([unit.name for unit in stopped], jobs, processes, host) if stopped or jobs else None,
    )


def _moment(ago: float | None) -> Text:
    """When the watchdog ran last, ``ago`` in seconds; None: never."""
    if ago is None:
        return Text(en="never", zh="从未运行")
    if ago < 0:
        return Text(en=f"{age(-ago)} ahead of the clock", zh=f"比当前时钟晚 {age_zh(-ago)}")
    return Text(en=f"{age(ago)} ago", zh=f"{age_zh(ago)}前")


def _run_again(
    stopped: Sequence[str], jobs: Sequence[Job], processes: Processes, host: Host
) -> tuple[str | Text, ...]:
    """The steps where a schedule for the watchdog is there: what is to run it, or what it says itself."""
    if stopped:
        return (f"systemctl enable --now {' '.join(map(shlex.quote, stopped))}",)
    job = jobs[0]
    is_cron_s = ":" in job.where
    if is_cron_s and not any(process.name in _CRON_DAEMONS for process in processes.processes):
        # The package's name for its service: cron on Debian, cronie's is crond.
        start = "systemctl enable --now cron || systemctl enable --now crond"
        return (start if host.has_systemd else "service cron start || service crond start",)
    file, _, line = job.where.rpartition(":")
    # Another user may have written the command: root is shown it, and not told to paste it.
    show = (
        f"sed -n {line}p {shlex.quote(file)}" if is_cron_s else f"systemctl status {shlex.quote(job.where)}"
    )
    return (
        Text(
            en=f"{job.where} is in place and has no effect: see what it runs, run that by hand as its user, and read"
            " what it says",
            zh=f"{job.where} 已就位但没有起作用：看它执行什么，以它的用户手动执行一遍，看输出",
        ),
        show,
    )


_CRON_DAEMONS = ("cron", "crond", "anacron", "fcron", "busybox")


@check("ops.watchdog", "OPS007", en="the watchdog still acts", zh="watchdog 仍在起作用")
def watchdog(taken_at: float, watchdog: WatchdogFacts | NotSeen) -> Iterator[Finding]:
    """OPS007: the watchdog has suspended its actions, by its state. Silent if none has run."""
    if isinstance(watchdog, NotSeen):
        if watchdog.needs_root:
            raise NotJudgedError(watchdog)
        return
    if watchdog.gave_up:
        ago = age(max(0.0, taken_at - watchdog.last_round)) if watchdog.last_round is not None else None
        yield Finding(
            "OPS007",
            (
                Evidence(
                    watchdog.path,
                    Text(
                        en=f"no more actions after {watchdog.actions} actions; last check"
                        + (f" {ago} ago" if ago else " at an unknown time"),
                        zh=f"已执行 {watchdog.actions} 次动作，目前停止动作；上次检查在"
                        + (f" {in_chinese_units(ago)}前" if ago else "未知的时间"),
                    ),
                ),
            ),
            {"restarts": str(watchdog.actions)},
        )


@check("ops.configuration", "OPS008", en="gte-ops.toml is read", zh="gte-ops.toml 已读取")
def configuration(passed_over: tuple[str, ...]) -> Iterator[Finding]:
    """OPS008: a configuration was not read, because somebody else could have written it."""
    if passed_over:
        evidence = tuple(Evidence("gte-ops", reason(line)) for line in passed_over)
        yield Finding("OPS008", evidence, {"file": passed_over[0].partition(": not read: ")[0]})


CHECKS = (rotation, open_logs, backup, watching, watchdog, configuration)
