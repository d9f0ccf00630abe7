"""What proves that a process will never go on, and what does not."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from ops.collect.process.threads import Waiting, can_never_go_on, waiting, waits_for_its_own

# As the kernel shows them; the operation 0x189 is FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME.
LOCK = "202 0x55f5f14bfb70 0x189 0x0 0x0 0x0 0xffffffff 0x7ffc18c14bc0 0x7f7fe58a3e96"
LOCK_WITH_A_LIMIT = LOCK.replace("0x189 0x0 0x0", "0x189 0x0 0x7ffc18c14b00")
SHARED_LOCK = LOCK.replace("0x189", "0x109")
SLEEP = "230 0x1 0x1 0x7ffd2a8e4ea0 0x0 0x0 0x0 0x7ffd2a8e4e60 0x7f4daa2ed545"
READ = "0 0x5 0x7f0000000000 0x1000 0x0 0x0 0x0 0x7ffd 0x7f4d"
POLL = "232 0x7 0x7f0000000000 0x400 0x3e8 0x0 0x0 0x7ffd 0x7f4d"


@pytest.mark.parametrize(
    ("call", "proves"),
    [
        (LOCK, True),
        (LOCK_WITH_A_LIMIT, False),
        (SHARED_LOCK, False),
        (SLEEP, False),
        (READ, False),
        ("running", False),
    ],
)
def test_only_an_endless_wait_for_a_lock_of_its_own_proves_it(call: str, proves: bool) -> None:
    assert waits_for_its_own(call, "x86_64") is proves


def reading(**calls: str) -> Waiting:
    return Waiting({name[1:]: call for name, call in calls.items()}, {name[1:]: "1" for name in calls})


@pytest.mark.parametrize(
    ("calls", "main_polls", "proves"),
    [
        ({"t7": LOCK}, False, True),
        ({"t7": LOCK, "t8": LOCK}, False, True),
        ({"t7": LOCK, "t8": READ}, False, False),
        ({"t7": POLL, "t8": LOCK}, True, True),
        ({"t7": POLL, "t8": LOCK}, False, False),
        ({"t7": POLL, "t8": SLEEP}, True, False),
        ({"t7": POLL}, True, False),
    ],
)
def test_every_thread_must_wait_so(
    calls: dict[str, str], main_polls: bool, proves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert can_never_go_on(7, reading(**calls), reading(**calls), main_polls=main_polls) is proves


def test_a_thread_that_has_run_in_between_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    later = Waiting({"7": LOCK}, {"7": "2"})
    assert not can_never_go_on(7, reading(t7=LOCK), later, main_polls=False)
    assert not can_never_go_on(7, None, later, main_polls=False)


@pytest.mark.parametrize(
    ("program", "proves"),
    [
        ("import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()", True),
        ("import time; time.sleep(60)", False),
        ("import sys; sys.stdin.read()", False),
        ("import threading; threading.Event().wait(60)", False),
    ],
    ids=["deadlock", "sleep", "read", "wait with a limit"],
)
def test_on_real_processes(program: str, proves: bool) -> None:
    code = f"import sys; print('there', flush=True); {program}"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            ends = time.monotonic() + 30
            before = after = None
            # On a busy machine it takes its time to get from its word to where it waits.
            while before is None or before != after or "running" in before.calls.values():
                assert time.monotonic() < ends
                before = waiting(process.pid)
                if before is None:
                    pytest.skip("/proc/pid/syscall may not be read here")
                time.sleep(0.3)
                after = waiting(process.pid)
            assert can_never_go_on(process.pid, before, after, main_polls=False) is proves
        finally:
            process.kill()
