"""A stack under the watchdog: rounds from cron, the resident process, and what both have to tell.

GTE_LAB_GUNICORN=DIR runs the stack on another gunicorn, put there by `pip install --target DIR gunicorn==20.1.0`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.faults.stuck import STICKING_APP
from tests.lab.stack import REPOSITORY, Report, Stack
from tests.lab.waiting import wait_for

HEALTHY, RECOVERED, FAILING, UNJUDGED = 0, 1, 2, 3


@contextmanager
def watched(*, failures: int = 2, deadline: str = "2s", boot: str = "15s", **stack: Any) -> Iterator[Stack]:
    """A stack with short deadlines, seen healthy once."""
    options: dict[str, Any] = {
        "app": STICKING_APP,
        "app_progress": True,
        "worker_class": "gthread",
        "threads": 2,
    }
    wait = stack.pop("wait", None)
    if other := stack.pop("gunicorn", None) or os.environ.get("GTE_LAB_GUNICORN"):
        options["service_environment"] = {"PYTHONPATH": f"{other}{os.pathsep}{REPOSITORY}"}
    with Stack(**(options | stack), wait=wait) as up:
        up.config["app"] |= {"request_deadline": deadline, "boot_deadline": boot}
        up.config["watchdog"] |= {"failures": failures, "interval": "1s"}
        up.config["target"]["ready_path"] = "/ready"
        up.write_config()
        if wait is None:
            first = once(up)
            assert first.exit_code == HEALTHY, told(first)
        yield up


def once(stack: Stack) -> Report:
    """One round, as cron runs it: below the keeper, so that what it starts ends with the stack."""
    output = stack.logs / f"watchdog-{time.monotonic_ns()}.log"
    began = time.monotonic()
    pid = launch(stack, "--once", output=output)
    wait_for(lambda: stack.keeper.exit_code(pid) is not None, "the round to end", within=110)
    code = stack.keeper.exit_code(pid)
    assert code is not None
    said = output.read_text(encoding="utf-8")
    return Report({}, code, time.monotonic() - began, said, said)


def launch(stack: Stack, *arguments: str, output: Path) -> int:
    """`gte-ops watchdog` in the background; returns its process id."""
    command = stack.gte_ops_command("watchdog", "--config", str(stack.config_file), *arguments)
    command = [*_within.get(stack.keeper.pid, ()), *command]
    return stack.keeper.spawn(command, cwd=stack.directory, env=stack.environment(), output=output)


# What every command of the watchdog of one stack is run by, by its keeper's pid.
_within: dict[int, tuple[str, ...]] = {}


@contextmanager
def run_within(stack: Stack, *prefix: str) -> Iterator[None]:
    """The watchdog's commands are run by ``prefix``: in another mount namespace, with other limits."""
    _within[stack.keeper.pid] = prefix
    try:
        yield
    finally:
        del _within[stack.keeper.pid]


def told(ran: Report) -> str:
    return f"exit {ran.exit_code} after {ran.seconds:.1f} s\n{ran.stdout}"


def rounds_until(stack: Stack, code: int, *, at_most: int) -> list[Report]:
    """Rounds until one ends with ``code``."""
    ran = []
    for _ in range(at_most):
        ran.append(once(stack))
        if ran[-1].exit_code == code:
            return ran
    raise AssertionError("\n".join(map(told, ran)))


def status(stack: Stack) -> dict[str, Any]:
    """What `status` says."""
    ran = stack.gte_ops("watchdog", "status", "--format", "json", "--config", str(stack.config_file))
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def rungs(stack: Stack) -> list[str]:
    """The actions so far."""
    return [action["rung"] for action in status(stack)["actions"]]


def evidence(stack: Stack) -> dict[str, str]:
    """The files of the newest evidence directory."""
    newest = max((stack.run / "watchdog-evidence").iterdir())
    assert newest.stat().st_mode & 0o777 == 0o700
    return {file.name: file.read_text(errors="replace") for file in newest.iterdir()}


def answers(stack: Stack, times: int = 8) -> bool:
    """Whether every one of several requests is answered."""
    return all(stack.request(path="/health", door="backend", timeout=5).status == 200 for _ in range(times))


@dataclass(frozen=True)
class Resident:
    """The watchdog as a service: its process, and the file its output goes to."""

    pid: int
    output: Path

    @property
    def said(self) -> str:
        """Its output so far."""
        return self.output.read_text()


@contextmanager
def resident(stack: Stack) -> Iterator[Resident]:
    """The watchdog as a service, ended in order."""
    output = stack.logs / f"watchdog-{time.monotonic_ns()}.log"
    pid = launch(stack, output=output)
    try:
        wait_for(lambda: output.exists() and "started" in output.read_text(), "the watchdog to start")
        yield Resident(pid, output)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        wait_for(lambda: stack.keeper.exit_code(pid) is not None, "the watchdog to end", within=30)
        print(output.read_text())  # noqa: T201  shown where the test fails
    assert stack.keeper.exit_code(pid) == 0
