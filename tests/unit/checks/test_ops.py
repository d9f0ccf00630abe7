"""The safeguards themselves."""

from __future__ import annotations

import pytest

from ops.snapshot import LogFile, NotSeen, OpenLog, RotationRule, Snapshot, WatchdogState
from tests.unit.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import (
    GUNICORN_ACCESS_LOG,
    GUNICORN_MASTER,
    HEALTHY,
    NGINX_ACCESS_LOG,
    NGINX_MASTER,
    NGINX_WORKER,
    NOW,
    SERVICE_LOGS,
    but,
    rotation_rule,
)


def state(*, gave_up: bool) -> WatchdogState:
    return WatchdogState(
        path="/var/lib/gte-ops/watchdog.json", last_round=NOW - 5, gave_up=gave_up, actions=3
    )


def ruled(*rules: RotationRule) -> Snapshot:
    return but(rotation__rules=rules)


def writing(*logs: OpenLog) -> Snapshot:
    return but(open_logs=(*HEALTHY.open_logs, *logs))  # type: ignore[misc]


def opened(path: str, pid: int = NGINX_MASTER, *, deleted: bool = False) -> OpenLog:
    return OpenLog(pid=pid, path=path, deleted=deleted, size=512)


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
        facts={"pid": str(NGINX_MASTER), "path": f"{NGINX_ACCESS_LOG}.1"},
    ),
    fires(
        "OPS002",
        "a removed log",
        writing(opened(GUNICORN_ACCESS_LOG, GUNICORN_MASTER, deleted=True)),
        "(deleted)",
    ),
    quiet("OPS002", "each writes to the log of that name", HEALTHY),
    quiet("OPS002", "its open files may not be read", but(open_logs=NotSeen(reason="-", needs_root=True))),
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
