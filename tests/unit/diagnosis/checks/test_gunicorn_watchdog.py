"""systemd's watchdog and gunicorn, which gives it no sign of life."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.logs import LogEntry
from ops.facts.safeguards import Schedule, WatchedUnit
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    GUNICORN_MASTER,
    GUNICORN_PROCESSES,
    NGINX_PROCESSES,
    but,
    entry,
    gunicorn_log,
    processes,
    unit,
    units,
)

UNIT = WatchedUnit(
    name="shop.service",
    file="/etc/systemd/system/shop.service",
    line=7,
    commands=("/opt/venv/bin/gunicorn -c /srv/shop/gunicorn.conf.py app:app",),
)


def started(*ago: float, **more: Any) -> tuple[LogEntry, ...]:
    return tuple(entry("Starting gunicorn 27.0.1", ago=at, level="info", **more) for at in ago)


def watched(
    *entries: LogEntry, limit: str | None = "30000000", files: tuple[WatchedUnit, ...] = (UNIT,)
) -> Snapshot:
    """The master runs in a unit with WatchdogSec=30, and its log has these."""
    environment = {} if limit is None else {"WATCHDOG_USEC": limit}
    everyone = [
        msgspec.structs.replace(p, environment=environment, unit="shop.service")
        if p.pid == GUNICORN_MASTER
        else p
        for p in GUNICORN_PROCESSES
    ]
    return but(
        processes=processes(NGINX_PROCESSES, everyone),
        logs__gunicorn_error=gunicorn_log(*entries),
        schedule=Schedule(cron=(), timers=(), watched=files),
    )


AGAIN = started(100, 66, 33, 2)
CASES = [
    fires(
        "GUN039",
        "it is started every half minute",
        watched(*AGAIN),
        "4 x Starting gunicorn",
        "WatchdogSec=30",
        severity="fail",
    ),
    fires("GUN039", "the unit's file was not read", watched(*AGAIN, files=()), "WATCHDOG_USEC=30000000"),
    quiet("GUN039", "no watchdog", watched(*AGAIN, limit=None)),
    quiet("GUN039", "a watchdog that is off", watched(*AGAIN, limit="0")),
    quiet("GUN039", "it lives: somebody gives the sign", watched(*started(800, 766, 733))),
    quiet("GUN039", "it dies of something else, long before", watched(*started(9, 6, 3), limit="600000000")),
    quiet("GUN039", "it dies a little before", watched(*started(85, 58, 31, 4))),
    quiet("GUN039", "it dies now and then", watched(*started(150, 92, 61, 3))),
    quiet(
        "GUN039",
        "systemd saw it run out of memory",
        but(watched(*AGAIN), units=units(unit(result="oom-kill"))),
    ),
    quiet("GUN039", "a person has restarted it", watched(*started(20, 2))),
    quiet(
        "GUN039",
        "it was ended in order each time",
        watched(
            *(
                one
                for at in (100.0, 66.0, 33.0)
                for one in (*started(at), entry("Handling signal: term", ago=at - 9, level="info"))
            ),
            *started(2),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_the_line_of_the_unit_is_taken_out() -> None:
    assert found(watched(*AGAIN))["GUN039"].fix == (
        "sed -i --follow-symlinks '7s/^/#/' /etc/systemd/system/shop.service",
        "systemctl daemon-reload",
        "systemctl restart shop.service",
    )
