"""A host after an incident, as its logs, baselines and marks tell of it: a deployment at 02:50, errors from 02:54, a
restart by the watchdog at 02:56, a rollback at 03:05."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from ops.baselines.directory import baseline_directory
from ops.baselines.state import Baseline, FileState, Mark
from ops.baselines.store import BaselineStore
from ops.diagnosis.engine import diagnose
from ops.doctor import Examination
from ops.facts.base import NotSeen
from ops.facts.changes import PlaceKind
from ops.facts.safeguards import WatchdogAction, WatchdogFacts
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.facts.timeline import Timeline
from ops.settings import Settings
from ops.timeline import timeline_of
from tests.unit.made_snapshot import HEALTHY

APP = "/srv/gte/app.py"
MIDNIGHT = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
# Requests a minute, and of those the failed ones during the outage.
REQUESTS, FAILED = 20, 15


def at(clock: str, second: int = 0) -> float:
    """Unix seconds of a time of that day, UTC."""
    hour, minute = map(int, clock.split(":"))
    return MIDNIGHT + hour * 3600 + minute * 60 + second


def incident_timeline(directory: Path) -> Timeline:
    """The timeline from 02:30 to 03:30, of files that are written to ``directory``. The time zone must be UTC."""
    settings = Settings()
    state_file = str(directory / "state" / "watchdog.json")
    settings = replace(settings, watchdog=replace(settings.watchdog, state_file=state_file))
    _write_logs(directory)
    _record_baselines(BaselineStore(baseline_directory(settings)))
    snapshot = _snapshot(directory)
    return timeline_of(Examination(snapshot, diagnose(snapshot, ())), settings, at("02:30"), at("03:30"))


def _snapshot(directory: Path) -> Snapshot:
    target = HEALTHY.target
    assert isinstance(target, Target)
    target = replace(
        target,
        nginx_access_log=str(directory / "access.log"),
        nginx_error_logs=(str(directory / "error.log"),),
        gunicorn_access_log=None,
        gunicorn_error_log=str(directory / "gunicorn.log"),
    )
    watchdog = WatchdogFacts(
        path="/var/lib/gte-ops/watchdog.json",
        last_round=at("03:30"),
        gave_up=False,
        actions=1,
        done=(WatchdogAction(time=at("02:56", 4), rung="restart", pid=None),),
    )
    return replace(HEALTHY, target=target, watchdog=watchdog, units=NotSeen(reason="x"))


def _write_logs(directory: Path) -> None:
    access, errors, gunicorn = [], [], []
    for minute in range(60):
        begin = at("02:30") + 60 * minute
        is_bad = at("02:54") <= begin < at("03:05")
        for number in range(REQUESTS):
            moment = begin + number * 60 / REQUESTS
            status = 502 if is_bad and number < FAILED else 200
            access.append(
                f"203.0.113.{number + 1} - - [{_utc(moment):%d/%b/%Y:%H:%M:%S} +0000]"
                f' "POST /predict HTTP/1.1" {status} 157 "-" "shop/1.0"'
            )
            if status == 502:
                errors.append(
                    f"{_utc(moment):%Y/%m/%d %H:%M:%S} [error] 811#811: *{number + 7} connect() failed (111:"
                    " Connection refused) while connecting to upstream, client: 203.0.113.9, server: gte.example,"
                    ' request: "POST /predict HTTP/1.1", upstream: "http://127.0.0.1:8000/predict"'
                )
    for clock, second, words in (
        ("02:53", 58, "Handling signal: term"),
        ("02:53", 59, "Shutting down: Master"),
        ("02:56", 5, "Starting gunicorn 23.0.0"),
        ("03:05", 1, "Starting gunicorn 23.0.0"),
    ):
        gunicorn.append(f"[{_utc(at(clock, second)):%Y-%m-%d %H:%M:%S} +0000] [500] [INFO] {words}")
    for name, lines in (("access", access), ("error", errors), ("gunicorn", gunicorn)):
        path = directory / f"{name}.log"
        path.write_text("\n".join(lines) + "\n")
        os.utime(path, (at("03:30"), at("03:30")))


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)


def _record_baselines(store: BaselineStore) -> None:
    """The application before the deployment, after it, and after the rollback."""
    for clock, text in (
        ("02:20", "LIMIT = 10\n"),
        ("02:51", "LIMIT = int('ten')\n"),
        ("03:06", "LIMIT = 10\n"),
    ):
        written = {"02:20": "01:00", "02:51": "02:50", "03:06": "03:05"}[clock]
        content = text.encode()
        digest = hashlib.sha256(content).hexdigest()
        nanoseconds = int(at(written, 10) * 1e9)
        file = FileState(
            place=PlaceKind.APPLICATION, size=len(content), mtime=nanoseconds, ctime=nanoseconds, inode=1, mode=0o644,
            uid=0, gid=0, digest=digest, is_kept=True,
        )  # fmt: skip
        store.record(
            Baseline(
                made_by="test",
                taken_at=at(clock),
                looked_at=at(clock),
                by="watchdog",
                files={APP: file},
                values={},
            ),
            {digest: content},
        )
    store.mark(Mark(time=at("02:50", 2), text="release 2.4", by="deploy"))
    store.mark(Mark(time=at("03:05", 2), text="back to 2.3", by="deploy"))
