"""The kernel's records of kills for lack of memory, as Linux 6.1 of Debian 12 wrote them (recorded 2026-12-01)."""

from __future__ import annotations

import os
import subprocess

import pytest

from ops.collect.logs import kernel
from ops.facts.base import NotSeen
from ops.facts.machine import KernelLog
from ops.facts.target import Target
from tests.unit.made_snapshot import HEALTHY

GROUP = "/system.slice/gte-api.service"
OF_GROUP = (
    f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg={GROUP},task_memcg={GROUP}"
    ",task=gunicorn,pid=1428,uid=997"
)
OF_MACHINE = (
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom"
    ",task_memcg=/system.slice/mariadb.service,task=mariadbd,pid=77,uid=101"
)
KILLED = (
    "Memory cgroup out of memory: Killed process 1428 (gunicorn) total-vm:46680kB, anon-rss:25008kB, file-rss:12420kB"
    ", shmem-rss:0kB, UID:997 pgtables:140kB oom_score_adj:0"
)


def records(*lines: str) -> list[bytes]:
    """Records of /dev/kmsg: priority, sequence number, microseconds since boot, flags; text; a line of details."""
    return [
        f"4,{number},{1_000_000 * number},-;{line}\n SUBSYSTEM=x\n".encode()
        for number, line in enumerate(lines, 1)
    ]


def read(monkeypatch: pytest.MonkeyPatch, *lines: str) -> KernelLog | NotSeen:
    """The kills among these records of a device, which ends as the kernel's does."""
    pending = records(*lines)

    def next_record(*_: object) -> bytes:
        if not pending:
            raise BlockingIOError
        return pending.pop(0)

    monkeypatch.setattr(kernel, "refused_program", lambda _: None)
    monkeypatch.setattr(os, "open", lambda *_: 99)
    monkeypatch.setattr(os, "read", next_record)
    monkeypatch.setattr(os, "close", lambda _: None)
    assert isinstance(HEALTHY.target, Target)
    return kernel.kernel_log(HEALTHY.target, 0.0)


@pytest.mark.parametrize(
    ("lines", "group"),
    [
        ((OF_GROUP, "Tasks state (memory values in pages):", KILLED), GROUP),
        ((OF_MACHINE, KILLED), ""),
        ((KILLED,), ""),
    ],
    ids=["its own", "another process's", "an old kernel"],
)
def test_a_kill_has_the_control_group_that_the_record_before_names(
    monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], group: str
) -> None:
    log = read(monkeypatch, "usb 1-1: new device", *lines)
    assert isinstance(log, KernelLog)
    assert not isinstance(log.kills, NotSeen)
    assert [(kill.pid, kill.group, kill.text) for kill in log.kills] == [(1428, group, KILLED)]


def test_a_device_that_is_not_read_to_its_end_is_no_word_against_a_kill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = "".join(f"1796139779.5 vm kernel: {text}\n" for text in (OF_GROUP, KILLED))
    printed = subprocess.CompletedProcess((), 0, stdout=lines.encode())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: printed)
    monkeypatch.setattr(kernel, "trusted_program", lambda _: "/usr/bin/journalctl")
    monkeypatch.setattr(kernel, "SECONDS", -1.0)
    log = read(monkeypatch, "usb 1-1: new device", KILLED)
    assert isinstance(log, KernelLog)
    assert not isinstance(log.kills, NotSeen)
    assert [(kill.pid, kill.group) for kill in log.kills] == [(1428, GROUP)]
    monkeypatch.setattr(kernel, "trusted_program", lambda _: None)
    assert read(monkeypatch, KILLED) == NotSeen(reason="the kernel's log was not read to its end in time")
