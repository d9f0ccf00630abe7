"""The table of processes: nobody's process keeps another from being read."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from ops.collect.process import processes as table
from ops.collect.process.start_time import start_ticks, start_time
from ops.facts.host import Process
from tests.unit.made_snapshot import process


def test_a_process_that_cannot_be_read_to_its_end_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "READ_SECONDS", 0.1)
    never = threading.Event()

    def read(pid: int) -> Process | None:
        if pid in (3, 5):
            never.wait(60)
        if pid == 4:
            raise OSError("it ended")
        return process(pid, 1, "nginx") if pid != 6 else None

    facts, unread = table.read_each(range(1, 9), read, 100)
    never.set()
    table._abandoned.join(10)
    assert [one.pid for one in facts] == [1, 2, 7, 8]
    assert unread == (3, 5)


def test_with_too_many_that_cannot_be_read_the_rest_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "READ_SECONDS", 0.05)
    never = threading.Event()

    def read(pid: int) -> Process | None:
        if pid > 2:
            never.wait(60)
        return process(pid, 1, "nginx")

    facts, unread = table.read_each(range(1, 50), read, 100)
    never.set()
    table._abandoned.join(10)
    assert [one.pid for one in facts] == [1, 2]
    assert unread == tuple(range(3, 3 + table.MAX_UNREAD))


def test_no_more_processes_are_kept_than_the_bound() -> None:
    facts, unread = table.read_each(range(1, 50), lambda pid: process(pid, 1, "nginx"), 7)
    assert [one.pid for one in facts] == list(range(1, 8))
    assert unread == ()


def test_a_process_that_cannot_be_read_takes_one_thread_however_often_the_table_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the resident watchdog, which reads the table in every cycle while there is no master."""
    monkeypatch.setattr(table, "READ_SECONDS", 0.05)
    never = threading.Event()
    begun: list[int] = []

    def read(pid: int) -> Process | None:
        begun.append(pid)
        if pid == 3:
            never.wait(60)
        return process(pid, 1, "nginx")

    for _ in range(5):
        facts, unread = table.read_each(range(1, 6), read, 100)
        assert [one.pid for one in facts] == [1, 2, 4, 5]
        assert unread == (3,)
    assert begun.count(3) == 1
    never.set()
    table._abandoned.join(10)
    facts, unread = table.read_each(range(1, 6), read, 100)
    assert [one.pid for one in facts] == [1, 2, 3, 4, 5], "once it can be read, it is"
    assert unread == ()


def test_a_process_start_is_known_to_a_clock_tick() -> None:
    before = time.time()
    child = subprocess.Popen(["sleep", "60"])
    after = time.time()
    try:
        started = start_time(start_ticks(child.pid))
    finally:
        child.kill()
        child.wait()
    assert before - 0.02 <= started <= after + 0.02


def test_a_tunnel_s_program_is_read_though_it_listens_nowhere(tmp_path: Path) -> None:
    program = tmp_path / "frpc"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"]) as running:
        try:
            (found,) = [p for p in table.processes().processes if p.pid == running.pid]
            assert found.name == "frpc"
        finally:
            running.kill()
