"""Signs of life between two readings; the kernel's table of accept queues."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops.collect import activity, processes
from ops.collect.activity import Reading
from ops.collect.start_time import start_ticks
from ops.snapshot import InFlight, ProgressRecord, WorkerActivity


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
) -> Reading:
    return Reading(at=at, states=states or {}, cpu=cpu or {}, progress=records, queued=queued)


def test_two_readings_are_compared_worker_by_worker() -> None:
    before = reading(10.0, {1: "sleeping", 2: "running"}, {1: 4.0, 2: 5.0}, (record(1, 50),), 3)
    after = reading(12.5, {1: "stopped"}, {1: 4.5}, (record(1, 53), record(3, 1)), 4)
    compared = activity.compare(before, after, (1, 2, 3))
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
    assert activity.completions(before, after) == 3


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
    assert activity.nobody_can_answer(reading(states=states), (1, 2)) is pointless


def test_without_workers_nothing_is_known_of_who_can_answer() -> None:
    assert not activity.nobody_can_answer(reading(), ())


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
def test_all_are_past_their_deadline_when_each_is(records: tuple[ProgressRecord, ...], stuck: bool) -> None:
    assert activity.all_past_deadline(reading(records=records), 1000.0, 120.0) is stuck


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
    monkeypatch.setattr(processes, "Path", lambda name: tmp_path / Path(name).name)
    assert processes.accept_queues() == {
        "127.0.0.1:8000": 7,  # two sockets by SO_REUSEPORT; an established connection is none
        "0.0.0.0:443": 0,
        "[::]:443": 1,
        "[::1]:8000": 10,
    }
    assert activity.queued_at("127.0.0.1:8000") == 7
    assert activity.queued_at("127.0.0.1:443") == 1
    assert activity.queued_at("127.0.0.1:9") is None


def test_without_the_tables_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "Path", lambda _name: tmp_path / "none")
    assert processes.accept_queues() == {}
    assert activity.queued_at("127.0.0.1:8000") is None
    assert start_ticks(2**22 + 1) == 0, "no process has this id"
