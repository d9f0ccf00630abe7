"""The machine's resources that the service may use: disk space, memory, descriptors, CPU; and its clock."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ops.collect.host.clock import clocks
from ops.collect.host.file_systems import file_systems
from ops.collect.process.cgroups import Throttling, cpu_counters, cpu_groups, memory_groups
from ops.facts.base import NotSeen
from ops.facts.host import Process
from ops.facts.machine import CpuTime, Machine, Memory, OpenFiles
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.text.sanitize import safe_line

# Directives for directories in which nginx buffers bodies and answers, and the configure options of their defaults.
_BUFFERS = {
    "client_body_temp_path": "http-client-body-temp-path",
    "proxy_temp_path": "http-proxy-temp-path",
}
MAX_DESCRIPTORS = 200_000
MAX_PROCESSES = 256


class Counters(msgspec.Struct, frozen=True):
    """The machine's running totals at one moment. ``ticks`` and ``steal``: CPU time since boot, of all processors
    (``ticks`` is None if unknown)."""

    at: float
    ticks: int | None
    steal: int
    swapped: int
    throttling: dict[str, Throttling]


def counters(target: Target) -> Counters:
    """Read the current totals of the machine and of the service's control groups."""
    ticks: int | None = None
    steal = 0
    fields = _first_line("/proc/stat").split()
    if len(fields) > 8 and all(field.isdecimal() for field in fields[1:9]):
        # proc(5): user nice system idle iowait irq softirq steal; guest time is within user's.
        ticks, steal = sum(map(int, fields[1:9])), int(fields[8])
    paged = _pairs("/proc/vmstat")
    return Counters(
        at=time.monotonic(),
        ticks=ticks,
        steal=steal,
        swapped=paged.get("pswpin", 0) + paged.get("pswpout", 0),
        throttling=cpu_counters(_service(target)),
    )


def machine(
    target: Target,
    config: NginxConfig | NotSeen,
    build: dict[str, str],
    nginx: tuple[Process, ...],
    further: tuple[str | None, ...],
) -> Machine:
    """The facts that one reading gives; `between` adds those that need two.

    ``nginx``: processes whose descriptors are counted; ``further``: more directories that the stack writes to."""
    pairs = _pairs("/proc/meminfo")
    memory: Memory | NotSeen = NotSeen(reason="/proc/meminfo does not tell how much memory is available")
    if "MemTotal:" in pairs and "MemAvailable:" in pairs:
        memory = Memory(total=pairs["MemTotal:"] * 1024, available=pairs["MemAvailable:"] * 1024)
    return Machine(
        file_systems=file_systems((*_written_to(target, config, build), *filter(None, further))),
        memory=memory,
        memory_groups=memory_groups(_service(target)),
        open_files=tuple(_open_files(target, nginx)),
        clocks=clocks(),
    )


def between(facts: Machine, before: Counters, after: Counters) -> Machine:
    """``facts`` with the differences between two readings of the totals."""
    import msgspec

    seconds = after.at - before.at
    memory = facts.memory
    if isinstance(memory, Memory) and seconds > 0:
        rate = (after.swapped - before.swapped) / seconds
        memory = msgspec.structs.replace(memory, swapped_pages_per_second=rate)
    cpu: CpuTime | NotSeen = NotSeen(reason="/proc/stat does not tell the time stolen from this machine")
    if before.ticks is not None and after.ticks is not None:
        cpu = CpuTime(ticks=after.ticks - before.ticks, stolen=after.steal - before.steal)
    return msgspec.structs.replace(
        facts, memory=memory, cpu=cpu, cpu_groups=cpu_groups(before.throttling, after.throttling)
    )


def _service(target: Target) -> tuple[int, ...]:
    return tuple(filter(None, (target.gunicorn_master, *target.gunicorn_workers[:MAX_PROCESSES])))


def _written_to(target: Target, config: NginxConfig | NotSeen, build: dict[str, str]) -> Iterator[str]:
    """Directories that nginx and the service write to."""
    files = (
        target.nginx_access_log,
        *target.nginx_error_logs,
        target.gunicorn_access_log,
        target.gunicorn_error_log,
        target.gunicorn_pidfile,
        target.nginx_pidfile,
    )
    for file in files:
        if file and file.startswith("/") and not file.startswith(("/dev/", "/proc/")):
            yield str(Path(file).parent)
    yield target.letsencrypt_dir
    prefix = config.prefix if isinstance(config, NginxConfig) else "/"
    for directive, option in _BUFFERS.items():
        directives = () if isinstance(config, NotSeen) else nginx_topology.every(config, directive)
        places = [d.args[0] for d in directives if d.args]
        for place in places or filter(None, [build.get(option)]):
            yield str(Path(prefix) / place)
    yield "/tmp"  # noqa: S108  gunicorn's heartbeat files (worker_tmp_dir) and Python's temporary ones


def _open_files(target: Target, nginx: tuple[Process, ...]) -> Iterator[OpenFiles]:
    nginx_processes = [(process.pid, "nginx") for process in nginx]
    for pid, name in (*nginx_processes, *((pid, "gunicorn") for pid in _service(target))):
        soft = _soft_limit(pid)
        if soft is not None:
            yield OpenFiles(pid=pid, process=name, soft=soft, used=_descriptors(pid))


def _soft_limit(pid: int) -> int | None:
    """RLIMIT_NOFILE of a running process; None if it cannot be read. Unlimited is a very large number."""
    for line in _text(f"/proc/{pid}/limits").splitlines():
        if line.startswith("Max open files"):
            text = line.split()[3]
            return 1 << 60 if text == "unlimited" else int(text) if text.isdecimal() else None
    return None


def _descriptors(pid: int) -> int | None:
    """The number of descriptors that a process holds, at most MAX_DESCRIPTORS; None if it may not be read."""
    count = 0
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for _ in itertools.islice(entries, MAX_DESCRIPTORS):
                count += 1
    except OSError:
        return None
    return count


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(1 << 20).decode(errors="replace")
    except OSError:
        return ""


def _first_line(path: str) -> str:
    return safe_line(_text(path).partition("\n")[0])


def _pairs(path: str) -> dict[str, int]:
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1].isdecimal()}
