"""What logs and databases tell about a span of time."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.collect.timeline import log_events, minute_traffic, package_events, repair_events, rotation_events
from ops.facts.timeline import EventKind

SINCE = 1_795_309_200.0
UNTIL = SINCE + 3600


def access(at: float, status: int, agent: str = "curl/8") -> str:
    stamp = datetime.fromtimestamp(SINCE + at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'203.0.113.9 - - [{stamp}] "POST /predict HTTP/1.1" {status} 5 "-" "{agent}"'


def written(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    os.utime(path, (UNTIL, UNTIL))
    return str(path)


def test_requests_by_minute_and_kind(tmp_path: Path) -> None:
    path = written(
        tmp_path / "access.log",
        access(-100, 200),
        access(1, 200),
        access(2, 404),
        access(59, 502),
        access(61, 499),
        access(62, 302),
        access(63, 200, "gte-ops-watchdog/0.2"),
    )
    minutes, events, gaps = minute_traffic(path, SINCE, UNTIL)
    counts = [(m.time - SINCE, m.succeeded, m.refused, m.failed, m.left) for m in minutes]
    assert counts == [(0, 1, 1, 1, 0), (60, 1, 0, 0, 1)]
    assert (events, gaps) == ([], [])


def test_a_name_like_the_toolkits_hides_nothing(tmp_path: Path) -> None:
    """Its directories, its hosts and anybody's paths have it too; its own requests have it in their agent."""
    path = written(tmp_path / "access.log", access(1, 502).replace("/predict", "/gte-ops/predict"))
    ((minute,), _, _) = minute_traffic(path, SINCE, UNTIL)
    assert minute.failed == 1
    stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(SINCE + 5))
    socket = "connect() to unix:/run/gte-ops/app.sock failed (111: Connection refused)"
    path = written(
        tmp_path / "error.log",
        f"{stamp} [error] 7#7: *1 {socket}",
        f"{stamp} [error] 7#7: *2 refused to gte-ops-doctor/0.2",
    )
    events, _ = log_events(path, "nginx", SINCE, UNTIL)
    assert [event.words.en for event in events] == [socket]


def test_alike_errors_of_connections_with_short_and_long_numbers_are_one(tmp_path: Path) -> None:
    stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(SINCE + 5))
    refused = "connect() failed (111: Connection refused) while connecting to upstream, client: 203.0.113.9"
    lines = [f"{stamp} [error] 7#7: *{number} {refused}" for number in (9, 10, 12345)]
    events, _ = log_events(written(tmp_path / "error.log", *lines), "nginx", SINCE, UNTIL)
    assert [(event.words.en, event.count) for event in events] == [(refused, 3)]


def test_an_impossible_date_in_a_package_log_hides_no_other_line(tmp_path: Path) -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(SINCE + 5))
    path = written(
        tmp_path / "dpkg.log",
        f"{stamp} install curl:amd64 <none> 8.0",
        "2026-02-30 25:61:00 install x:all <none> 1",
    )
    (event,) = package_events(SINCE, UNTIL, (path,), ())
    assert event.words.en == "install curl 8.0"


def test_a_clock_that_was_set_back_is_told(tmp_path: Path) -> None:
    path = written(
        tmp_path / "access.log", access(1, 200), access(900, 200), access(300, 200), access(310, 200)
    )
    _, events, _ = minute_traffic(path, SINCE, UNTIL)
    (step,) = events
    assert (step.kind, step.time - SINCE, step.words.en) == (
        EventKind.CLOCK,
        300,
        "the clock was set back by 600 s, or nginx writes the log late (buffer=)",
    )


def test_what_was_not_read_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.collect.timeline.MAX_ACCESS_BYTES", 2000)
    path = written(tmp_path / "access.log", *[access(number, 200) for number in range(100)])
    minutes, _, (gap,) = minute_traffic(path, SINCE, UNTIL)
    read = sum(minute.total for minute in minutes)
    assert 0 < read < 100
    assert (gap.since, gap.until) == (SINCE, SINCE + 100 - read)
    missing = minute_traffic(str(tmp_path / "none"), SINCE, UNTIL)[2]
    assert "No such file" in missing[0].reason


