"""The watchdog where something runs out: memory, descriptors, the disk its own state lies on."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops.supervision.resources import room
from tests.lab.faults.stuck import ask_aside
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for
from tests.lab.watched import (
    FAILING,
    HEALTHY,
    RECOVERED,
    UNJUDGED,
    answers,
    evidence,
    once,
    resident,
    run_within,
    rungs,
    status,
    told,
    watched,
)

MIB = 1 << 20


# --- memory -----------------------------------------------------------------------------------------------------------


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """A control group with so many bytes (cgroups(7), v1 or v2). Skips the test where none can be made."""
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, name = (v1, "memory.limit_in_bytes") if v1.is_dir() else (v2, "memory.max")
    group = root / f"gte-lab-{secrets.token_hex(4)}"
    try:
        group.mkdir()
        (group / name).write_text(str(limit))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield group
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text(), "the group to be empty", within=20)
        group.rmdir()


@pytest.mark.long
def test_a_worker_that_eats_up_the_memory_is_replaced_in_order_before_the_kernel_kills_anything() -> None:
    with memory_group(640 * MIB) as group, watched(workers=2, deadline="4s", boot="30s") as stack:
        victim, healthy = (w.pid for w in stack.gunicorn_workers)
        master = stack.gunicorn_master
        assert master is not None
        for pid in (master.pid, victim, healthy):
            (group / "cgroup.procs").write_text(str(pid))
        (stack.app_dir / "victim").write_text(str(victim))
        ended = threading.Event()

        def left() -> int:
            seen = room(victim)
            return seen.available if seen else 0

        def eat() -> None:
            while not ended.is_set() and psutil.pid_exists(victim):
                stack.request(path=f"/eat/{8 if left() > 45 * MIB else 1}", door="backend", timeout=5)
                ended.wait(0.0 if left() > 45 * MIB else 0.25)

        with resident(stack):
            eating = threading.Thread(target=eat, daemon=True)
            eating.start()
            try:
                wait_for(lambda: rungs(stack), "a step", within=60, every=0.3)
                wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery", within=30, every=0.3)
            finally:
                ended.set()
                eating.join(10)
        assert rungs(stack) == ["terminate_worker"]
        workers = {w.pid for w in stack.gunicorn_workers}
        assert victim not in workers
        assert healthy in workers
        assert "VmRSS" in evidence(stack)["proc.txt"]
        assert "was sent SIGKILL" not in stack.gunicorn_said(), "the kernel was quicker"


# --- descriptors ------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_service_without_descriptors_is_named_and_not_killed_blindly() -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))\n"
    with watched(workers=1, gunicorn_extra=limit, timeout=600) as stack:
        before = {w.pid for w in stack.gunicorn_workers}
        (stack.app_dir / "victim").write_text("any")
        ask_aside(stack, "/leak")
        (worker,) = before
        wait_for(lambda: psutil.Process(worker).num_fds() >= 93, "its descriptors to be spent")
        (stack.app_dir / "victim").write_text("")
        codes = [once(stack) for _ in range(4)]
        print("\n".join(map(told, codes)))  # noqa: T201  shown where the test fails
        assert rungs(stack) == []
        assert "descriptors open" in json.dumps([status(stack)["trouble"], *(ran.stdout for ran in codes)])


def test_the_watchdog_without_descriptors_could_not_judge_and_does_nothing_until_it_can() -> None:
    with watched(workers=1) as stack:
        with resident(stack) as running:
            process = psutil.Process(running.pid)
            soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
            process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 1, hard))
            stack.kill_gunicorn()
            wait_for(lambda: running.said.count("no resources left"), "it to say so", within=10)
            time.sleep(2.5)
            assert '"act"' not in running.said
            process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
            wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery", within=25, every=0.3)
        assert rungs(stack) == ["restart"]
        stack.config["watchdog"]["state_file"] = str(stack.run / "another.json")
        stack.write_config()
        with run_within(stack, "sh", "-c", 'ulimit -n 9; exec "$@"', "-"):
            ran = once(stack)
        assert ran.exit_code == UNJUDGED, told(ran)


# --- the disk ---------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(stack: Stack) -> Iterator[Path]:
    """The watchdog's state, evidence and metrics lie on a file system of 256 KiB, in a mount namespace of their own.

    Gives the directory as it is seen from here."""
    directory = stack.run / "small"
    directory.mkdir()
    mount = f"mount -t tmpfs -o size=256k,mode=0700 none {directory} && touch {directory}/mounted && exec sleep 1000"
    holder = stack.spawn("unshare", "--mount", "--propagation", "private", "sh", "-c", mount)
    view = Path(f"/proc/{holder}/root{directory}")
    try:
        wait_for(lambda: (view / "mounted").exists() and not (directory / "mounted").exists(), "the mount")
    except AssertionError:
        pytest.skip("no mount namespace can be made here")
    stack.config["watchdog"]["state_file"] = str(directory / "watchdog.json")
    stack.write_config()
    with run_within(stack, "nsenter", "-t", str(holder), "-m", "--"):
        yield view


def fill(directory: Path) -> Path:
    """Leaves not a byte of the file system free."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (directory / "more").write_bytes(b"\0" * 4096)
    (directory / "more").unlink(missing_ok=True)
    assert shutil.disk_usage(directory).free == 0
    return filler


def read_state(view: Path) -> dict[str, Any]:
    """The state file; raises where it is torn."""
    state: dict[str, Any] = json.loads((view / "watchdog.json").read_bytes())
    return state


def test_on_a_full_disk_the_service_is_brought_back_within_the_rules_and_the_state_stays_whole() -> None:
    with watched(workers=1) as stack, small_disk(stack) as view:
        assert once(stack).exit_code == HEALTHY
        whole = (view / "watchdog.json").read_bytes()
        filler = fill(view)
        stack.kill_gunicorn()
        with resident(stack) as running:
            wait_for(lambda: '"recovered"' in running.said, "the recovery", within=30)
            assert running.said.count('"act"') == 1
            assert "state_unwritable" in running.said
        assert (view / "watchdog.json").read_bytes() == whole
        assert list(view.glob("watchdog.json.torn-*")) == []
        assert list(view.glob(".*.tmp")) == []
        filler.unlink()
        assert once(stack).exit_code == HEALTHY
        assert answers(stack)
        assert read_state(view)["state"] == "healthy"
        assert "gte_ops_watchdog_up 1" in (view / "watchdog.prom").read_text()


@pytest.mark.long
def test_on_a_full_disk_one_action_is_all_and_cron_does_nothing() -> None:
    with watched(workers=1) as stack, small_disk(stack) as view:
        assert once(stack).exit_code == HEALTHY
        filler = fill(view)
        stack.kill_gunicorn()
        for _ in range(3):
            ran = once(stack)
            assert ran.exit_code == FAILING, told(ran)
            assert '"act"' not in ran.stdout, "rounds without a memory would restart in a loop"
        with resident(stack) as running:
            wait_for(lambda: '"recovered"' in running.said, "the recovery", within=30)
            wait_for(lambda: stack.gunicorn_master is not None, "the new master's pidfile")
            stack.kill_gunicorn()
            wait_for(lambda: '"holding"' in running.said, "it to hold", within=30)
            assert running.said.count('"act"') == 1
        filler.unlink()
        wait_for(
            lambda: once(stack).exit_code in (HEALTHY, RECOVERED), "it to mend with room again", within=60
        )
        assert [action["rung"] for action in read_state(view)["actions"]] == ["restart"]
