"""Busy or hung, starting or dead: every rule with a case that fires and its neighbour that must not."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import pytest

from ops.facts.base import NotSeen
from ops.facts.probe_failure import ProbeFailure
from ops.interpret.process_ref import ProcessRef
from ops.supervision.health.assess import assess
from ops.supervision.health.assessment import Assessment
from ops.supervision.observation import Clocks, Holder, Observation, ProcessState, RunState
from ops.supervision.state import WatchdogState, WorkerState
from ops.supervision.state_update import own_trouble, with_dump, with_observation, without_dumps
from ops.text.language import Text
from tests.unit.supervision.made_observation import (
    BOOT,
    RULES,
    WALL,
    exchange,
    made_observation,
    made_state,
    moment,
    record,
    worker,
)

TIMEOUT = exchange(failure=ProbeFailure.TIMEOUT)
REFUSED = exchange(failure=ProbeFailure.REFUSED)
NO_DESCRIPTORS = Text(en="no descriptors", zh="没有描述符")


def assessed(observation: Observation, state: WatchdogState | None = None) -> Assessment:
    return assess(observation, state or made_state(101, 102, same=None), RULES)


def test_a_healthy_service() -> None:
    assert assessed(made_observation()).state == "healthy"


@pytest.mark.parametrize(
    ("ages", "silent", "same", "share", "kind"),
    [
        ((119.0,), 119.0, True, 0.0, "busy"),
        ((121.0,), 121.0, True, 0.0, "hung"),
        ((121.0,), 121.0, None, 0.0, "suspect"),
        ((121.0,), 121.0, False, 0.0, "busy"),
        ((121.0,), 121.0, True, None, "suspect"),
        ((121.0,), 121.0, True, 0.5, "busy"),
        ((361.0,), 361.0, None, 0.5, "livelock"),
        ((359.0,), 359.0, None, 0.5, "busy"),
        ((361.0, 0.1), 0.2, True, 0.0, "partly"),
        ((359.0, 0.1), 0.2, True, 0.0, "busy"),
        ((361.0, 0.1), 0.2, False, 0.0, "busy"),
        ((121.0,), None, True, 0.0, "hung"),
    ],
)
def test_one_worker_beside_a_healthy_one(
    ages: tuple[float, ...], silent: float | None, same: bool | None, share: float | None, kind: str
) -> None:
    observation = made_observation(
        worker(101, record(101, ages=ages, silent=silent)), worker(102, record(102))
    )
    assessment = assessed(observation, made_state(101, same=same, share=share))
    assert assessment.workers[0].condition == kind
    assert assessment.confirmed == (kind in ("hung", "livelock", "partly"))


@pytest.mark.parametrize(
    ("ages", "beat", "share", "kind"),
    [
        ((), 0.5, 0.0, "idle"),
        ((1200.0,), 0.5, 0.0, "busy"),  # awaits for ten deadlines
        ((1200.0, 1200.0), 4.0, 0.0, "busy"),
        ((1200.0,), 119.0, 0.0, "busy"),
        ((121.0,), 121.0, 0.0, "blocked"),
        (
            (1.0,),
            121.0,
            0.0,
            "blocked",
        ),  # a request that came before the loop was blocked, by a task of its own
        ((), 121.0, 0.0, "blocked"),
        ((121.0,), 121.0, None, "suspect"),
        ((121.0,), 121.0, 0.5, "busy"),
        ((361.0,), 361.0, 0.5, "livelock"),
    ],
)
def test_with_a_beat_only_the_event_loop_itself_can_be_stuck(
    ages: tuple[float, ...], beat: float, share: float | None, kind: str
) -> None:
    observation = made_observation(
        worker(101, record(101, ages=ages, silent=2000.0, beat=beat)), worker(102, record(102))
    )
    assessment = assessed(observation, made_state(101, same=True, share=share))
    assert assessment.workers[0].condition == kind
    assert assessment.confirmed == (kind in ("blocked", "livelock"))


def test_all_event_loops_blocked_are_no_overload() -> None:
    workers = [worker(pid, record(pid, ages=(121.0,), silent=121.0, beat=121.0)) for pid in (101, 102)]
    assessment = assessed(made_observation(*workers, health=TIMEOUT), made_state(101, 102))
    assert (assessment.fault, assessment.confirmed) == ("worker_blocked", True)


def test_a_short_deadline_does_not_make_a_beat_old() -> None:
    rules = dataclasses.replace(RULES, request_deadline=1.0)
    observation = made_observation(worker(101, record(101, ages=(4.5,), beat=4.5)), worker(102, record(102)))
    assert assess(observation, made_state(101), rules).workers[0].condition == "busy"


def test_a_beat_from_before_the_clock_was_set_counts_from_then() -> None:
    state = made_state(101, distrust_before=WALL - 10)
    observation = made_observation(
        worker(101, record(101, ages=(900.0,), beat=900.0)), worker(102, record(102))
    )
    assert assessed(observation, state).workers[0].condition == "busy"


def test_a_worker_with_a_young_request_beside_stuck_ones_is_not_all_wedged() -> None:
    observation = made_observation(
        worker(101, record(101, ages=(200.0, 5.0), silent=200.0)), worker(102, record(102))
    )
    assessment = assessed(observation, made_state(101))
    assert assessment.workers[0].condition == "hung"
    assert not assessment.workers[0].all_wedged


def test_all_workers_suspect_is_overload_until_two_deadlines() -> None:
    def stuck(seconds: float) -> Assessment:
        workers = [worker(pid, record(pid, ages=(seconds,), silent=seconds)) for pid in (101, 102)]
        return assessed(made_observation(*workers, health=TIMEOUT), made_state(101, 102))

    early, late = stuck(239.0), stuck(241.0)
    assert (early.fault, early.confirmed, early.saturated) == ("overload", False, True)
    assert (late.fault, late.confirmed) == ("worker_hung", True)


def test_busy_workers_and_an_unanswered_probe_are_saturation() -> None:
    workers = [worker(pid, record(pid, ages=(3.0,), silent=3.0)) for pid in (101, 102)]
    assessment = assessed(made_observation(*workers, health=TIMEOUT), made_state(101, 102, failures=99))
    assert (assessment.state, assessment.confirmed, assessment.saturated) == ("saturated", False, True)


def test_completions_since_the_last_cycle_are_saturation_though_all_are_idle_just_now() -> None:
    assert (
        assessed(made_observation(health=TIMEOUT), made_state(101, 102, last_answer=BOOT)).state
        == "saturated"
    )
    assert (
        assessed(made_observation(health=TIMEOUT), made_state(101, 102, last_answer=BOOT - 15)).state
        == "failing"
    )


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_stopped_worker_counts(failures: int) -> None:
    observation = made_observation(worker(101, record(101), state=RunState.STOPPED), worker(102, record(102)))
    assessment = assessed(observation, made_state(failures=failures))
    assert (assessment.fault, assessment.confirmed) == ("worker_stopped", failures >= 3)


def test_a_debugger_is_left_alone() -> None:
    observation = made_observation(worker(101, record(101), state=RunState.TRACED), worker(102, record(102)))
    assert assessed(observation, made_state(failures=9)).state == "unjudged"
    master = ProcessState(pid=100, start_ticks=1000, state=RunState.TRACED, cpu=1.0, started=0.0)
    assert assessed(made_observation(master=master), made_state(failures=9)).state == "unjudged"


@pytest.mark.parametrize(
    ("age", "completed", "ready", "kind"),
    [
        (299.0, 0, exchange(), "booting"),
        (301.0, 0, exchange(), "boot_hung"),
        (301.0, 5, exchange(status=503, body=json.dumps({"reason": "loading"})), "boot_hung"),
        (301.0, 5, exchange(), "idle"),  # an application that uses the hooks and never reports ready
    ],
)
def test_booting_has_its_own_deadline(age: float, completed: int, ready: object, kind: str) -> None:
    booting = worker(101, record(101, phase="booting", completed=completed, silent=None), started=BOOT - age)
    assessment = assessed(made_observation(booting, worker(102, record(102)), ready=ready))
    assert assessment.workers[0].condition == kind


def test_a_worker_the_control_socket_knows_as_booting() -> None:
    observation = made_observation(worker(101, None, booting_by_control=True, started=BOOT - 301))
    assert assessed(observation).fault == "worker_boot_hung"


def test_masters() -> None:
    stopped = ProcessState(pid=100, start_ticks=1000, state=RunState.STOPPED, cpu=1.0, started=0.0)
    assert assessed(made_observation(master=stopped), made_state(failures=2)).confirmed is False
    assert assessed(made_observation(master=stopped), made_state(failures=3)).fault == "master_stopped"
    assert (
        assessed(made_observation(control_answers=False), made_state(101, 102, control_failures=2)).state
        == "healthy"
    )
    hung = assessed(made_observation(control_answers=False), made_state(101, 102, control_failures=3))
    assert (hung.fault, hung.confirmed) == ("master_hung", True)
    gone = made_observation(master=None, workers=(), health=REFUSED)
    assert assessed(gone, made_state(failures=2)).confirmed is False
    assert assessed(gone, made_state(failures=3)).fault == "master_gone"


def test_another_program_is_never_a_reason_to_act() -> None:
    other = Holder(pid=7, start_ticks=1, command="python -m http.server", ours=False)
    assessment = assessed(
        made_observation(master=None, workers=(), holders=(other,)), made_state(failures=99)
    )
    assert (assessment.state, assessment.confirmed) == ("foreign", False)
    left_over = Holder(pid=101, start_ticks=1010, command="gunicorn", ours=True)
    assert (
        assessed(
            made_observation(master=None, workers=(), holders=(left_over,)), made_state(failures=99)
        ).fault
        == "master_gone"
    )
    unseen = made_observation(master=None, workers=(), holders=NotSeen(reason="root"), health=TIMEOUT)
    assert assessed(unseen, made_state(failures=99)).confirmed is False


def test_a_master_without_workers() -> None:
    assessment = assessed(
        made_observation(workers=(), health=TIMEOUT), made_state(failures=9, workers_seen_at=BOOT - 299)
    )
    assert assessment.state == "booting"
    assessment = assessed(
        made_observation(workers=(), health=TIMEOUT), made_state(failures=9, workers_seen_at=BOOT - 301)
    )
    assert (assessment.fault, assessment.confirmed) == ("no_workers", True)


@pytest.mark.parametrize(
    ("silent", "same", "share", "confirmed"),
    [
        (241.0, True, 0.0, True),
        (239.0, True, 0.0, False),
        (241.0, False, 0.0, False),
        (241.0, True, 0.5, False),
    ],
)
def test_without_records_only_long_silence_accuses(
    silent: float, same: bool, share: float, confirmed: bool
) -> None:
    observation = made_observation(worker(101, None), worker(102, None), health=TIMEOUT, has_records=False)
    known = made_state(101, 102, same=same, share=share, failures=99, last_answer=BOOT - silent)
    assert assessed(observation, known).confirmed is confirmed


def test_a_failed_probe_alone_never_confirms() -> None:
    for failure in (ProbeFailure.TIMEOUT, ProbeFailure.REFUSED, ProbeFailure.RESET, ProbeFailure.CLOSED):
        for failures in (1, 3, 1000):
            assert not assessed(
                made_observation(health=exchange(failure=failure)), made_state(101, 102, failures=failures)
            ).confirmed
    assert not assessed(made_observation(health=exchange(status=500)), made_state(failures=99)).confirmed


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("saturated", "saturated"),
        ("loading", "booting"),
        ("model_missing", "failing"),
        ("load_failed", "failing"),
    ],
)
def test_what_ready_says(reason: str, state: str) -> None:
    assessment = assessed(
        made_observation(ready=exchange(status=503, body=json.dumps({"reason": reason}))),
        made_state(failures=99),
    )
    assert (assessment.state, assessment.confirmed) == (state, False)


# --- the watchdog's own trouble ---------------------------------------------------------------------------------------


def after(seconds: float, *, wall: float = 0.0, slept: float = 0.0) -> Observation:
    return made_observation(
        clocks=Clocks(wall=WALL + seconds + wall, monotonic=BOOT + seconds - slept, boottime=BOOT + seconds)
    )


def test_own_trouble() -> None:
    assert own_trouble(after(15), made_state(), expected_gap=15) is None
    assert own_trouble(after(86400, wall=20), made_state(), expected_gap=None) is None, "slewed, not set"
    for observation, en, zh in (
        (after(15, wall=3600), "clock", "时钟"),
        (after(15, wall=-60), "clock", "时钟"),
        (after(900, slept=880), "slept", "休眠"),
        (after(300), "held up", "停顿"),
    ):
        trouble = own_trouble(observation, made_state(), expected_gap=15)
        assert trouble is not None
        assert en in trouble.en
        assert zh in trouble.zh
    assert own_trouble(after(300), made_state(), expected_gap=None) is None
    assert (
        own_trouble(made_observation(own_trouble=NO_DESCRIPTORS), made_state(), expected_gap=15)
        == NO_DESCRIPTORS
    )


@pytest.mark.parametrize("jump", [7200.0, -7200.0])
def test_after_a_clock_jump_ages_count_anew(jump: float) -> None:
    """A request in flight for 5 s does not become two hours old, nor does a stuck one hide for ever."""
    jumped = made_observation(
        worker(101, record(101, ages=(5.0,), silent=5.0)),
        clocks=Clocks(wall=WALL + jump, monotonic=BOOT, boottime=BOOT),
    )
    undetermined = msgspec.structs.replace(jumped, own_trouble=Text(en="the clock was set", zh="时钟被调整"))
    known = with_observation(undetermined, made_state(101), RULES)
    assert assess(jumped, known, RULES).workers[0].condition == "busy"
    later = msgspec.structs.replace(
        jumped, clocks=Clocks(wall=WALL + jump + 250, monotonic=BOOT + 250, boottime=BOOT + 250)
    )
    known = with_observation(later, known, RULES)
    still = WorkerState(start_ticks=1010, cpu=9.0, cpu_at=BOOT, share=0.0, same_stacks=True)
    known = msgspec.structs.replace(known, workers={"101": still})
    assert assess(later, known, RULES).fault == "worker_hung"


# --- what an observation adds -----------------------------------------------------------------------------------------


def test_cpu_share_is_measured_over_some_seconds_and_per_process() -> None:
    first = with_observation(made_observation(worker(101, record(101), cpu=10.0)), WatchdogState(), RULES)
    assert first.workers["101"].share is None
    soon = made_observation(worker(101, record(101), cpu=11.0), clocks=moment(1.0))
    assert with_observation(soon, first, RULES).workers["101"].share is None
    later = made_observation(worker(101, record(101), cpu=15.0), clocks=moment(10.0))
    assert with_observation(later, first, RULES).workers["101"].share == pytest.approx(0.5)
    reused = made_observation(worker(101, None, cpu=15.0, start_ticks=99), clocks=moment(10.0))
    assert with_observation(reused, first, RULES).workers["101"].share is None


def test_two_dumps_alike_and_far_enough_apart() -> None:
    known = WorkerState(start_ticks=1, cpu=0.0, cpu_at=0.0)
    known = with_dump(known, "a", 100.0, 5.0)
    assert known.same_stacks is None
    assert with_dump(known, "a", 101.0, 5.0).same_stacks is None, "too soon"
    assert with_dump(known, "a", 105.0, 5.0).same_stacks is True
    assert with_dump(known, "b", 105.0, 5.0).same_stacks is False
    assert with_dump(known, "", 105.0, 5.0).same_stacks is None, "nothing could be read"


def test_dumps_of_workers_no_longer_suspected_are_forgotten() -> None:
    state = without_dumps(made_state(101, 102), [ProcessRef(101, 1010)])
    assert state.workers["101"].same_stacks is True
    assert state.workers["102"].same_stacks is None


def test_any_sign_of_life_counts_as_an_answer() -> None:
    silent = made_observation(worker(101, record(101, completed=7)), health=TIMEOUT, clocks=moment(10.0))
    known = made_state(101, last_answer=BOOT, answer_marks={"101": 7})
    assert with_observation(silent, known, RULES).last_answer == BOOT
    moved = made_observation(worker(101, record(101, completed=8)), health=TIMEOUT, clocks=moment(10.0))
    assert with_observation(moved, known, RULES).last_answer == BOOT + 10


def test_a_master_that_was_there_and_is_gone_for_a_second_needs_no_counting() -> None:
    gone = made_observation(master=None, workers=(), health=exchange(failure=ProbeFailure.REFUSED))

    def after(seconds: float, known: WatchdogState) -> bool:
        first = with_observation(gone, known, RULES)
        second = msgspec.structs.replace(gone, clocks=moment(seconds))
        return assess(second, with_observation(second, first, RULES), RULES).confirmed

    before = made_state(failures=1, workers_seen_at=BOOT - 5)
    assert not after(0.5, before)
    assert after(1.0, before)
    assert not after(60.0, made_state(failures=1, workers_seen_at=None)), (
        "no master was there yet: others start it"
    )
    back = with_observation(made_observation(), with_observation(gone, before, RULES), RULES)
    assert back.master_gone_since is None


@pytest.mark.parametrize(
    ("changes", "words", "chinese"),
    [
        (
            {"environment_lost": ("GTE_API_KEYS_FILE", "A")},
            "without GTE_API_KEYS_FILE, A as it was",
            "GTE_API_KEYS_FILE, A",
        ),
        ({"other_user": True}, "as another user", "运行用户不同"),
    ],
)
def test_a_service_that_is_not_as_before_is_not_healthy(
    changes: dict[str, Any], words: str, chinese: str
) -> None:
    assessment = assess(made_observation(), made_state(**changes), RULES)
    assert (assessment.state, assessment.fault, assessment.confirmed) == (
        "failing",
        "environment_changed",
        False,
    )
    assert words in assessment.detail.en
    assert chinese in assessment.detail.zh
    down = assess(
        made_observation(master=None, health=exchange(failure=ProbeFailure.REFUSED)),
        made_state(**changes),
        RULES,
    )
    assert down.fault == "master_gone", "what is worse comes first"
