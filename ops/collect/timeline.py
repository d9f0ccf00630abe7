"""What logs, journals and databases of this host tell about a span of time. Bounded, however large they are."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ops.collect.logs.journal import unit_records
from ops.collect.logs.line import (
    DISORDER,
    OWN_AGENT,
    READERS,
    LogLine,
    Program,
    access_line,
    request_line,
)
from ops.collect.logs.lines import JournalError
from ops.collect.logs.tail import LogTail
from ops.facts.timeline import EventKind, Gap, MinuteTraffic, TimelineEvent
from ops.text.language import Text, verbatim
from ops.text.sanitize import safe_line

MAX_ACCESS_BYTES = 48 << 20
MAX_ERROR_BYTES = 8 << 20
MAX_PACKAGE_BYTES = 4 << 20
MAX_ERROR_EVENTS = 300
MAX_LISTED = 20_000
# More packages than this in one minute are one event.
MAX_PACKAGES = 4
MINUTE = 60
DPKG_LOGS = ("/var/log/dpkg.log", "/var/log/dpkg.log.1")
DNF_LOGS = ("/var/log/dnf.rpm.log",)
_SERIOUS = ("error", "crit", "alert", "emerg", "critical", "fatal")
_NUMBERS = re.compile(rb"\d+")
# nginx's number of the connection, at the beginning of a message.
_CONNECTION = re.compile(rb"\A\*\d+ ")
# The User-Agent of a command of gte-ops; its directories and hosts may have such a name too.
_OWN_AGENT = re.compile(rb"\bgte-ops-[a-z]+/\d")
_DPKG = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (install|upgrade|remove|purge) (\S+?)(?::\S+)? (\S+) (\S+)"
)
_DNF = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}) \S+ (Installed|Upgraded|Upgrade|Erase|Removed): (\S+)"
)
_ROTATED = re.compile(r"(?:\.\d+|-\d{8}\S{0,12})(?:\.gz)?")
_UNIT_NEWS = re.compile(
    r"(?P<start>Started |Starting )|(?P<stop>Stopped |Stopping |.*Deactivated successfully)"
    r"|(?P<reload>Reloaded |Reloading )"
    r"|(?P<error>.*(?:Failed with result|Main process exited|Scheduled restart|Start request repeated|oom-kill))"
)


def _gunicorn_news() -> tuple[tuple[re.Pattern[bytes], EventKind, Text], ...]:
    """What gunicorn logs about its own life (gunicorn/arbiter.py)."""
    return (
        (re.compile(rb"Starting gunicorn"), EventKind.START, Text(en="gunicorn starts", zh="gunicorn 启动")),
        (
            re.compile(rb"Handling signal: hup"),
            EventKind.RELOAD,
            Text(en="gunicorn reloads (SIGHUP)", zh="gunicorn 重新加载（SIGHUP）"),
        ),
        (
            re.compile(rb"Handling signal: (?:term|int|quit)"),
            EventKind.STOP,
            Text(en="gunicorn is told to stop", zh="gunicorn 收到停止信号"),
        ),
        (
            re.compile(rb"Shutting down: Master"),
            EventKind.STOP,
            Text(en="gunicorn stops", zh="gunicorn 停止"),
        ),
    )


def _nginx_news() -> tuple[tuple[re.Pattern[bytes], EventKind, Text], ...]:
    """What nginx logs about its own life at level notice (ngx_process_cycle.c)."""
    return (
        (
            re.compile(rb"start worker processes"),
            EventKind.START,
            Text(en="nginx starts its workers", zh="nginx 启动工作进程"),
        ),
        (re.compile(rb"reconfiguring"), EventKind.RELOAD, Text(en="nginx reloads", zh="nginx 重新加载配置")),
        (
            re.compile(rb"^exiting$|gracefully shutting down"),
            EventKind.STOP,
            Text(en="nginx stops", zh="nginx 停止"),
        ),
    )


_NEWS: dict[Program, Callable[[], tuple[tuple[re.Pattern[bytes], EventKind, Text], ...]]] = {
    "gunicorn": _gunicorn_news,
    "nginx": _nginx_news,
}


# --- requests ---------------------------------------------------------------------------------------------------------


def minute_traffic(
    path: str, since: float, until: float
) -> tuple[list[MinuteTraffic], list[TimelineEvent], list[Gap]]:
    """The requests of an access log by minute; where its clock was set; what of the window it does not tell."""
    counts: Counter[tuple[int, str | None]] = Counter()
    events: list[TimelineEvent] = []
    try:
        tail = LogTail(path, since, MAX_ACCESS_BYTES)
        later = reached = float("inf")
        for line in tail.lines():
            request = access_line(line)
            if request is None:
                continue
            at = request.time
            if at > later + DISORDER:
                events.append(_clock_step(path, later, at))
            later = at
            if at < since - DISORDER:
                reached = since
                break
            reached = min(reached, at)
            if since <= at <= until and not (OWN_AGENT in line and _is_own(line)):
                counts[int(at) // MINUTE * MINUTE, request.status] += 1
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        return (
            [],
            [],
            [Gap(source=path, since=since, until=until, reason=safe_line(f"it cannot be read: {words}"))],
        )
    by_minute: dict[int, list[int]] = {}
    for (minute, status), count in counts.items():
        by_minute.setdefault(minute, [0, 0, 0, 0])[_class(status)] += count
    minutes = [
        MinuteTraffic(time=float(at), succeeded=n[0], refused=n[1], failed=n[2], left=n[3])
        for at, n in sorted(by_minute.items())
    ]
    gaps = []
    if not tail.is_whole and reached > since and counts:
        reason = f"only the last {MAX_ACCESS_BYTES >> 20} MiB were read"
        gaps.append(Gap(source=path, since=since, until=min(reached, until), reason=reason))
    return minutes, events, gaps


def _is_own(line: bytes) -> bool:
    """Whether gte-ops made the request, by its agent: anybody may write the same into a path."""
    request = request_line(line, None)
    return request is not None and request.agent.startswith(OWN_AGENT)


def _class(status: str | None) -> int:
    if status is None:
        return 0
    if status == "499":
        return 3
    return {"4": 1, "5": 2, "0": 2}.get(status[:1], 0)


def _clock_step(path: str, before: float, after: float) -> TimelineEvent:
    """In a log that is read backwards, a line that is later than the one written after it."""
    seconds = round(after - before)
    return TimelineEvent(
        time=before,
        kind=EventKind.CLOCK,
        source=path,
        words=Text(
            en=f"the clock was set back by {seconds} s, or nginx writes the log late (buffer=)",
            zh=f"系统时钟被拨回 {seconds} 秒，或 nginx 延迟写入日志（buffer=）",
        ),
    )


# --- error logs -------------------------------------------------------------------------------------------------------


def log_events(
    path: str, program: Program, since: float, until: float
) -> tuple[list[TimelineEvent], list[Gap]]:
    """Starts, reloads and stops in an error log, and its errors: alike ones of one minute are one event."""
    news = _NEWS[program]()
    read = READERS[program]
    lives: list[TimelineEvent] = []
    errors: dict[tuple[int, bytes], list[Any]] = {}
    try:
        tail = LogTail(path, since, MAX_ERROR_BYTES)
        newest = reached = until + DISORDER
        for raw in tail.lines():
            line = read(raw, newest)
            if line is None:
                continue
            newest = min(newest, line.time)
            if line.time < since - DISORDER:
                reached = since
                break
            reached = min(reached, line.time)
            if since <= line.time <= until:
                _sort_line(line, path, news, lives, errors)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        return [], [
            Gap(source=path, since=since, until=until, reason=safe_line(f"it cannot be read: {words}"))
        ]
    gaps = []
    if not tail.is_whole and reached > since and errors:
        reason = f"only the last {MAX_ERROR_BYTES >> 20} MiB were read"
        gaps.append(Gap(source=path, since=since, until=min(reached, until), reason=reason))
    return [*lives, *_error_events(path, errors)], gaps


def _sort_line(
    line: LogLine,
    path: str,
    news: Sequence[tuple[re.Pattern[bytes], EventKind, Text]],
    lives: list[TimelineEvent],
    errors: dict[tuple[int, bytes], list[Any]],
) -> None:
    for pattern, kind, words in news:
        if pattern.search(line.text[:200]):
            lives.append(TimelineEvent(time=line.time, kind=kind, source=path, words=words))
            return
    if line.level in _SERIOUS and not _OWN_AGENT.search(line.text):
        key = (int(line.time) // MINUTE, _NUMBERS.sub(b"*", line.text[:200])[:80])
        alike = errors.setdefault(key, [line.time, line.time, 0, line.text])
        alike[0] = min(alike[0], line.time)
        alike[2] += 1


def _error_events(path: str, errors: dict[tuple[int, bytes], list[Any]]) -> Iterator[TimelineEvent]:
    newest_first = sorted(errors.values(), key=lambda alike: -alike[0])[:MAX_ERROR_EVENTS]
    for first, last, count, text in newest_first:
        line = _CONNECTION.sub(b"", text).decode(errors="replace")
        words = safe_line(line.splitlines()[0] if line else "", 300)
        yield TimelineEvent(
            time=first, kind=EventKind.ERROR, source=path, words=verbatim(words), count=count, until=last
        )


# --- systemd ----------------------------------------------------------------------------------------------------------


def unit_events(units: Iterable[str], since: float, until: float) -> Iterator[TimelineEvent]:
    """What systemd says in the journal about its units' starts and ends. Nothing without a journal."""
    for unit in units:
        try:
            records, _ = unit_records(unit, since)
        except JournalError:
            continue
        for record in records:
            message = record.message.decode(errors="replace")
            match = _UNIT_NEWS.match(message)
            if match is None or match.lastgroup is None or not since <= record.time <= until:
                continue
            yield TimelineEvent(
                time=record.time,
                kind=EventKind(match.lastgroup),
                source=f"journalctl -u {unit}",
                words=verbatim(safe_line(message, 300)),
            )


