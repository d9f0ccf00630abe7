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
# A command that tells a service to reload, and the pause of a loop around one.
SENDS_HUP = re.compile(
    r"\b(?:kill|pkill|killall)\b[^\n;&|]*?\s-(?:s\s*(?:SIG)?HUP|(?:SIG)?HUP|1)\b[^\n;&|]*"
    r"|\bsystemctl\b[^\n;&|]*\breload\b[^\n;&|]*|\bsupervisorctl\s+signal\s+(?:SIG)?HUP\b[^\n;&|]*"
    r"|\bservice\s+\S+\s+reload\b"
)
LOOP_PAUSE = re.compile(r"(?<![^;&|\n])\s*(?:(?:do|while)\s+)?sleep\s+(?P<seconds>\d{1,6})\s*(?=[;&|\n]|$)")
# What the service of each safeguard's timer runs, as other schedules of the same job write it.
SAFEGUARD_RUNS = {
    "gte-ops-backup.timer": re.compile(r"gte-ops\b[^\n;&|]*\bbackup create\b"),
    "gte-ops-drill.timer": re.compile(r"gte-ops\b[^\n;&|]*\bbackup drill\b"),
    "gte-ops-cert.timer": re.compile(r"gte-ops\b[^\n;&|]*\bcert check\b"),
    "logrotate.timer": re.compile(r"\blogrotate\b"),
}


class Job(msgspec.Struct, frozen=True):
    """A scheduled job. ``where``: the file and line, or the unit; ``idle``: why it does nothing here, or None;
    ``script``: the scripts that its commands run."""

    where: str
    when: str
    command: str
    idle: str | None = None
    script: str = ""


def jobs_running(schedule: Schedule, pattern: re.Pattern[str], *, has_systemd: bool) -> Iterator[Job]:
    """Yield every cron entry, timer and service at boot with a command or script that matches ``pattern``. Those
    that do nothing here have the reason in ``idle``."""
    for entry in schedule.cron:
        if pattern.search(entry.command) or pattern.search(entry.script):
            guarded = NOT_UNDER_SYSTEMD.search(entry.command) or NOT_UNDER_SYSTEMD.search(entry.script)
            idle = "it does nothing where systemd runs" if guarded and has_systemd else None
            yield Job(f"{entry.file}:{entry.line}", entry.when, entry.command, idle, entry.script)
    for timer in schedule.timers:
        if any(pattern.search(words) for words in (*timer.commands, *timer.scripts)):
            idle = None
            if not has_systemd:
                idle = "systemd does not run here"
            elif not timer.enabled:
                idle = "it is not enabled"
            script = "\n".join(timer.scripts)
            yield Job(timer.name, "; ".join(timer.when), "; ".join(timer.commands), idle, script)
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
    return _every_minutes(minute) or 3600.0


_EVERY_MINUTES = re.compile(r"(?:\*|0-59)(?:/([1-9]\d?))?")
_CALENDAR = re.compile(r"OnCalendar=(?:\*-\*-\* )?\*:(?:\*|(?:\*|0?0)/(?P<minutes>\d{1,2}))(?::0?0)?")
_CALENDAR_SECONDS = re.compile(r"OnCalendar=(?:\*-\*-\* )?\*:\*:(?:\*|0?0)/(?P<seconds>\d{1,2})")
_SPAN = re.compile(
    r"OnUnit(?:In)?[aA]ctiveSec=(?P<number>\d{1,6}) ?(?P<unit>s|secs?|seconds?|m|min|minutes?|h|hr|hours?)?"
)


def exact_period(job: Job) -> float | None:
    """The seconds between two of what ``job`` does if they are always the same: its loop's pause, every minute or
    every N minutes of all hours (crontab(5)), a timer's interval (systemd.timer(5)); None otherwise."""
    words = f"{job.command}\n{job.script}"
    if re.search(r"\b(?:while|until|for)\b", words):
        pauses = {int(match["seconds"]) for match in LOOP_PAUSE.finditer(words)}
        return float(pauses.pop()) if len(pauses) == 1 else None
    if job.when == "minutely":
        return 60.0
    fields = job.when.split()
    if len(fields) == 5 and (every := _every_minutes(fields[0])):
        return every if set(fields[1:]) == {"*"} else None
    periods = [period for setting in job.when.split("; ") if (period := _timer_period(setting.strip()))]
    return periods[0] if len(periods) == 1 else None


def _every_minutes(field: str) -> float | None:
    """The seconds between two runs in an hour, by a cron entry's first column; None if it names single minutes."""
    every = _EVERY_MINUTES.fullmatch(field)
    return 60.0 * int(every[1] or 1) if every else None


def _timer_period(setting: str) -> float | None:
    if setting == "OnCalendar=minutely":
        return 60.0
    if match := _CALENDAR.fullmatch(setting):
        return 60.0 * int(match["minutes"] or 1)
    if match := _CALENDAR_SECONDS.fullmatch(setting):
        return float(match["seconds"])
    if match := _SPAN.fullmatch(setting):
        return float(match["number"]) * {"s": 1, "m": 60, "h": 3600}[(match["unit"] or "s")[0]]
    return None
