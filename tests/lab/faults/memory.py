"""Workers that end on a signal; among them one that the kernel really kills for want of memory."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import fault
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

# Takes more and more memory, but only while the file `hungry` is there.
HUNGRY_APP = PLAIN_APP.replace(
    "return jsonify(result={})",
    """held = []
    while (Path(__file__).parent / "hungry").exists():
        held.append(bytearray(b"x") * (8 << 20))
    return jsonify(result={})""",
).replace("from flask", "from pathlib import Path\nfrom flask")
LIMIT = 96 << 20


def memory_groups() -> Path | None:
    """Where a memory cgroup can be made: below our own (cgroup v1), or at the top (v2); None where none can be."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            place = Path(f"/sys/fs/cgroup/memory{path}")
            if "memory" in controllers.split(",") and (place / "memory.limit_in_bytes").exists():
                return place
        top = Path("/sys/fs/cgroup")
        if "memory" in (top / "cgroup.subtree_control").read_text().split():
            return top
    return None


def cannot_starve() -> str | None:
    """Why the kernel cannot be made to kill a worker here, and be heard of it."""
    place = memory_groups()
    if place is None:
        return "no memory cgroup can be made here"
    try:
        (place / "gte-lab-try").mkdir()
        (place / "gte-lab-try").rmdir()
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        return f"no memory cgroup, or no kernel log: {error}"
    return None


def starve(stack: Stack, pid: int) -> None:
    """Puts one worker into a cgroup of its own with little memory, until the stack ends."""
    place = memory_groups()
    assert place is not None
    group = place / f"gte-lab-{pid}"
    group.mkdir()
    stack.at_end(group.rmdir)
    limit = "memory.limit_in_bytes" if (group / "memory.limit_in_bytes").exists() else "memory.max"
    (group / limit).write_text(str(LIMIT))
    for swap, most in (("memory.memsw.limit_in_bytes", str(LIMIT)), ("memory.swap.max", "0")):
        with contextlib.suppress(OSError):
            (group / swap).write_text(most)
    (group / "cgroup.procs").write_text(str(pid))


def has_died(stack: Stack) -> bool:
    """gunicorn has said so, and another worker serves."""
    return "was sent SIG" in stack.gunicorn_said() and stack.predict().status == 200


@fault("GUN005", sees=has_died, impossible=cannot_starve, app=HUNGRY_APP, worker_class="sync")
def kernel_kills_a_worker_for_its_memory(stack: Stack) -> None:
    (victim,) = stack.gunicorn_workers
    starve(stack, victim.pid)
    (stack.app_dir / "hungry").touch()
    stack.predict(door="backend", timeout=20.0)
    (stack.app_dir / "hungry").unlink()
    wait_for(lambda: not victim.is_running(), "the kernel to kill the worker", within=20)


@fault("GUN014", sees=has_died, workers=2)
def worker_is_killed_by_hand(stack: Stack) -> None:
    stack.signal_workers(signal.SIGKILL, count=1)


@fault("GUN014", sees=has_died)
def worker_crashes(stack: Stack) -> None:
    stack.signal_workers(signal.SIGSEGV)