# --- packages, rotations, boots ---------------------------------------------------------------------------------------


def package_events(
    since: float, until: float, dpkg: Sequence[str] = DPKG_LOGS, dnf: Sequence[str] = DNF_LOGS
) -> Iterator[TimelineEvent]:
    """Packages that dpkg or dnf installed, upgraded or removed; many of one minute are one event."""
    by_minute: dict[int, list[tuple[float, str, str]]] = {}
    for paths, parse in ((dpkg, _dpkg_line), (dnf, _dnf_line)):
        for path in paths:
            for at, words in _package_lines(path, since, parse):
                if since <= at <= until:
                    by_minute.setdefault(int(at) // MINUTE, []).append((at, words, path))
    for entries in by_minute.values():
        first, path = min(entries)[0], entries[0][2]
        names = list(dict.fromkeys(words for _, words, _ in entries))
        shown = ", ".join(names[:MAX_PACKAGES])
        more = len(names) - MAX_PACKAGES
        yield TimelineEvent(
            time=first,
            kind=EventKind.PACKAGE,
            source=path,
            words=Text(
                en=shown + (f" and {more} more" if more > 0 else ""),
                zh=shown + (f" 等，另有 {more} 个" if more > 0 else ""),
            ),
        )


def _package_lines(
    path: str, since: float, parse: Callable[[str], tuple[float, str] | None]
) -> Iterator[tuple[float, str]]:
    try:
        for raw in LogTail(path, since, MAX_PACKAGE_BYTES).lines():
            try:
                parsed = parse(raw.decode(errors="replace"))
            except ValueError:  # no such date or time
                continue
            if parsed is None:
                continue
            if parsed[0] < since - DISORDER:
                return
            yield parsed
    except (OSError, ValueError):
        return


def _dpkg_line(line: str) -> tuple[float, str] | None:
    match = _DPKG.match(line)
    if match is None:
        return None
    stamp, verb, name, before, after = match.groups()
    versions = f"{before} -> {after}" if verb == "upgrade" else (after if verb == "install" else before)
    words = f"{verb} {name} {versions}" if versions != "<none>" else f"{verb} {name}"
    return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").timestamp(), safe_line(words)  # noqa: DTZ007  local time


def _dnf_line(line: str) -> tuple[float, str] | None:
    match = _DNF.match(line)
    if match is None:
        return None
    at = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    return at, safe_line(f"{match[2].lower()} {match[3]}")


def rotation_events(logs: Iterable[str], since: float, until: float) -> Iterator[TimelineEvent]:
    """When logs were rotated: a rotated file was written last at its rotation."""
    for log in dict.fromkeys(logs):
        path = Path(log)
        try:
            with os.scandir(path.parent) as entries:
                rotated = [
                    (entry.stat().st_mtime, entry.name)
                    for entry in islice(entries, MAX_LISTED)
                    if entry.name.startswith(path.name) and _ROTATED.fullmatch(entry.name, len(path.name))
                ]
        except OSError:
            continue
        for at, name in rotated:
            if since <= at <= until:
                yield TimelineEvent(
                    time=at,
                    kind=EventKind.ROTATION,
                    source=str(path.parent / name),
                    words=Text(en=f"{path.name} was rotated", zh=f"{path.name} 已轮转"),
                )


def boot_events(since: float, until: float) -> Iterator[TimelineEvent]:
    """The last boot."""
    import psutil

    at = psutil.boot_time()
    if since <= at <= until:
        yield TimelineEvent(
            time=at, kind=EventKind.BOOT, source="/proc/stat", words=Text(en="the host boots", zh="主机启动")
        )


# --- gte-ops' own -----------------------------------------------------------------------------------------------------


def repair_events(path: Path, since: float, until: float) -> Iterator[TimelineEvent]:
    """What `gte-ops doctor --fix` did, by its audit log."""
    try:
        lines = list(LogTail(str(path), since, MAX_ERROR_BYTES).lines())
    except (OSError, ValueError):
        return
    for line in lines:
        try:
            record = json.loads(line)
            at = datetime.fromisoformat(record["time"]).timestamp()
            step, code, what = str(record["step"]), str(record.get("code", "")), str(record.get("what", ""))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if step in ("begun", "done") and since <= at <= until:
            outcome = str(record.get("outcome", ""))
            tail = " ".join(filter(None, (code, what, outcome)))
            yield TimelineEvent(
                time=at,
                kind=EventKind.REPAIR,
                source=str(path),
                words=Text(
                    en=safe_line(f"doctor --fix {'begins' if step == 'begun' else 'ends'}: {tail}"),
                    zh=safe_line(f"doctor --fix {'开始' if step == 'begun' else '结束'}：{tail}"),
                ),
                code=safe_line(code, 20),
            )
