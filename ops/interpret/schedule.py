"""Find the scheduled jobs that run a given command, and those of them that do nothing here."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from ops.facts.safeguards import Schedule

# Debian's cron entries for certbot and logrotate do nothing if systemd is the init system: its timers do the work.
NOT_UNDER_SYSTEMD = re.compile(
    r"!\s+-d\s+[\"']?/run/systemd/system|"
    r"\[\s+-d\s+/run/systemd/system\s+\]\s*(?:;\s*then|&&)\s*exit\b"
)
# A run of the watchdog, not a command to a running one.
WATCHDOG_RUN = re.compile(r"(?:gte-ops|ops\.cli)\b(?:\s+-\S+)*\s+watchdog\b(?!\s+(?:pause|resume|status))")
# A signal or a command that has a service read its configuration anew.
SENDS_HUP = re.compile(
    r"\b(?:kill|pkill|killall)\b[^\n;&|]*?\s-(?:s\s*(?:SIG)?HUP|(?:SIG)?HUP|1)\b"
    r"|\bsystemctl\b[^\n;&|]*\breload\b|\bsupervisorctl\s+signal\s+(?:SIG)?HUP\b|\bservice\s+\S+\s+reload\b"
)
# What the service of each safeguard's timer runs, as other schedules of the same job write it.
SAFEGUARD_RUNS = {
    "gte-ops-backup.timer": re.compile(r"gte-ops\b[^\n;&|]*\bbackup create\b"),
    "gte-ops-drill.timer": re.compile(r"gte-ops\b[^\n;&|]*\bbackup drill\b"),
    "gte-ops-cert.timer": re.compile(r"gte-ops\b[^\n;&|]*\bcert check\b"),
    "logrotate.timer": re.compile(r"\blogrotate\b"),
}


class Job(msgspec.Struct, frozen=True):
    """A scheduled job. ``where``: the file and line, or the unit; ``idle``: why it does nothing here, or None."""

    where: str
    when: str
    command: str
    idle: str | None = None


def jobs_running(schedule: Schedule, pattern: re.Pattern[str], *, has_systemd: bool) -> Iterator[Job]:
    """Yield every cron entry, timer and service at boot with a command or script that matches ``pattern``. Those
    that do nothing here have the reason in ``idle``."""
    for entry in schedule.cron:
        if pattern.search(entry.command) or pattern.search(entry.script):
            guarded = NOT_UNDER_SYSTEMD.search(entry.command) or NOT_UNDER_SYSTEMD.search(entry.script)
            idle = "it does nothing where systemd runs" if guarded and has_systemd else None
            yield Job(f"{entry.file}:{entry.line}", entry.when, entry.command, idle)
    for timer in schedule.timers:
        if any(pattern.search(words) for words in (*timer.commands, *timer.scripts)):
            idle = None
            if not has_systemd:
                idle = "systemd does not run here"
            elif not timer.enabled:
                idle = "it is not enabled"
            yield Job(timer.name, "; ".join(timer.when), "; ".join(timer.commands), idle)
    for service in schedule.services:
        if any(pattern.search(words) for words in service.commands):
            idle = None if has_systemd else "systemd does not run here"
            yield Job(service.name, "at boot", "; ".join(service.commands), idle)


def cron_period(when: str) -> float:
    """Estimate the seconds between two runs of a cron entry; 0 for other jobs (a timer, a service at boot).

    Coarse, and never too short: every minute, every N minutes, else an hour, a day or 31 days, by the coarsest column
    that is fixed (crontab(5))."""
    fields = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *"}.get(when, when).split()
    if len(fields) != 5:
        return 0.0
    minute, hour, *days = fields
    if any(field != "*" for field in days):
        return 31 * 86400.0
    if hour != "*":
        return 86400.0
    if minute == "*":
        return 60.0
    step = re.fullmatch(r"\*/(\d{1,2})", minute)
    return 60.0 * int(step[1]) if step else 3600.0
