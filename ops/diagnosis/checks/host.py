"""Judges of the machine: disk space, memory, the clock, file descriptors, CPU time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from email.utils import parsedate_to_datetime

from ops.diagnosis.checks.held_descriptors import closing_step, held_evidence
from ops.diagnosis.checks.log_reading import entries_with, nginx_entries
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote, seen
from ops.diagnosis.steps import set_in_main_context
from ops.facts.base import NotSeen
from ops.facts.host import Host
from ops.facts.logs import LogEntry, Logs
from ops.facts.machine import CpuTime, FileSystem, Machine, Memory, OpenFiles
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Exchange, Front
from ops.facts.service_process import ServiceProcess
from ops.facts.target import Target
from ops.interpret.address import is_loopback, split_address
from ops.interpret.traffic import judged_since
from ops.text.duration import age
from ops.text.language import Text, verbatim

FULL, SHORT = 0.02, 0.10
SHORT_MEMORY = 0.10
NEAR_LIMIT = 0.90
# Pages a second to and from swap; 4 MiB/s with pages of 4 KiB. A machine that only swapped once stays below it.
THRASHING = 1000.0
WRONG_CLOCK = 60.0
FEW_FILES = 1024
MANY_USED = 0.80
# A quota may stop the service in a few periods; in one of four it slows the service down.
THROTTLED_SHARE, THROTTLED_PERIODS = 0.25, 2
# The least stolen share of all processors' time, and the least stolen ticks: single ticks are noise.
STOLEN_SHARE, STOLEN_TICKS = 0.20, 20
NO_SPACE = "28: No space left on device", "[Errno 28] No space left on device"
_NAMED_FILE = re.compile(r"[\"'](/[^\"']+)[\"']")


@check("host.space", "HST001", en="there is space to write", zh="磁盘空间充足")
def space(machine: Machine, logs: Logs | NotSeen) -> Iterator[Finding]:
    """HST001: free space or inodes under 2 % (warn: under 10 %), or ENOSPC in the window."""
    refusals = [] if isinstance(logs, NotSeen) else _refused_writes(logs)
    short = sorted(machine.file_systems, key=free_share)
    worst = short[0] if short and free_share(short[0]) < SHORT else None
    if worst is None and not refusals:
        return
    place = worst or (_file_system_of(refusals[-1], machine.file_systems) if refusals else None)
    consumer = place.consumer if place else None
    evidence = [
        Evidence(f"df {fs.mount}", _free(fs)) for fs in short if free_share(fs) < SHORT or fs is place
    ]
    evidence += [quote(path, entry.text.partition("\n")[0]) for path, entry in refusals[-1:]]
    if place and consumer:
        evidence.append(
            Evidence(
                consumer,
                Text(
                    en=f"{_size(place.consumer_bytes)} in {place.consumer_entries} entries, as far as was looked",
                    zh=f"{_size(place.consumer_bytes)}，共 {place.consumer_entries} 项（在有限时间内看到的）",
                ),
            )
        )
    is_full = bool(refusals) or (worst is not None and free_share(worst) < FULL)
    yield Finding(
        "HST001",
        tuple(evidence),
        {
            "mount": place.mount if place else "?",
            "free": _free(place).en if place else "?",
            "consumer": f"{consumer} ({_size(place.consumer_bytes)})" if place and consumer else "?",
        },
        severity=Severity.FAIL if is_full else Severity.WARN,
        summary=None if worst else _refused_summary(place),
        explains=None if is_full else (),
    )


def _refused_summary(place: FileSystem | None) -> Text:
    where = verbatim(place.mount) if place else Text(en="what they were written to", zh="写入的文件系统")
    return Text(
        en=f"Writes failed for lack of space in the window; {where.en} has room again now.",
        zh=f"时间窗口内有写入因空间不足而失败；{where.zh} 现在又有空间了。",
    )


def _refused_writes(logs: Logs) -> list[tuple[str, LogEntry]]:
    log = logs.gunicorn_error
    path = "" if isinstance(log, NotSeen) else log.path
    entries = [
        *nginx_entries(logs, *NO_SPACE),
        *((path, entry) for entry in entries_with(log, *NO_SPACE) if _is_of_this_start(entry, logs)),
    ]
    return sorted(entries, key=lambda pair: pair[1].time)


def _is_of_this_start(entry: LogEntry, logs: Logs) -> bool:
    """Whether a line of the service's is of the processes that run. A request's exception that names no file says
    nothing of where the room is short: that is APP020 or APP004."""
    is_a_request_s = "Traceback (most recent call last)" in entry.text and not _NAMED_FILE.search(
        entry.text.rpartition("[Errno 28]")[2]
    )
    return not is_a_request_s and not is_of_earlier_worker(entry, judged_since(logs), logs)


def _file_system_of(failure: tuple[str, LogEntry], file_systems: tuple[FileSystem, ...]) -> FileSystem | None:
    """The file system of the file that could not be written: the file that the entry names, else the log itself."""
    log, entry = failure
    match = _NAMED_FILE.search(entry.text)
    path = match[1] if match else log
    over = [fs for fs in file_systems if path.startswith(fs.mount.rstrip("/") + "/")]
    return max(over, key=lambda fs: len(fs.mount), default=None)


def free_share(fs: FileSystem) -> float:
    """The free share of space or of inodes, whichever is less."""
    inodes = fs.inodes_free / fs.inodes if fs.inodes else 1.0
    return min(fs.free / fs.total, inodes)


def _free(fs: FileSystem) -> Text:
    by_inodes = fs.inodes and fs.inodes_free / fs.inodes < fs.free / fs.total
    if by_inodes:
        share = f"{fs.inodes_free / fs.inodes:.1%}"
        return Text(en=f"{fs.inodes_free} inodes ({share})", zh=f"{fs.inodes_free} 个 inode（{share}）")
    share = f"{fs.free / fs.total:.1%}"
    return Text(en=f"{_size(fs.free)} ({share})", zh=f"{_size(fs.free)}（{share}）")


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


@check("host.memory", "HST002", en="there is memory to spare", zh="内存充足")
def memory(machine: Machine) -> Iterator[Finding]:
    """HST002: under 10 % available, heavy swapping, or the service near its control group's memory limit."""
    tight = [group for group in machine.memory_groups if group.used > NEAR_LIMIT * group.limit]
    if tight:
        group = max(tight, key=lambda g: g.used / g.limit)
        yield Finding(
            "HST002",
            (
                quote(
                    group.path,
                    f"{_size(group.used)} of {_size(group.limit)} ({group.used / group.limit:.0%})",
                ),
            ),
            {"available": _size(max(0, group.limit - group.used))},
        )
        return
    facts = machine.memory
    if not isinstance(facts, Memory):
        raise NotJudgedError(facts)
    share = facts.available / facts.total
    thrashes = facts.swapped_pages_per_second > THRASHING
    if share >= SHORT_MEMORY and not thrashes:
        return
    evidence = [
        quote("/proc/meminfo", f"MemAvailable {_size(facts.available)} of {_size(facts.total)} ({share:.1%})")
    ]
    if thrashes:
        evidence.append(
            Evidence(
                "/proc/vmstat",
                Text(
                    en=f"{facts.swapped_pages_per_second:.0f} pages a second to and from swap",
                    zh=f"每秒换入换出 {facts.swapped_pages_per_second:.0f} 页",
                ),
            )
        )
    yield Finding("HST002", tuple(evidence), {"available": _size(facts.available)})


