"""Log rotation, backups, the watchdog, and the schedules that run them."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts, NotSeen


class RotationRule(Facts, frozen=True):
    """One block of logrotate's configuration: its patterns, the options in force in it, its scripts by name.
    ``file_changed``: when its file was put there or changed last, Unix time."""

    file: str
    line: int
    patterns: tuple[str, ...]
    options: dict[str, str] = msgspec.field(default_factory=dict)
    scripts: dict[str, str] = msgspec.field(default_factory=dict)
    file_changed: float | None = None


class LogFile(Facts, frozen=True):
    """A log of the service. ``resolved``: its path without links; ``is_file``: it exists and is a regular file;
    ``first_line``: when its first line was written, Unix time; ``loose_directory``: its directory, if others than root
    may write it so that logrotate refuses to work there without ``su``."""

    path: str
    resolved: str
    is_file: bool = True
    first_line: float | None = None
    loose_directory: str = ""


class Rotation(Facts, frozen=True):
    """The rotation rules in force and the logs that they should rotate. ``unread``: files that were not read, or that
    logrotate itself skips."""

    files: tuple[str, ...]
    rules: tuple[RotationRule, ...]
    unread: tuple[NotSeen, ...] = ()
    logs: tuple[LogFile, ...] = ()


class OpenLog(Facts, frozen=True):
    """A file that a process of nginx or gunicorn has open for writing: a log, possibly renamed since, or ``deleted``.
    ``size`` in bytes."""

    pid: int
    path: str
    deleted: bool
    size: int


class Backup(Facts, frozen=True):
    """One archive. ``is_own``: made by gte-ops, judging by its name; ``created_at``: from the name, else the file's
    time.

    ``verified``: it can be read and is as it was written (False: ``reason`` says why not); None: not checked.
    ``loose_links``: certificates' links in it whose target is missing from it."""

    path: str
    created_at: float
    size: int
    is_own: bool
    verified: bool | None = None
    reason: str | None = None
    loose_links: tuple[str, ...] = ()
    needs_root: bool = False


class Backups(Facts, frozen=True):
    """The archives of this host in the backup directory and in the guide's, the newest first. ``max_age``: seconds
    after which one is too old; ``other_hosts``: whose archives lie there too; ``ahead``: archives of this host with a
    time in the future."""

    directory: str
    max_age: float
    backups: tuple[Backup, ...]
    other_hosts: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()


class WatchdogAction(Facts, frozen=True):
    """One action of the watchdog (kill_worker, restart, ...), and its worker."""

    time: float
    rung: str
    pid: int | None = None


class WatchdogFacts(Facts, frozen=True):
    """The state that the watchdog last saved. ``gave_up``: it takes no action for now; ``actions``: the number of
    recorded actions; ``done``: those actions. ``interval``: seconds between two cycles, as configured."""

    path: str
    last_round: float | None
    gave_up: bool
    actions: int
    interval: float = 15.0
    done: tuple[WatchdogAction, ...] = ()


class CronEntry(Facts, frozen=True):
    """One entry of a crontab, or one script that an entry runs by run-parts. ``script``: the beginning of the shell
    script that the command runs, without comments; empty if it runs a program."""

    file: str
    line: int
    when: str
    user: str
    command: str
    script: str = ""


class Timer(Facts, frozen=True):
    """One systemd timer and the command of its service. ``when``: its On... settings as written. ``enabled``: wanted by
    some target, and neither it nor its service masked."""

    name: str
    file: str
    enabled: bool
    when: tuple[str, ...]
    service: str
    commands: tuple[str, ...]
    scripts: tuple[str, ...] = ()


class BootService(Facts, frozen=True):
    """One service that systemd starts at boot."""

    name: str
    file: str
    commands: tuple[str, ...]


class WatchedUnit(Facts, frozen=True):
    """A service that systemd ends without a sign of life: the file and line of WatchdogSec=, and its commands."""

    name: str
    file: str
    line: int
    commands: tuple[str, ...]


class Schedule(Facts, frozen=True):
    """Everything that runs on a schedule. ``watched``: units with WatchdogSec=, if gunicorn runs in such a one;
    ``unseen``: the places that could not be read."""

    cron: tuple[CronEntry, ...]
    timers: tuple[Timer, ...]
    services: tuple[BootService, ...] = ()
    watched: tuple[WatchedUnit, ...] = ()
    unseen: tuple[NotSeen, ...] = ()
