"""A worker without a record: what its threads prove, and what they do not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.supervision.health.assess import assess
from ops.supervision.stacks import Stacks, _by_thread
from ops.supervision.state import Subject, WatchdogState, WorkerState
from ops.supervision.state_update import with_observation, with_thread_dump
from tests.unit.supervision.made_observation import (
    BOOT,
    RULES,
    exchange,
    made_observation,
    made_state,
    worker,
)

STACK = "SyncWorker.handle_request (gunicorn/workers/sync.py:184)"


def stuck(*threads: str, age: float, others: int = 0, same: bool | None = True) -> WatchdogState:
    """Worker 101, whose ``threads`` have stood in a request for ``age`` seconds beside ``others`` that are idle."""
    still = dict.fromkeys(threads, (5, BOOT - age)) | {f"9{n}": (5, BOOT - 3000) for n in range(others)}
    known = WorkerState(
        start_ticks=1010, cpu=9.0, cpu_at=BOOT - 15, share=0.0, same_stacks=same,
        still=still, examined_at=BOOT - 1, at_work=len(threads), stuck_threads=threads,
    )  # fmt: skip
    return made_state(workers={"101": known})


def judged(known: WatchdogState, *, threads: int = 0, **changes: Any) -> tuple[str, bool, bool]:
    """What worker 101 is taken for, whether wholly, and whether its stacks are wanted."""
    observation = made_observation(worker(101, None), worker(102, None), has_records=False, **changes)
    known = msgspec.structs.replace(known, subject=Subject(threads=threads))
    first = assess(observation, known, RULES).workers[0]
    return first.condition, first.all_wedged, first.wants_dump


def test_a_sync_worker_serves_in_its_main_thread_and_has_no_other() -> None:
    assert judged(stuck("101", age=121)) == ("hung", True, True)
    assert judged(stuck("101", age=119))[0] == "unknown"
    assert judged(stuck("101", age=121, same=None))[0] == "suspect"
    assert judged(stuck("101", age=121, same=False))[0] == "busy"


def test_some_threads_of_several_wait_for_three_deadlines() -> None:
    assert judged(stuck("7", age=121), threads=4)[0] == "busy"
    assert judged(stuck("7", age=361), threads=4) == ("partly", False, True)
    assert judged(stuck("7", "8", "9", "10", age=121), threads=4) == ("hung", True, True)


def test_where_the_number_of_threads_is_unknown_none_is_taken_for_all() -> None:
    assert judged(stuck("7", "8", age=121), threads=0)[0] == "busy"
    assert judged(stuck("7", "8", age=361), threads=0) == ("partly", False, True)


def test_idle_threads_are_looked_at_once_and_no_more_until_they_run() -> None:
    idle = WorkerState(start_ticks=1010, cpu=9.0, cpu_at=BOOT - 15, share=0.0, still={"91": (5, BOOT - 500)})
    assert judged(made_state(workers={"101": idle})) == ("unknown", True, True)
    idle = msgspec.structs.replace(idle, examined_at=BOOT - 300)
    assert judged(made_state(workers={"101": idle})) == ("unknown", True, False)


def test_a_thread_that_ran_after_its_stack_was_seen_is_no_longer_stuck() -> None:
    known = stuck("101", age=500)
    observation = made_observation(worker(101, None, threads={"101": 6}), has_records=False)
    after = with_observation(observation, known, RULES)
    assert after.workers["101"].stuck_threads == ()
    observation = made_observation(worker(101, None, threads={"101": 5}), has_records=False)
    assert with_observation(observation, known, RULES).workers["101"].stuck_threads == ("101",)


def test_a_request_that_had_begun_when_idle_threads_were_looked_at_is_found_at_its_own_deadline() -> None:
    known = WorkerState(
        start_ticks=1010, cpu=9.0, cpu_at=BOOT, share=0.0, still={"91": (5, BOOT - 500), "92": (5, BOOT - 10)}
    )
    known = with_thread_dump(101, known, Stacks("", "python:x", {"92": STACK}), BOOT, RULES)
    assert known.stuck_threads == ("92",)
    known = msgspec.structs.replace(known, still={**known.still, "92": (5, BOOT - 400)})
    assert judged(made_state(workers={"101": known}), threads=2)[0] == "suspect"


def test_a_service_with_an_idle_worker_is_not_restarted() -> None:
    """A stuck gthread worker goes on accepting, and /health is only now and then answered by the other."""
    known = {
        str(pid): WorkerState(
            start_ticks=pid * 10, cpu=9.0, cpu_at=BOOT - 15, share=0.0, same_stacks=True, at_work=at_work,
            still={"1": (1, BOOT)},
        )
        for pid, at_work in ((101, 2), (102, 0))
    }  # fmt: skip
    observation = made_observation(
        worker(101, None), worker(102, None), has_records=False, health=exchange(failure="timeout")
    )
    assessment = assess(observation, made_state(workers=known, last_answer=BOOT - 500, failures=9), RULES)
    assert (assessment.fault, assessment.confirmed) == ("not_answering", False)
    known["102"] = msgspec.structs.replace(known["102"], at_work=2)
    assert assess(observation, made_state(workers=known, last_answer=BOOT - 500, failures=9), RULES).confirmed


@pytest.mark.parametrize("frame", ["handle_request", "SyncWorker.handle_request"])
def test_py_spys_threads_are_told_apart_by_the_kernels_ids(frame: str) -> None:
    text = f"""Process 5: gunicorn
Python v3.11.7

Thread 5 (idle): "MainThread"
    run (gunicorn/workers/gthread.py:1)
Thread 17 (active+gil): "ThreadPoolExecutor-0_0"
    stick (app.py:3)
    {frame} (gunicorn/workers/gthread.py:9)
"""
    threads = _by_thread(text)
    assert set(threads) == {"5", "17"}
    assert "active" not in threads["17"]
