"""The master under the watchdog: hung with its workers serving, and a pid that has become another program's."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.lab.waiting import wait_for
from tests.lab.watched import (
    FAILING,
    HEALTHY,
    RECOVERED,
    answers,
    evidence,
    once,
    rounds_until,
    rungs,
    told,
    watched,
)

# gunicorn's own hook, in the master: one call into C that never gives the interpreter lock back.
HANGING_MASTER = """
def child_exit(server, worker):
    import re
    from pathlib import Path

    if Path("hang-master").exists():
        re.match(r"(a+)+$", "a" * 64 + "b")
"""
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


@pytest.mark.long
def test_a_hung_master_is_known_by_its_control_socket_and_replaced() -> None:
    with watched(workers=2, gunicorn_extra=HANGING_MASTER, wait="nothing") as stack:
        socket = stack.run / "control.sock"
        stack.stop_gunicorn()
        stack.gunicorn_conf.write_text(
            stack.gunicorn_conf.read_text()
            + f"\ncontrol_socket_disable = False\ncontrol_socket = {str(socket)!r}\n"
        )
        stack.config["gunicorn"]["control_socket"] = str(socket)
        stack.write_config()
        stack.start_gunicorn()
        wait_for(socket.exists, "the control socket")
        assert once(stack).exit_code == HEALTHY
        master = stack.gunicorn_master
        assert master is not None
        (stack.app_dir / "hang-master").touch()
        stack.gunicorn_workers[0].kill()
        wait_for(lambda: master.cpu_percent(0.2) > 50, "the master to spin", within=10)
        assert answers(stack, 1), "its other worker serves on"
        for _ in range(2):
            ran = once(stack)
            assert ran.exit_code in (HEALTHY, FAILING), told(ran)
            assert rungs(stack) == [], "one silence proves nothing"
        (stack.app_dir / "hang-master").unlink()
        rounds_until(stack, RECOVERED, at_most=2)
        assert rungs(stack) == ["restart"]
        assert not psutil.pid_exists(master.pid)
        assert answers(stack)
        assert "doctor.json" in evidence(stack)


@pytest.mark.skipif(not os.access(LAST_PID, os.W_OK), reason="the next pid cannot be chosen here")
def test_a_pid_that_has_become_another_programs_is_left_alone() -> None:
    """The dead master's pid, in the pidfile and in the watchdog's memory, is another program's by now."""
    with watched(workers=1) as stack:
        master = stack.gunicorn_master
        assert master is not None
        stack.kill_gunicorn()
        stranger = _take_pid(master.pid)
        try:
            assert stack.gunicorn_pidfile.read_text().strip() == str(stranger.pid)
            rounds_until(stack, RECOVERED, at_most=3)
            assert rungs(stack) == ["restart"]
            assert stranger.poll() is None, "the stranger was signalled"
            assert answers(stack)
        finally:
            stranger.kill()
            stranger.wait()


def _take_pid(pid: int) -> subprocess.Popen[bytes]:
    """A program of no concern under ``pid`` (proc(5), /proc/sys/kernel/ns_last_pid); others may be quicker."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        LAST_PID.write_text(str(pid - 1))
        started = subprocess.Popen(["sleep", "300"])
        if started.pid == pid:
            return started
        started.kill()
        started.wait()
    raise AssertionError(f"pid {pid} was not to be had")
