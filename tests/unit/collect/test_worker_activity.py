"""Signs of life between two readings; the kernel's table of accept queues."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ops.collect.net.connection import Deadline
from ops.collect.process import bound_sockets, worker_activity
from ops.collect.process.start_time import start_ticks
from ops.collect.process.worker_activity import ActivityReading
from ops.facts.gunicorn import InFlight, ProgressRecord
from ops.facts.probes import WorkerActivity
from tests.unit.made_snapshot import but


def record(
    pid: int, completed: int, *, last: float | None = None, since: float | None = None
) -> ProgressRecord:
    return ProgressRecord(
        pid=pid,
        start_ticks=1,
        phase="ready",
        completed=completed,
        last_completed=last,
        in_flight=() if since is None else (InFlight(path="/predict", since=since),),
    )


def reading(
    at: float = 0.0,
    states: dict[int, str] | None = None,
    cpu: dict[int, float] | None = None,
    records: tuple[ProgressRecord, ...] = (),
    queued: int | None = 0,
) -> ActivityReading:
    return ActivityReading(at=at, states=states or {}, cpu=cpu or {}, progress=records, queued=queued)


def test_two_readings_are_compared_worker_by_worker() -> None:
    before = reading(10.0, {1: "sleeping", 2: "running"}, {1: 4.0, 2: 5.0}, (record(1, 50),), 3)
    after = reading(12.5, {1: "stopped"}, {1: 4.5}, (record(1, 53), record(3, 1)), 4)
    compared = worker_activity.compare(before, after, (1, 2, 3))
    assert compared.seconds == 2.5
    assert compared.queued == (3, 4)
    assert compared.workers == (
        WorkerActivity(pid=1, state="stopped", cpu=(4.0, 4.5), completed=(50, 53)),
        WorkerActivity(pid=2, state="gone", cpu=None, completed=None),
        WorkerActivity(pid=3, state="gone", cpu=None, completed=None),
    )
    assert compared.progress == after.progress


def test_completions_count_what_was_done_meanwhile_by_those_seen_at_both_ends() -> None:
    before = reading(records=(record(1, 50), record(2, 9)))
    after = reading(records=(record(1, 53), record(2, 0), record(3, 100)))
    assert worker_activity.completions(before, after) == 3


@pytest.mark.parametrize(
    ("states", "pointless"),
    [
        ({1: "stopped", 2: "stopped"}, True),
        ({1: "stopped", 2: "sleeping"}, False),
        ({1: "tracing-stop", 2: "zombie"}, True),
        ({1: "stopped"}, True),
    ],
)
def test_nobody_can_answer_once_every_worker_is_stopped_or_gone(
    states: dict[int, str], pointless: bool
) -> None:
    assert worker_activity.nobody_can_answer(reading(states=states), (1, 2)) is pointless


def test_without_workers_nothing_is_known_of_who_can_answer() -> None:
    assert not worker_activity.nobody_can_answer(reading(), ())


@pytest.mark.parametrize(
    ("records", "stuck"),
    [
        ((), False),
        ((record(1, 5, last=800.0, since=870.0),), True),
        ((record(1, 5, last=None, since=870.0),), True),
        ((record(1, 5, last=800.0, since=890.0),), False),
        ((record(1, 5, last=990.0, since=870.0),), False),
        ((record(1, 5, last=800.0),), False),
        ((record(1, 5, last=800.0, since=870.0), record(2, 5, last=800.0)), False),
        ((record(1, 5, last=800.0, since=870.0), record(2, 5, last=800.0, since=860.0)), True),
    ],
)
def test_all_have_been_silent_when_each_has(records: tuple[ProgressRecord, ...], stuck: bool) -> None:
    assert worker_activity.all_silent_for(reading(1000.0, records=records), 120.0) is stuck


STUCK = record(1, 5, last=800.0, since=870.0)


@pytest.mark.parametrize(
    ("records", "waits_in_vain"),
    [
        ((STUCK, record(2, 9, last=999.0)), True),
        ((STUCK, record(2, 9, last=999.0, since=990.0)), True),
        # Begun since we asked: it may be ours, and be answered yet.
        ((STUCK, record(2, 9, last=999.0, since=999.5)), False),
        ((STUCK,), False),
        ((record(2, 9, last=999.0),), False),
        ((), False),
    ],
)
def test_ours_is_with_the_stuck_worker_when_the_others_have_nothing_new(
    records: tuple[ProgressRecord, ...], waits_in_vain: bool
) -> None:
    before = reading(999.0)
    assert (
        worker_activity.ours_is_with_the_stuck(before, reading(1000.0, records=records), 120.0)
        is waits_in_vain
    )


@pytest.mark.parametrize(
    ("beaten", "started", "hangs"),
    [
        ({1: False, 2: False}, {1: 600.0, 2: 600.0}, True),
        ({1: False, 2: False}, {1: 600.0, 2: 900.0}, False),
        ({1: False, 2: True}, {1: 600.0, 2: 600.0}, False),
        ({1: False, 2: None}, {1: 600.0, 2: 600.0}, False),
        ({1: False, 2: False}, {1: 600.0}, False),
        ({}, {}, False),
    ],
)
def test_nobody_boots_when_each_has_taken_longer_than_a_boot_may(
    beaten: dict[int, bool | None], started: dict[int, float], hangs: bool
) -> None:
    target = but(target__gunicorn_workers=(1, 2), target__boot_deadline=300.0).target
    now = msgspec.structs.replace(reading(1000.0), beaten=beaten, started=started)
    assert worker_activity.nobody_boots(now, target) is hangs  # type: ignore[arg-type]


def test_without_workers_nobody_is_said_to_hang_while_booting() -> None:
    assert not worker_activity.nobody_boots(reading(), but(target__gunicorn_workers=()).target)  # type: ignore[arg-type]


def access_lines(*times: int, path: str = "/predict", client: str = "") -> str:
    stamps = (datetime.fromtimestamp(at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000") for at in times)
    return "".join(f'127.0.0.1 - - [{time}] "POST {path} HTTP/1.1" 200 30{client}\n' for time in stamps)


@pytest.mark.parametrize(
    ("gained", "answers", "complete"),
    [
        (access_lines(*range(101, 106)), 0, True),
        (access_lines(*range(101, 105)), 0, False),
        (access_lines(*range(101, 106)), 1, False),
        # Written within the second in which we began: whether before or after, nobody can tell.
        (access_lines(*([100] * 20)), 0, False),
        (access_lines(*range(101, 120), path="/health"), 0, False),
        ("torn\n" * 9, 0, False),
        # Where the format has the clients' names, ours are told from others'.
        (access_lines(101, 102, client=' "-" "-"'), 0, True),
        (access_lines(101, 102, client=' "-" "shop/2"'), 3, True),
        (access_lines(101, client=' "-" "shop/2"'), 0, False),
        (access_lines(101, 102, 103, client=' "-" "gte-ops-doctor/0.2.0"'), 0, False),
        (access_lines(100, 100, client=' "-" "shop/2"'), 0, False),
    ],
)
def test_others_requests_are_counted_in_the_log_where_no_worker_keeps_a_record(
    tmp_path: Path, gained: str, answers: int, complete: bool
) -> None:
    log = tmp_path / "access.log"
    log.write_text(access_lines(*range(101, 150)))
    patience = Deadline(time.monotonic() + 60)
    target = but(target__gunicorn_access_log=str(log)).target
    others = worker_activity.OthersRequests(
        reading(100.5),
        target,  # type: ignore[arg-type]
        patience,
        own_connections=None,
    )
    with log.open("a") as file:
        file.write(gained)
    for _ in range(answers):
        patience.count_answer()
    assert bool(others.completed(reading(102.0))) is complete


@pytest.mark.parametrize(
    ("completed", "answers", "complete"), [(55, 0, True), (54, 0, False), (55, 1, False)]
)
def test_others_requests_are_what_the_records_count_beyond_our_own(
    completed: int, answers: int, complete: bool
) -> None:
    patience = Deadline(time.monotonic() + 60)
    target = but(target__gunicorn_access_log=None).target
    others = worker_activity.OthersRequests(
        reading(records=(record(1, 50),)),
        target,  # type: ignore[arg-type]
        patience,
        own_connections=None,
    )
    for _ in range(answers):
        patience.count_answer()
    assert bool(others.completed(reading(records=(record(1, completed),)))) is complete


SERVED = InFlight(path="/predict", since=98.0)


@pytest.mark.parametrize(
    ("queued", "own", "completed", "still", "proven"),
    [
        ((3, 11), 10, 51, (), 1),
        # Ours alone may be what waits now, nobody waited before, or nobody knows what is ours.
        ((3, 10), 10, 51, (), 0),
        ((0, 11), 10, 51, (), 0),
        ((3, 11), None, 51, (), 0),
        # What was being processed still is, or ended without an answer.
        ((3, 11), 10, 51, (SERVED,), 0),
        ((3, 11), 10, 50, (), 0),
    ],
)
def test_a_request_served_before_we_asked_is_not_ours(
    queued: tuple[int, int], own: int | None, completed: int, still: tuple[InFlight, ...], proven: int
) -> None:
    patience = Deadline(time.monotonic() + 60)
    target = but(target__gunicorn_access_log=None).target
    earlier = msgspec.structs.replace(record(1, 50), in_flight=(SERVED,))
    later = msgspec.structs.replace(
        record(1, completed), in_flight=(*still, InFlight(path="/predict", since=100.1))
    )
    before = reading(100.0, records=(earlier,), queued=queued[0])
    others = worker_activity.OthersRequests(before, target, patience, own_connections=own)  # type: ignore[arg-type]
    assert others.completed(reading(101.0, records=(later,), queued=queued[1])) == proven


def test_a_worker_that_was_replaced_has_completed_nothing_that_was_in_flight() -> None:
    earlier = msgspec.structs.replace(record(1, 50), in_flight=(SERVED,))
    replaced = msgspec.structs.replace(record(1, 60), start_ticks=2)
    assert worker_activity.ended_since(reading(records=(earlier,)), reading(records=(replaced,))) == 0


@pytest.mark.parametrize(
    ("written_at_once", "queued", "proven"), [(True, 11, 2), (False, 11, 0), (True, 9, 0)]
)
def test_lines_of_the_first_second_count_if_the_workers_write_them_at_once(
    tmp_path: Path, written_at_once: bool, queued: int, proven: int
) -> None:
    log = tmp_path / "access.log"
    log.write_text("")
    patience = Deadline(time.monotonic() + 60)
    target = but(target__gunicorn_access_log=str(log), target__gunicorn_workers=(os.getpid(),)).target
    with log.open("a") if written_at_once else contextlib.nullcontext():
        others = worker_activity.OthersRequests(
            reading(100.5, queued=3),
            target,  # type: ignore[arg-type]
            patience,
            own_connections=10,
        )
    log.write_text(access_lines(100, 100, client=' "-" "shop/2"'))
    assert others.completed(reading(101.0, queued=queued)) == proven


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000005 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0100007F:1F40 0100007F:D431 01 00000000:00000007 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
   3: 0100007F:1F40 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 4 1 0 100 0 0 10 0
   4: torn
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000001 00:0
   1: 00000000000000000000000001000000:1F40 00000000000000000000000000000000:0000 0A 00000000:0000000A 00:0
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the kernel writes addresses in host byte order")
def test_the_accept_queue_is_rx_queue_of_the_sockets_that_listen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables = {"/proc/net/tcp": TCP, "/proc/net/tcp6": TCP6}
    for name, table in tables.items():
        (tmp_path / Path(name).name).write_text(table)
    monkeypatch.setattr(bound_sockets, "Path", lambda name: tmp_path / Path(name).name)
    assert bound_sockets.accept_queues() == {
        "127.0.0.1:8000": 7,  # two sockets by SO_REUSEPORT; an established connection is none
        "0.0.0.0:443": 0,
        "[::]:443": 1,
        "[::1]:8000": 10,
    }
    assert worker_activity.queued_at("127.0.0.1:8000") == 7
    assert worker_activity.queued_at("127.0.0.1:443") == 1
    assert worker_activity.queued_at("127.0.0.1:9") is None


def test_without_the_tables_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bound_sockets, "Path", lambda _name: tmp_path / "none")
    assert bound_sockets.accept_queues() == {}
    assert worker_activity.queued_at("127.0.0.1:8000") is None
    assert start_ticks(2**22 + 1) == 0, "no process has this id"


def test_another_s_socket_of_an_odd_name_does_not_hide_the_queue(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as odd, socket.socket(socket.AF_UNIX) as own:
        odd.bind(bytes(tmp_path) + b"/\xff\xfe")
        own.bind(f"{tmp_path}/own")
        for listening in (odd, own):
            listening.listen()
        assert worker_activity.queued_at(f"unix:{tmp_path}/own") == 0