@check("host.clock", "HST003", en="the clock is right", zh="系统时间准确")
def clock(machine: Machine, front: Front | NotSeen, host: Host, taken_at: float) -> Iterator[Finding]:
    """HST003: the time daemon measured an offset over 60 s, or answers from another machine have a Date that far off.

    The Date of a server on this host comes from this host's own clock and proves nothing."""
    daemons = () if isinstance(machine.clocks, NotSeen) else machine.clocks
    for daemon in daemons:
        if abs(daemon.offset) > WRONG_CLOCK:
            yield Finding(
                "HST003",
                (
                    quote(daemon.source, _of_true_time(daemon.ahead)),
                    *(() if daemon.synchronised else (quote(daemon.source, "Not synchronised"),)),
                ),
                {"offset": _offset(daemon.ahead)},
            )
            return
    answers = () if isinstance(front, NotSeen) else (front.plain, front.health, front.predict)
    dated = [
        (answer, at - taken_at)
        for answer in answers
        if isinstance(answer, Exchange)
        and not _is_here(answer.address, host)
        # The Date of a cached answer is as old as the answer (RFC 9111, 5.1).
        and not answer.header("age")
        and (at := _date(answer)) is not None
    ]
    if not dated and isinstance(machine.clocks, NotSeen):
        raise NotJudgedError(machine.clocks)
    if not dated and not daemons:
        raise NotJudgedError(NotSeen(reason="nothing here measures this clock", is_lasting=True))
    if not dated or any(abs(offset) <= WRONG_CLOCK + answer.elapsed for answer, offset in dated):
        return
    # If their clock is ahead of ours, ours is behind: negate.
    offset = -min((offset for _, offset in dated), key=abs)
    yield Finding(
        "HST003",
        tuple(
            quote(f"{answer.method} {answer.url}", f"Date: {answer.header('date')}") for answer, _ in dated
        ),
        {"offset": _offset(offset)},
    )


def _of_true_time(ahead: float) -> str:
    """In chronyc's words."""
    return f"{abs(ahead):.1f} s {'fast' if ahead > 0 else 'slow'} of NTP time"


def _offset(seconds: float) -> str:
    """With +, this clock is ahead of the true time."""
    return f"{'+' if seconds > 0 else '-'}{age(abs(seconds))}"


def _is_here(address: str, host: Host) -> bool:
    name, _ = split_address(address)
    return address.startswith("unix:") or is_loopback(name) or name in host.addresses


