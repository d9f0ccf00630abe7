"""A host set up by the guide: no worker keeps an account of its requests. What can be proven then, and what cannot."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.faults.stuck import ask_aside
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for
from tests.lab.watched import (
    FAILING,
    HEALTHY,
    RECOVERED,
    answers,
    evidence,
    once,
    resident,
    rounds_until,
    rungs,
    status,
    told,
    watched,
)


@contextmanager
def unrecorded(**options: Any) -> Iterator[Stack]:
    """A stack of the guide's layout, without the service's hooks."""
    with watched(app_progress=False, layout="guide", timeout=600, **options) as stack:
        del stack.config["app"]["progress_dir"]
        stack.write_config()
        yield stack


def stick_one(stack: Stack, path: str, *, victim: int, count: int) -> None:
    """Has ``count`` requests stuck in ``victim``, by the traces they leave in the application's directory."""
    (stack.app_dir / "victim").write_text(str(victim))
    marks = stack.app_dir / f"stuck-{victim}"

    def is_stuck() -> bool:
        ask_aside(stack, path)
        time.sleep(0.1)
        return marks.exists() and len(marks.read_text().split()) >= count

    wait_for(is_stuck, f"{count} requests to be stuck", within=20, every=0.05)
    (stack.app_dir / "victim").write_text("")


@pytest.mark.parametrize("worker_class", ["sync", pytest.param("gthread", marks=pytest.mark.long)])
def test_one_stuck_worker_among_two_is_found_by_threads_that_never_run(worker_class: str) -> None:
    threads = 2 if worker_class == "gthread" else None
    with unrecorded(workers=2, worker_class=worker_class, threads=threads) as stack:
        victim, healthy = (w.pid for w in stack.gunicorn_workers)
        stick_one(stack, "/stick", victim=victim, count=threads or 1)
        with resident(stack):
            wait_for(lambda: rungs(stack), "a step", within=30, every=0.3)
            wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery", within=20, every=0.3)
        assert rungs(stack) == ["kill_worker"]
        after = {w.pid for w in stack.gunicorn_workers}
        assert victim not in after
        assert healthy in after
        assert answers(stack)
        assert "stick" in evidence(stack)[f"stacks-{victim}-2.txt"]


@pytest.mark.long
def test_one_stuck_thread_beside_healthy_ones_ends_its_worker_in_order_after_three_deadlines() -> None:
    with unrecorded(workers=2, worker_class="gthread", threads=4, deadline="1s") as stack:
        victim = stack.gunicorn_workers[0].pid
        stick_one(stack, "/stick", victim=victim, count=1)
        with resident(stack):
            wait_for(lambda: rungs(stack), "a step", within=30, every=0.3)
        assert rungs(stack)[0] == "terminate_worker"


@pytest.mark.parametrize("kind", ["idle", pytest.param("busy", marks=pytest.mark.long)])
def test_healthy_workers_are_left_alone(kind: str) -> None:
    """Idle threads stand as still as stuck ones, and busy ones are often met in the same place."""
    with unrecorded(workers=2, worker_class="gthread", threads=4, deadline="1s") as stack:
        before = {w.pid for w in stack.gunicorn_workers}
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                stack.request(path="/slow", door="backend", timeout=30)

        for _ in range(8 if kind == "busy" else 0):
            threading.Thread(target=ask, daemon=True).start()
        assert answers(stack, 8)
        with resident(stack) as running:
            time.sleep(4.0 if kind == "idle" else 15.0)
            ended.set()
            assert '"state": "suspect"' not in running.said
        assert rungs(stack) == []
        assert {w.pid for w in stack.gunicorn_workers} == before
        assert not (stack.run / "watchdog-evidence").exists()


@pytest.mark.long
def test_what_spins_is_not_told_from_work_and_left_alone() -> None:
    with unrecorded(workers=2, worker_class="sync", threads=None, deadline="1s") as stack:
        victim = stack.gunicorn_workers[0].pid
        stick_one(stack, "/spin", victim=victim, count=1)
        for _ in range(4):
            assert once(stack).exit_code in (HEALTHY, FAILING)
            time.sleep(1.0)
        assert rungs(stack) == []


@pytest.mark.long
def test_all_workers_stuck() -> None:
    """All are stuck: that is overload, until nothing has moved for two deadlines."""
    with unrecorded(workers=2) as stack:
        (stack.app_dir / "victim").write_text("any")
        for _ in range(12):
            ask_aside(stack, "/stick")
        time.sleep(1.0)
        (stack.app_dir / "victim").write_text("")
        ran = once(stack)
        assert ran.exit_code in (HEALTHY, FAILING), told(ran)
        assert rungs(stack) == []
        rounds_until(stack, RECOVERED, at_most=6)
        assert rungs(stack) in (["restart"], ["kill_worker", "kill_worker"])
        assert answers(stack)
