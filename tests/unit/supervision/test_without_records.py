"""A worker without a record: what its threads prove, and what they do not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.probe_failure import ProbeFailure
from ops.supervision.health.assess import assess
from ops.supervision.stacks import Stacks, _by_thread, read_stacks
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
        worker(101, None), worker(102, None), has_records=False, health=exchange(failure=ProbeFailure.TIMEOUT)
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


def loop_thread(*frames: str) -> str:
    """py-spy's dump of worker 101, whose main thread runs asyncio and, above it, ``frames``."""
    loop = "BaseEventLoop._run_once (asyncio/base_events.py:1884)"
    return "\n".join(
        (
            "Process 101: gunicorn",
            "",
            'Thread 101 (idle): "MainThread"',
            *(f"    {f}" for f in (*frames, loop)),
            "",
        )
    )


WAITS = loop_thread("EpollSelector.select (selectors.py:468)")
CALLBACK = loop_thread("load (models.py:3)", "Handle._run (asyncio/events.py:80)")
REQUEST = loop_thread(
    "b (app.py:9)", "RequestResponseCycle.run_asgi (uvicorn/protocols/http/h11_impl.py:411)"
)


@pytest.mark.parametrize(
    ("dump", "work"),
    [
        (WAITS, ""),
        (CALLBACK, "callback"),
        (REQUEST, "request"),
        (loop_thread("ASGIProtocol._handle_http_request (gunicorn/asgi/protocol.py:1900)"), "request"),
        (loop_thread("GeventWorker.handle_request (gunicorn/workers/ggevent.py:124)"), "request"),
        (loop_thread("WSGIContainer.handle_request (tornado/wsgi.py:154)"), "request"),
        (loop_thread("SyncWorker.handle_request (gunicorn/workers/sync.py:184)"), ""),
        (loop_thread("x (m.py:1)", "main (uvicorn/lifespan/on.py:86)", "_run (asyncio/events.py:80)"), ""),
        (CALLBACK.replace("Thread 101", "Thread 777"), ""),
    ],
)
def test_what_an_event_loop_runs_is_read_from_its_main_thread(dump: str, work: str) -> None:
    assert read_stacks(dump, 101).loop_work == work


def looping(dump: str, *, age: float, lived: float = 3600.0) -> tuple[str, bool, bool]:
    """What worker 101 is taken for, dumped twice alike, whose main thread has not run for ``age`` seconds."""
    known = WorkerState(start_ticks=1010, cpu=9.0, cpu_at=BOOT, share=0.0, still={"101": (5, BOOT - age)})
    for at in (BOOT - 6, BOOT):
        known = with_thread_dump(101, known, read_stacks(dump, 101), at, RULES)
    observation = made_observation(worker(101, None, started=BOOT - lived), has_records=False)
    first = assess(observation, made_state(workers={"101": known}), RULES).workers[0]
    return first.condition, first.all_wedged, first.wants_dump


def test_a_loop_that_has_not_run_for_a_deadline_is_blocked_by_what_it_runs() -> None:
    assert looping(REQUEST, age=121) == ("blocked", True, True)
    assert looping(REQUEST, age=119) == ("unknown", True, True)
    assert looping(WAITS, age=500)[0] == "unknown"


def test_a_callback_blocks_the_loop_only_of_an_application_that_must_have_started() -> None:
    assert looping(CALLBACK, age=121)[0] == "blocked"
    assert looping(CALLBACK, age=121, lived=200)[0] == "unknown"


def test_a_service_whose_workers_all_compute_in_requests_stands_still_after_two_deadlines() -> None:
    def confirmed(age: float, at_work: int | None = 1, *, again: bool = True) -> bool:
        spins = {
            str(pid): WorkerState(
                start_ticks=pid * 10, cpu=9.0, cpu_at=BOOT - 15, share=1.0, same_stacks=False,
                at_work=at_work, was_at_work=again,
            )
            for pid in (101, 102)
        }  # fmt: skip
        observation = made_observation(
            worker(101, None),
            worker(102, None),
            has_records=False,
            health=exchange(failure=ProbeFailure.TIMEOUT),
        )
        return assess(
            observation, made_state(workers=spins, last_answer=BOOT - age, failures=9), RULES
        ).confirmed

    assert confirmed(241)
    assert not confirmed(239)
    assert not confirmed(241, 0), "idle"
    assert not confirmed(241, None), "what they do is not known"
    assert not confirmed(241, again=False), "a second dump is needed"


def test_a_socket_that_a_worker_closed_is_a_sign_of_life() -> None:
    known = made_state(
        workers={"101": WorkerState(start_ticks=1010, cpu=9.0, cpu_at=BOOT, sockets=(1, 2))},
        last_answer=BOOT - 500,
    )

    def last_answer(*sockets: int) -> float | None:
        observation = made_observation(
            worker(101, None, sockets=sockets),
            has_records=False,
            health=exchange(failure=ProbeFailure.TIMEOUT),
        )
        return with_observation(observation, known, RULES).last_answer

    assert last_answer(1, 2, 3) == BOOT - 500, "one that was accepted is none"
    assert last_answer(1, 3) == BOOT
