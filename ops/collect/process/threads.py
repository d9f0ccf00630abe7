"""Detect a deadlocked process by the system calls that its threads wait in (proc(5), /proc/pid/task/tid/syscall)."""

from __future__ import annotations

import platform
from pathlib import Path

import msgspec

MAX_THREADS = 256
# System call numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_FUTEX = {"x86_64": "202", "aarch64": "98"}
_POLLS = {"x86_64": {"232", "281", "7", "271", "23", "270"}, "aarch64": {"22", "73", "72"}}
# futex(2): the operations (low bits), the flag for locks within one process, and the mask of the operation.
_WAIT, _WAIT_BITSET, _PRIVATE, _COMMAND = 0, 9, 128, 0x7F


class Waiting(msgspec.Struct, frozen=True):
    """The system call of each thread at one moment, and its number of voluntary context switches (both as text)."""

    calls: dict[str, str]
    switches: dict[str, str]


def waiting(pid: int) -> Waiting | None:
    """Read all threads of a process; None if they may not be read, or are too many."""
    calls: dict[str, str] = {}
    switches: dict[str, str] = {}
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        if len(tasks) > MAX_THREADS:
            return None
        for task in tasks:
            calls[task.name] = (task / "syscall").read_text().strip()
            switches[task.name] = next(
                line
                for line in (task / "status").read_text().splitlines()
                if line.startswith("voluntary_ctxt")
            )
    except (OSError, StopIteration):
        return None
    return Waiting(calls, switches)


def can_never_go_on(pid: int, before: Waiting | None, after: Waiting | None, *, main_polls: bool) -> bool:
    """Whether every thread waits, without a time limit, for another thread of the same process, and none has run
    between the readings: then none will ever run again.

    ``main_polls``: the main thread only accepts connections and passes them on (gunicorn's gthread), so its wait for
    the network releases no other thread. A wait with a time limit, or one that another process can end (a pipe, a
    socket, a shared lock), proves nothing."""
    if before is None or after is None or before.calls.keys() != after.calls.keys():
        return False
    machine = platform.machine()
    for thread, call in after.calls.items():
        if main_polls and thread == str(pid) and len(after.calls) > 1:
            if call.partition(" ")[0] not in _POLLS.get(machine, ()):
                return False
            continue
        is_same = call == before.calls[thread] and after.switches[thread] == before.switches[thread]
        if not is_same or not waits_for_its_own(call, machine):
            return False
    return True


def waits_for_its_own(call: str, machine: str) -> bool:
    """Whether a line of /proc/pid/syscall is a futex wait, without a time limit, on a private lock of the process."""
    fields = call.split()
    if len(fields) < 5 or fields[0] != _FUTEX.get(machine):
        return False
    try:
        operation, limit = int(fields[2], 16), int(fields[4], 16)
    except ValueError:
        return False
    return bool(operation & _PRIVATE) and operation & _COMMAND in (_WAIT, _WAIT_BITSET) and limit == 0
