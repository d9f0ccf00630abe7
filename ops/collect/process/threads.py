"""Whether a process can still do anything: what each of its threads waits for (proc(5), /proc/pid/task/tid/syscall)."""

from __future__ import annotations

import platform
from pathlib import Path

import msgspec

MAX_THREADS = 256
# System call numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_FUTEX = {"x86_64": "202", "aarch64": "98"}
_POLLS = {"x86_64": {"232", "281", "7", "271", "23", "270"}, "aarch64": {"22", "73", "72"}}
# futex(2): the operation's low bits, and the flag that only threads of the same process can end the wait.
_WAIT, _WAIT_BITSET, _PRIVATE, _COMMAND = 0, 9, 128, 0x7F


class Waiting(msgspec.Struct, frozen=True):
    """What every thread of a process waited for at one moment, and how often each had run until then."""

    calls: dict[str, str]
    switches: dict[str, str]


def waiting(pid: int) -> Waiting | None:
    """A reading of all threads; None where it may not be seen, or there are too many."""
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
    """Whether every thread waits, without a time limit, for another thread of the same process, and none has run in
    between: then none of them will ever run again.

    ``main_polls``: the main thread only takes connections and hands them on (gunicorn's gthread): its waiting for the
    network frees nobody. A wait that has a time limit, or that another process can end (a pipe, a socket, a shared
    lock), proves nothing."""
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
    """Whether a line of /proc/pid/syscall is a futex wait without time limit on a lock of the process itself."""
    fields = call.split()
    if len(fields) < 5 or fields[0] != _FUTEX.get(machine):
        return False
    try:
        operation, limit = int(fields[2], 16), int(fields[4], 16)
    except ValueError:
        return False
    return bool(operation & _PRIVATE) and operation & _COMMAND in (_WAIT, _WAIT_BITSET) and limit == 0
