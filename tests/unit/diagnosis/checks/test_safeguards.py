"""The safeguards themselves."""

from __future__ import annotations

import msgspec
import pytest

from ops.facts.base import NotSeen
from ops.facts.host import Process
from ops.facts.safeguards import Backup, CronEntry, LogFile, OpenLog, RotationRule, WatchdogFacts
from ops.facts.snapshot import Snapshot
from ops.text.language import Text
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    GUNICORN_ACCESS_LOG,
    GUNICORN_ERROR_LOG,
    GUNICORN_MASTER,
    HEALTHY,
    NGINX_ACCESS_LOG,
    NGINX_MASTER,
    NGINX_WORKER,
    NOW,
    SERVICE_LOGS,
    backup_file,
    but,
    process,
    rotation_rule,
)


def state(*, gave_up: bool) -> WatchdogFacts:
    return WatchdogFacts(
        path="/var/lib/gte-ops/watchdog.json", last_round=NOW - 5, gave_up=gave_up, actions=3
    )


def ruled(*rules: RotationRule) -> Snapshot:
    return but(rotation__rules=rules)


def writing(*logs: OpenLog) -> Snapshot:
    return but(open_logs=(*HEALTHY.open_logs, *logs))  # type: ignore[misc]


def opened(path: str, pid: int = NGINX_MASTER, *, deleted: bool = False) -> OpenLog:
    return OpenLog(pid=pid, path=path, deleted=deleted, size=512)


def saved(*backups: Backup) -> Snapshot:
    return but(backups__backups=backups)


HOLLOW = backup_file(
    "gte-prod-backup-20261122.tar.gz", is_own=False, loose_links=("letsencrypt/live/a/privkey.pem",)
)
EVERY_MINUTE = CronEntry(
    file="/etc/cron.d/gte-ops-watchdog",
    line=6,
    when="* * * * *",
    user="root",
    command="gte-ops watchdog --once",
)
LOOKING_ASIDE = msgspec.structs.replace(EVERY_MINUTE, command="gte-ops watchdog status")


def watched(
    last_round: float | None,
    *cron: CronEntry,
    interval: float = 15.0,
    processes: tuple[Process, ...] = (),
    has_systemd: bool = False,
) -> Snapshot:
    """The watchdog's last round so many seconds ago (None: it has never run), and these entries."""
    state: WatchdogFacts | NotSeen = NotSeen(reason="does not exist")
    if last_round is not None:
        state = WatchdogFacts(
            path="/run/w.json", last_round=NOW - last_round, gave_up=False, actions=0, interval=interval
        )
    return but(
        watchdog=state,
        host__has_systemd=has_systemd,
        schedule__cron=cron,
        processes__processes=(*HEALTHY.processes.processes, *processes),
    )


def first_line(days: float, rule_days: float = 100, **options: str) -> Snapshot:
    """A log whose first line is so many days old, under a rule of this age with these options (none: daily)."""
    log = LogFile(path="/var/log/gte.log", resolved="/var/log/gte.log", first_line=NOW - days * 86400 - 60)
    rule = rotation_rule("/var/log/gte.log", options=options or {"daily": ""})
    rule = msgspec.structs.replace(rule, file_changed=NOW - rule_days * 86400 - 60)
    return but(rotation__logs=(log,), rotation__rules=(rule,))


def in_loose_directory(**options: str) -> Snapshot:
    log = LogFile(path="/srv/log/gte.log", resolved="/srv/log/gte.log", loose_directory="/srv/log")
    return but(rotation__logs=(log,), rotation__rules=(rotation_rule("/srv/log/gte.log", options=options),))