def _date(answer: Exchange) -> float | None:
    try:
        return parsedate_to_datetime(answer.header("date")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


# For the processes that are short of them: what guides for busy hosts set.
ENOUGH_FILES = 65535


@check("host.open_files", "HST004", en="processes may open enough files", zh="打开文件数上限足够")
def open_files(
    machine: Machine, target: Target | NotSeen, nginx_config: NginxConfig | NotSeen, logs: Logs | NotSeen
) -> Iterator[Finding]:
    """HST004: the soft limit of a running nginx worker or gunicorn is under 1024, or over 80 % of it is used."""
    tight = [
        item
        for item in machine.open_files
        if item.soft < FEW_FILES or (item.used is not None and item.used > MANY_USED * item.soft)
    ]
    if not tight:
        return
    worst = max(tight, key=_used_share)
    by_process = {(item.process, item.soft): item for item in sorted(tight, key=_used_share)}
    short = _short_process(tight, logs)
    yield Finding(
        "HST004",
        tuple(
            Evidence(
                f"/proc/{item.pid}/limits",
                Text(
                    en=f"{item.process}: Max open files {item.soft}, in use {_used(item)}",
                    zh=f"{item.process}：上限 {item.soft}，已用 {_used(item)}",
                ),
            )
            for item in by_process.values()
        )
        + (held_evidence(short) if short else ()),
        {"process": f"{worst.process} ({worst.pid})", "limit": str(worst.soft), "used": _used(worst)},
        fix=_more_files({item.process for item in tight}, target, nginx_config, short),
        # With descriptors to spare, this explains no failure; if nginx logged that it ran out, NGX015 has the symptoms.
        explains=None if _used_share(worst) > MANY_USED else (),
    )


def _short_process(tight: Collection[OpenFiles], logs: Logs | NotSeen) -> ServiceProcess | None:
    """The service's process that was looked at, if it has used up most of its descriptors."""
    given = None if isinstance(logs, NotSeen) else logs.service_process
    used_up = {item.pid for item in tight if _used_share(item) > MANY_USED}
    return given if given is not None and given.pid in used_up else None


def _more_files(
    tight: Collection[str],
    target: Target | NotSeen,
    config: NginxConfig | NotSeen,
    short: ServiceProcess | None,
) -> tuple[str | Text, ...] | None:
    """The steps that raise the limit of the processes that are short, and load it; None for the catalogue's."""
    if isinstance(target, NotSeen):
        return None
    steps: list[str | Text] = []
    if "nginx" in tight:
        line = None
        if not isinstance(config, NotSeen):
            line = set_in_main_context(config, "worker_rlimit_nofile", str(ENOUGH_FILES))
        if line is None:
            return None
        steps += [line, target.test_nginx, target.reload_nginx]
    if "gunicorn" in tight:
        steps += [
            *(closing_step(short) if short else ()),
            _raised_for_gunicorn(target),
            target.restart_command,
        ]
    return tuple(steps)


def _raised_for_gunicorn(target: Target) -> Text:
    if target.restart_command.startswith("systemctl "):
        unit = target.restart_command.split()[-1]
        return Text(
            en=f"systemctl edit {unit}, and under [Service]: LimitNOFILE={ENOUGH_FILES}",
            zh=f"执行 systemctl edit {unit}，在 [Service] 下写：LimitNOFILE={ENOUGH_FILES}",
        )
    return Text(
        en=f"In what starts gunicorn ({target.start_command}) raise the limit first: ulimit -n {ENOUGH_FILES}",
        zh=f"在启动 gunicorn 的地方（{target.start_command}）先提高上限：ulimit -n {ENOUGH_FILES}",
    )


def _used_share(item: OpenFiles) -> float:
    return (item.used or 0) / max(1, item.soft)


def _used(item: OpenFiles) -> str:
    return "?" if item.used is None else str(item.used)


@check("host.cpu", "HST005", en="the service gets its CPU time", zh="服务能拿到 CPU 时间")
def cpu(machine: Machine) -> Iterator[Finding]:
    """HST005: during the observation a quota stopped the service, or the hypervisor took CPU time (steal)."""
    throttled = [
        group
        for group in machine.cpu_groups
        if group.throttled >= THROTTLED_PERIODS and group.throttled >= THROTTLED_SHARE * group.periods
    ]
    if throttled:
        group = max(throttled, key=lambda g: g.throttled / max(1, g.periods))
        share = group.throttled / max(1, group.periods)
        yield Finding(
            "HST005",
            (
                quote(
                    f"{group.path}/cpu.stat",
                    f"nr_throttled +{group.throttled}, nr_periods +{group.periods}, {group.seconds:.1f} s",
                ),
            ),
            {"share": f"{share:.0%}"},
        )
        return
    watched: CpuTime = seen(machine.cpu)
    if watched.stolen < max(STOLEN_TICKS, STOLEN_SHARE * watched.ticks):
        return
    share = watched.stolen / max(1, watched.ticks)
    yield Finding(
        "HST005",
        (quote("/proc/stat", f"steal {watched.stolen} / {watched.ticks}"),),
        {"share": f"{share:.0%}"},
    )


CHECKS = (space, memory, clock, open_files, cpu)
