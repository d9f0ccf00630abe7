"""The kernel's records of processes that it killed because memory ran out."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
from pathlib import Path

from ops.facts.base import NotSeen
from ops.facts.machine import KernelKill, KernelLog, OomCounter
from ops.facts.target import Target
from ops.files.programs import refused_program, trusted_program
from ops.text.sanitize import safe_line

MAX_RECORDS = 40_000
MAX_KILLS = 200
SECONDS = 2.0
JOURNAL_SECONDS = 2.0
_RECORD_BYTES = 8192
# mm/oom_kill.c: "Out of memory: Killed process 1 (x)", "Memory cgroup out of memory: Killed process 1 (x)".
_KILLED = re.compile(r"(?:[Oo]ut of memory|oom)[^:]{0,200}: Kill(?:ed)? process (\d+) \(")
# The record before that, since Linux 5.0: "oom-kill:constraint=...,task_memcg=/system.slice/a.service,task=x,pid=1".
_GROUP = re.compile(r",task_memcg=([^,]{0,500}),task=.{0,64}?,pid=(\d+)")
# What a record of either kind contains, so that thousands of others are not parsed.
_SIGNS = (b" process ", b"oom-kill:")


def kernel_log(target: Target, since: float) -> KernelLog | NotSeen:
    """Read the out-of-memory kills from ``since`` on (Unix seconds), and the counter of the service's memory cgroup."""
    kills: tuple[KernelKill, ...] | NotSeen
    try:
        kills = _from_device(since)
    except OSError as error:
        journal_kills = _from_journal(since)
        if (refusal_words := refused_program("journalctl")) is not None:
            kills = NotSeen(
                reason=safe_line(f"/dev/kmsg: {error.strerror}; {refusal_words}"), is_refused=True
            )
        elif journal_kills is not None:
            kills = journal_kills
        elif isinstance(error, TimeoutError):
            kills = NotSeen(reason="the kernel's log was not read to its end in time")
        else:
            words = error.strerror or str(error)
            kills = NotSeen(reason=safe_line(f"/dev/kmsg: {words}"), needs_root=os.geteuid() != 0)
    group = oom_counter(target)
    if isinstance(kills, NotSeen) and group is None:
        return kills
    return KernelLog(kills=kills, group=group)


def _from_device(since: float) -> tuple[KernelKill, ...]:
    """Read the kills from /dev/kmsg. Raises OSError if it may not be read (kernel.dmesg_restrict), TimeoutError if
    it was not read to its end in time."""
    # Records have the time since boot, by the clock that stops while the machine sleeps (dev-kmsg, ABI).
    offset = time.time() - time.monotonic()
    descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kills = _Kills(since)
    deadline = time.monotonic() + SECONDS
    try:
        for _ in range(MAX_RECORDS):
            try:
                record = os.read(descriptor, _RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.EPIPE:  # the record was overwritten before it was read
                    continue
                raise
            if time.monotonic() > deadline:
                raise TimeoutError
            if not any(sign in record for sign in _SIGNS):
                continue
            head, _, text = record.partition(b";")
            fields = head.split(b",")
            if len(fields) >= 3 and fields[2].isdigit():
                line = text.partition(b"\n")[0].decode("utf-8", "replace")
                kills.add(int(fields[2]) / 1e6 + offset, line)
    finally:
        os.close(descriptor)
    return kills.newest()


def _from_journal(since: float) -> tuple[KernelKill, ...] | None:
    """Read the kills from the journal, which members of its groups may read; None if it cannot be read or is empty."""
    program = trusted_program("journalctl")
    if program is None:
        return None
    command = [
        program,
        "-k",
        "-q",
        "--no-pager",
        "-o",
        "short-unix",
        "-n",
        "5000",
        f"--since=@{since:.0f}",
    ]
    try:
        printed = subprocess.run(command, capture_output=True, timeout=JOURNAL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if printed.returncode != 0 or not printed.stdout:
        return None
    kills = _Kills(since)
    for line in printed.stdout.decode("utf-8", "replace").splitlines():
        stamp, _, text = line.partition(" ")
        if stamp.replace(".", "", 1).isdecimal():
            kills.add(float(stamp), text)
    return kills.newest()


class _Kills:
    """The kills from ``since`` on among records of the kernel, which are added in their order."""

    def __init__(self, since: float) -> None:
        self._since = since
        self._kills: list[KernelKill] = []
        # the process that the newest record of a group names, and the group
        self._chosen = ("", "")

    def add(self, at: float, text: str) -> None:
        """Take one record in."""
        if at < self._since:
            return
        if "oom-kill:" in text and (match := _GROUP.search(text)):
            self._chosen = (match[2], match[1])
        elif match := _KILLED.search(text):
            pid, group = self._chosen
            self._kills.append(
                KernelKill(
                    time=at,
                    pid=int(match[1]),
                    text=safe_line(text, 300),
                    group=safe_line(group, 300) if pid == match[1] else "",
                )
            )

    def newest(self) -> tuple[KernelKill, ...]:
        """The newest of them, oldest first."""
        return tuple(self._kills[-MAX_KILLS:])


def oom_counter(target: Target) -> OomCounter | None:
    """The memory cgroup of gunicorn's master, and the number of kills in it (cgroups(7); cgroup v2: memory.events, v1:
    memory.oom_control). None if it cannot be read, or holds processes other than the service's."""
    if target.gunicorn_master is None:
        return None
    try:
        lines = Path(f"/proc/{target.gunicorn_master}/cgroup").read_text().splitlines()
    except OSError:
        return None
    members = {str(pid) for pid in (target.gunicorn_master, *target.gunicorn_workers)}
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if path in ("", "/"):
            continue
        if "memory" in controllers.split(","):
            directory, file = Path("/sys/fs/cgroup/memory" + path), "memory.oom_control"
        elif not controllers:
            directory, file = Path("/sys/fs/cgroup" + path), "memory.events"
        else:
            continue
        try:
            inside = set((directory / "cgroup.procs").read_text().split())
            counters = dict(row.split(None, 1) for row in (directory / file).read_text().splitlines())
            kills = int(counters["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
        # Workers that are killed are replaced while this is read.
        if inside and all(pid in members or _parent(pid) == target.gunicorn_master for pid in inside):
            return OomCounter(path=safe_line(str(directory / file), 1000), oom_kills=kills)
    return None


def _parent(pid: str) -> int | None:
    """The parent of a process; None if it has gone (proc(5), /proc/pid/stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[1])
    except (OSError, IndexError, ValueError):
        return None