IGNORED = NotSeen(reason="/etc/logrotate.d/gte-api is ignored by logrotate: writable by group")
CASES: list[Case] = [
    fires(
        "OPS001",
        "gunicorn's logs stand in no rule",
        ruled(rotation_rule("/var/log/nginx/*.log")),
        "matched by no rule in /etc/logrotate.conf",
        severity="warn",
        facts={"logs": "/var/log/gte-gunicorn-access.log, /var/log/gte-gunicorn-error.log"},
    ),
    fires("OPS001", "there is no rule at all", ruled()),
    fires("OPS001", "a pattern for another directory", ruled(rotation_rule("/var/log/*.log"))),
    fires(
        "OPS001",
        "compressed while it is written to",
        ruled(rotation_rule(*SERVICE_LOGS, scripts={})),
        "no postrotate",
        facts={"logs": ", ".join(SERVICE_LOGS)},
    ),
    fires(
        "OPS001",
        "logrotate passes over the file with the rule",
        but(rotation__rules=(), rotation__unread=(IGNORED,)),
        "ignored by logrotate",
    ),
    fires(
        "OPS001",
        "a daily rule, and the first line is 40 days old",
        first_line(40),
        "the first line is 40 days old",
        severity="warn",
    ),
    quiet("OPS001", "the host was off for some days", first_line(5)),
    quiet("OPS001", "the rule has been there since yesterday", first_line(40, rule_days=1)),
    quiet("OPS001", "a rule by size promises no time", first_line(40, daily="", size="100M")),
    quiet("OPS001", "a weekly one has three weeks", first_line(20, weekly="")),
    fires(
        "OPS001",
        "a directory that a group may write, and no su: logrotate refuses it",
        in_loose_directory(daily=""),
        "logrotate skips /srv/log/gte.log",
    ),
    quiet("OPS001", "the same with su", in_loose_directory(daily="", su="root gte")),
    quiet("OPS001", "one rule takes all", ruled(rotation_rule(*SERVICE_LOGS))),
    quiet(
        "OPS001", "not compressed, not reopened", ruled(rotation_rule(*SERVICE_LOGS, options={}, scripts={}))
    ),
    quiet(
        "OPS001",
        "copied and truncated",
        ruled(rotation_rule(*SERVICE_LOGS, options={"compress": "", "copytruncate": ""}, scripts={})),
    ),
    quiet(
        "OPS001",
        "told at the end of all",
        ruled(rotation_rule(*SERVICE_LOGS, scripts={"lastaction": "kill"})),
    ),
    quiet(
        "OPS001",
        "matched by where its link leads",
        but(
            rotation__rules=(rotation_rule("/srv/logs/*.log"),),
            rotation__logs=(LogFile(path="/var/log/gte.log", resolved="/srv/logs/gte.log"),),
        ),
    ),
    quiet(
        "OPS001",
        "the log is a pipe, or not there",
        but(rotation__logs=(LogFile(path="/var/log/gte.log", resolved="/dev/stdout", is_file=False),)),
    ),
    quiet(
        "OPS001",
        "a rule file that only root may read",
        but(rotation__rules=(), rotation__unread=(NotSeen(reason="-", needs_root=True),)),
    ),
    fires(
        "OPS002",
        "a renamed log",
        writing(opened(f"{NGINX_ACCESS_LOG}.1"), opened(f"{NGINX_ACCESS_LOG}.1", NGINX_WORKER)),
        "gte-access.log.1, 512 bytes",
        severity="warn",
        facts={"pid": str(NGINX_MASTER), "path": f"{NGINX_ACCESS_LOG}.1", "program": "nginx"},
    ),
    fires(
        "OPS002",
        "a removed log",
        writing(opened(GUNICORN_ACCESS_LOG, GUNICORN_MASTER, deleted=True)),
        "(deleted)",
        facts={"program": "gunicorn"},
    ),
    quiet("OPS002", "each writes to the log of that name", HEALTHY),
    quiet("OPS002", "its open files may not be read", but(open_logs=NotSeen(reason="-", needs_root=True))),
    fires(
        "OPS003",
        "the directory holds only another host's archives",
        but(backups__backups=(), backups__other_hosts=("web2",)),
        "archives of web2",
    ),
    fires(
        "OPS003",
        "the only one has a time in the future",
        but(backups__backups=(), backups__ahead=("/b/gte-ops-web1-20991231T000000Z.tar.zst",)),
        "is in the future",
    ),
    fires(
        "OPS003",
        "no archive at all",
        saved(),
        "no archive is there",
        severity="warn",
        facts={"newest": "-"},
    ),
    fires("OPS003", "the newest is too old", saved(backup_file(ago=40 * 3600)), "40h old; allowed are 36h"),
    fires(
        "OPS003",
        "the newest is too old, and damaged besides",
        saved(backup_file(ago=40 * 3600, verified=False, reason="-")),
    ),
    quiet("OPS003", "a recent one", HEALTHY),
    quiet(
        "OPS003", "a recent one that was not looked into", saved(backup_file(verified=None, reason="large"))
    ),
    quiet("OPS003", "the newest is damaged: that is told", saved(backup_file(verified=False, reason="-"))),
    quiet("OPS003", "the directory may not be read", but(backups=NotSeen(reason="-", needs_root=True))),
    fires(
        "OPS004",
        "its hash is another one",
        saved(backup_file(verified=False, reason="its SHA-256 is not the one"), backup_file(ago=90_000)),
        "its SHA-256 is not the one",
        severity="fail",
        facts={
            "archive": "/var/backups/gte-ops/gte-ops-gte-1.tar.zst",
            "reason": "its SHA-256 is not the one",
        },
    ),
    quiet("OPS004", "an older one is damaged", saved(backup_file(), backup_file(ago=90_000, verified=False))),
    quiet("OPS004", "not looked into", saved(backup_file(verified=None, reason="larger than 128 MiB"))),
    quiet("OPS004", "it may not be read", saved(backup_file(verified=None, reason="-", needs_root=True))),
    fires(
        "OPS005",
        "the guide's archive of links",
        saved(HOLLOW),
        "letsencrypt/live/a/privkey.pem",
        severity="warn",
        facts={"archive": "/var/backups/gte-ops/gte-prod-backup-20261122.tar.gz"},
    ),
    fires("OPS005", "still made beside better ones", saved(backup_file(ago=60), HOLLOW)),
    quiet(
        "OPS005",
        "an old one that better ones have replaced",
        saved(backup_file(), msgspec.structs.replace(HOLLOW, created_at=NOW - 90 * 86400)),
    ),
    quiet("OPS005", "whole lineages", HEALTHY),
    fires("OPS006", "never installed", watched(None), "no entry, timer or unit", facts={"last_run": "never"}),
    fires("OPS006", "a schedule that asks for its state only", watched(None, LOOKING_ASIDE)),
    fires(
        "OPS006",
        "cron does not run it",
        watched(7200, EVERY_MINUTE),
        "should run it: * * * * *",
        "last check 2h ago",
        severity="warn",
    ),
    fires("OPS006", "it was run once, by hand", watched(5)),
    fires(
        "OPS006",
        "the schedule went, and what ran is gone",
        watched(7200, processes=(process(77, 1, "/usr/bin/python3", "/usr/bin/gte-ops", "watchdog"),)),
    ),
    fires(
        "OPS006",
        "nothing has run it since the clock was set back",
        watched(-8 * 3600, EVERY_MINUTE),
        "last check 8h ahead of the clock",
    ),
    quiet("OPS006", "cron ran it a minute ago", watched(60, EVERY_MINUTE)),
    quiet("OPS006", "a round takes its time", watched(170, EVERY_MINUTE)),
    quiet("OPS006", "it is installed and has yet to run", watched(None, EVERY_MINUTE)),
    quiet(
        "OPS006",
        "every ten minutes by cron",
        watched(1500, msgspec.structs.replace(EVERY_MINUTE, when="*/10 * * * *")),
    ),
    quiet("OPS006", "long intervals", watched(1700, EVERY_MINUTE, interval=600.0)),
    quiet(
        "OPS006",
        "a supervisor of another kind keeps it running",
        watched(5, processes=(process(77, 1, "/usr/bin/python3", "/usr/bin/gte-ops", "watchdog"),)),
    ),
    quiet("OPS006", "systemd runs it", watched(10, has_systemd=True)),
    quiet(
        "OPS006",
        "a crontab that only root may read",
        but(watched(None), schedule__unseen=(NotSeen(reason="-", needs_root=True),)),
    ),
    fires(
        "OPS007",
        "its state says that it holds still",
        but(watchdog=state(gave_up=True)),
        "after 3 actions",
        severity="warn",
        facts={"restarts": "3"},
    ),
    quiet("OPS007", "it acts", but(watchdog=state(gave_up=False))),
    quiet("OPS007", "no watchdog has ever run", but(watchdog=NotSeen(reason="does not exist"))),
    quiet("OPS007", "its state may not be read", but(watchdog=NotSeen(reason="-", needs_root=True))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_why_a_backup_is_damaged_is_chinese_too() -> None:
    why = "its SHA-256 is not the one written beside it: it is damaged"
    reason = found(saved(backup_file(verified=False, reason=why)))["OPS004"].facts["reason"]
    assert isinstance(reason, Text)
    assert (reason.to("en"), reason.to("zh")) == (why, "SHA-256 与旁边记录的不一致：文件已损坏")


def _second_step(snapshot: Snapshot) -> str:
    step = (found(snapshot)["OPS002"].fix or ())[1]
    assert isinstance(step, Text)
    return step.en


def test_the_rule_that_did_not_tell_the_program_is_named() -> None:
    moved = writing(opened(f"{NGINX_ACCESS_LOG}-20261122"))
    rule = moved.rotation.rules[0]
    assert f"the rule at {rule.file}:{rule.line}: it has to reach nginx's master" in _second_step(moved)


def test_where_no_rule_takes_the_log_something_else_moved_it() -> None:
    by_a_script = but(writing(opened(f"{GUNICORN_ERROR_LOG}.old", GUNICORN_MASTER)), rotation__rules=())
    assert "whatever moved it has to send USR1 to gunicorn's master" in _second_step(by_a_script)


def test_where_the_entry_is_in_place_the_fix_is_what_is_to_run_it() -> None:
    silent = found(watched(4 * 3600, EVERY_MINUTE))["OPS006"]
    assert silent.fix == ("service cron start || service crond start",)
    by_systemd = found(watched(4 * 3600, EVERY_MINUTE, has_systemd=True))["OPS006"]
    assert "systemctl enable --now cron" in str(by_systemd.fix)
    cron = process(77, 1, "cron", "-f")
    with_cron = found(watched(4 * 3600, EVERY_MINUTE, processes=(cron,)))["OPS006"]
    assert with_cron.fix is not None
    assert with_cron.fix[-1] == f"sed -n {EVERY_MINUTE.line}p {EVERY_MINUTE.file}"
    assert found(watched(None))["OPS006"].fix is None, "nothing is scheduled: the catalogue's schedule"
