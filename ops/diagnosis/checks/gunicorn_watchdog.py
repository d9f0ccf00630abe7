"""Judge of systemd's watchdog: whether it ends a gunicorn that is well.

Sources: systemd.service(5), WatchdogSec=; sd_notify(3), WATCHDOG=1; gunicorn's sd_notify (READY=1, STOPPING=1 and no
more)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from ops.diagnosis.checks.log_reading import entries_with
from ops.diagnosis.finding import Finding, check, quote, seen
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.safeguards import Schedule, WatchedUnit
from ops.facts.target import Target
from ops.facts.units import Units
from ops.interpret.gunicorn import process_of, wsgi
from ops.interpret.units import state_words
from ops.text.language import in_seconds

# Fewer starts are a person's, or a deployment's.
_MANY = 3
# Seconds beyond the watchdog's time that a life may have lasted: the abort, the next start, a busy host.
_AND_SOME = 30.0
# Seconds by which it may seem shorter, and by which two lives may differ: the log has whole seconds.
_ROUNDED = 2.0
_EVEN = 10.0
_STARTS = "Starting gunicorn"
_ENDED_IN_ORDER = (
    "Handling signal: term",
    "Handling signal: int",
    "Handling signal: quit",
    "Shutting down: Master",
)


@check(
    "gunicorn.watchdog",
    "GUN039",
    en="systemd's watchdog lets gunicorn live",
    zh="systemd 的 watchdog 没有终止 gunicorn",
)
def watchdog(
    logs: Logs,
    processes: Processes,
    target: Target,
    schedule: Schedule | NotSeen,
    units: Units | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """GUN039: gunicorn's unit has WatchdogSec=, which its environment shows, and gunicorn was started again and again
    after that time, each life as long as it, without having ended in order: gunicorn gives systemd no sign of life.
    Another reason of systemd's for the last end disproves it."""
    master = process_of(processes, target.gunicorn_master)
    limit = _limit(master)
    if master is None or limit is None:
        return
    log = seen(logs.gunicorn_error)
    starts = _starts(log, limit, taken_at)
    if len(starts) < _MANY:
        return
    unit = _unit(master, schedule)
    own = None if isinstance(units, NotSeen) else units.unit(units.service)
    name = unit.name if unit else master.unit or (own.name if own else "")
    if own is not None and own.result not in ("", "success", "watchdog"):
        return
    place = f"{unit.file}:{unit.line}" if unit else name or f"pid {master.pid}"
    yield Finding(
        "GUN039",
        (
            quote(log.path, f"{len(starts)} x {starts[-1].text.partition(chr(10))[0]}"),
            quote(place, f"WatchdogSec={limit:g}"),
            quote(f"pid {master.pid}", f"WATCHDOG_USEC={limit * 1e6:.0f}"),
            *(
                (quote(f"systemctl show {own.name}", state_words(own)),)
                if own is not None and own.restarts
                else ()
            ),
        ),
        {"count": str(len(starts)), "limit": in_seconds(f"{limit:g}"), "unit": name or "?", "where": place},
        fix=_steps(unit, name, target),
    )


def _limit(master: Process | None) -> float | None:
    """The watchdog's time in seconds, as systemd tells the process; None without one."""
    written = (master.environment or {}).get("WATCHDOG_USEC", "") if master else ""
    return int(written) / 1e6 if written.isdecimal() and 0 < int(written) < 1 << 53 else None


def _starts(log: Log, limit: float, taken_at: float) -> Sequence[LogEntry]:
    """The newest starts, none of which ended in order: the one that lives has not done so for longer than the watchdog
    lets it, and the others lived for just that long."""
    starts: list[LogEntry] = []
    ended = taken_at
    lives: list[float] = []
    for entry in reversed(entries_with(log, _STARTS, *_ENDED_IN_ORDER)):
        life = ended - entry.time
        if _STARTS not in entry.text or life > limit + _AND_SOME:
            break
        if starts:
            lives.append(life)
            if life < limit - _ROUNDED or max(lives) - min(lives) > _EVEN:
                break
        starts.insert(0, entry)
        ended = entry.time
    return starts


def _unit(master: Process, schedule: Schedule | NotSeen) -> WatchedUnit | None:
    if isinstance(schedule, NotSeen):
        return None
    application = wsgi(master)
    return next(
        (
            unit
            for unit in schedule.watched
            if unit.name == master.unit
            or any("gunicorn" in words and (application or "gunicorn") in words for words in unit.commands)
        ),
        None,
    )


def _steps(unit: WatchedUnit | None, name: str, target: Target) -> tuple[str, ...] | None:
    if unit is None:
        return None
    return (
        f"sed -i --follow-symlinks '{unit.line}s/^/#/' {shlex.quote(unit.file)}",
        "systemctl daemon-reload",
        f"systemctl restart {shlex.quote(name)}" if name else target.restart_command,
    )


CHECKS = (watchdog,)