def nginx(at: float, level: str, words: str) -> str:
    stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(SINCE + at))
    return f"{stamp} [{level}] 7#7: {words}"


def gunicorn(at: float, level: str, words: str) -> str:
    stamp = datetime.fromtimestamp(SINCE + at, UTC).strftime("%Y-%m-%d %H:%M:%S +0000")
    return f"[{stamp}] [7] [{level}] {words}"


def test_starts_reloads_and_errors_of_nginx(tmp_path: Path) -> None:
    path = written(
        tmp_path / "error.log",
        nginx(5, "notice", "start worker processes"),
        *[nginx(10 + n, "error", f"*{n} connect() failed (111: Connection refused)") for n in range(3)],
        nginx(70, "warn", "a client request body is buffered"),
        nginx(80, "notice", "reconfiguring"),
    )
    events, gaps = log_events(path, "nginx", SINCE, UNTIL)
    told = sorted((e.time - SINCE, e.kind, e.count) for e in events)
    assert told == [(5, EventKind.START, 1), (10, EventKind.ERROR, 3), (80, EventKind.RELOAD, 1)]
    assert gaps == []


def test_the_life_of_gunicorn(tmp_path: Path) -> None:
    path = written(
        tmp_path / "gunicorn.log",
        gunicorn(1, "INFO", "Starting gunicorn 23.0.0"),
        gunicorn(2, "INFO", "Handling signal: hup"),
        gunicorn(3, "CRITICAL", "WORKER TIMEOUT (pid:12)"),
        gunicorn(4, "INFO", "Handling signal: term"),
        gunicorn(5, "INFO", "Shutting down: Master"),
    )
    events, _ = log_events(path, "gunicorn", SINCE, UNTIL)
    assert [e.kind for e in sorted(events, key=lambda e: e.time)] == [
        EventKind.START,
        EventKind.RELOAD,
        EventKind.ERROR,
        EventKind.STOP,
        EventKind.STOP,
    ]


def test_packages_many_of_a_minute_as_one(tmp_path: Path) -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M", time.localtime(SINCE + 120))
    path = written(
        tmp_path / "dpkg.log",
        f"{stamp}:00 startup archives unpack",
        *[f"{stamp}:0{n} upgrade lib{n}:amd64 1.{n} 2.{n}" for n in range(6)],
        f"{stamp}:07 status installed lib1:amd64 2.1",
    )
    dnf = datetime.fromtimestamp(SINCE + 600, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    other = written(tmp_path / "dnf.rpm.log", f"{dnf} SUBDEBUG Upgraded: nginx-1.24-1.x86_64")
    first, second = package_events(SINCE, UNTIL, [path], [other])
    assert first.words.en.startswith("upgrade lib5 1.5 -> 2.5, upgrade lib4 1.4 -> 2.4, ")
    assert first.words.en.endswith(" and 2 more")
    assert second.words.en == "upgraded nginx-1.24-1.x86_64"


def test_rotations_by_the_rotated_files(tmp_path: Path) -> None:
    for name, at in (("a.log", 10.0), ("a.log.1", 20.0), ("a.log-20261130.gz", 30.0), ("a.log.bak", 40.0)):
        written(tmp_path / name, "x")
        os.utime(tmp_path / name, (SINCE + at, SINCE + at))
    events = sorted(rotation_events([str(tmp_path / "a.log")], SINCE, UNTIL), key=lambda e: e.time)
    assert [e.time - SINCE for e in events] == [20, 30]


def test_repairs_by_the_audit_log(tmp_path: Path) -> None:
    def line(at: float, step: str, **facts: str) -> str:
        moment = datetime.fromtimestamp(SINCE + at, UTC).isoformat()
        return json.dumps({"time": moment, "step": step, "code": "GUN001", "what": "start gunicorn", **facts})

    path = written(
        tmp_path / "fix.jsonl",
        line(1, "begun"),
        line(2, "done", outcome="applied"),
        "no json",
        line(3, "edit"),
    )
    events = list(repair_events(Path(path), SINCE, UNTIL))
    assert sorted(e.words.en for e in events) == [
        "doctor --fix begins: GUN001 start gunicorn",
        "doctor --fix ends: GUN001 start gunicorn applied",
    ]
