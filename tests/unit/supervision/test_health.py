"""Busy or hung, starting or dead: every rule with a case that fires and its neighbour that must not."""

from __future__ import annotations

import json

import msgspec
import pytest

from ops.facts.base import NotSeen
from ops.interpret.process_ref import ProcessRef
from ops.supervision.health import Assessment, assess, own_trouble, remembered, with_dump, without_dumps
from ops.supervision.observation import Clocks, Holder, Observation, ProcessState
from ops.supervision.state import WatchdogState, WorkerState
from tests.unit.supervision.made_look import BOOT, RULES, WALL, exchange, look, memory, moment, record, worker

TIMEOUT = exchange(failure="timeout")
REFUSED = exchange(failure="refused")


def told(seen: Observation, known: WatchdogState | None = None) -> Assessment:
    return assess(seen, known or memory(101, 102, same=None), RULES)


def test_a_healthy_service() -> None:
    assert told(look()).state == "healthy"


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
    seen = look(worker(101, record(101, ages=ages, silent=silent)), worker(102, record(102)))
    verdict = told(seen, memory(101, same=same, share=share))
    assert verdict.workers[0].kind == kind
    assert verdict.confirmed == (kind in ("hung", "livelock", "partly"))


def test_a_worker_with_a_young_request_beside_stuck_ones_is_not_all_wedged() -> None:
    seen = look(worker(101, record(101, ages=(200.0, 5.0), silent=200.0)), worker(102, record(102)))
    verdict = told(seen, memory(101))
    assert verdict.workers[0].kind == "hung"
    assert not verdict.workers[0].all_wedged


def test_all_workers_suspect_is_overload_until_two_deadlines() -> None:
    def stuck(seconds: float) -> Assessment:
        workers = [worker(pid, record(pid, ages=(seconds,), silent=seconds)) for pid in (101, 102)]
        return told(look(*workers, health=TIMEOUT), memory(101, 102))

    early, late = stuck(239.0), stuck(241.0)
    assert (early.fault, early.confirmed, early.saturated) == ("overload", False, True)
    assert (late.fault, late.confirmed) == ("worker_hung", True)


def test_busy_workers_and_an_unanswered_probe_are_saturation() -> None:
    workers = [worker(pid, record(pid, ages=(3.0,), silent=3.0)) for pid in (101, 102)]
    verdict = told(look(*workers, health=TIMEOUT), memory(101, 102, failures=99))
    assert (verdict.state, verdict.confirmed, verdict.saturated) == ("saturated", False, True)


def test_completions_since_the_last_round_are_saturation_though_all_are_idle_just_now() -> None:
    assert told(look(health=TIMEOUT), memory(101, 102, last_answer=BOOT)).state == "saturated"
    assert told(look(health=TIMEOUT), memory(101, 102, last_answer=BOOT - 15)).state == "failing"


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_stopped_worker_counts(failures: int) -> None:
    seen = look(worker(101, record(101), state="stopped"), worker(102, record(102)))
    verdict = told(seen, memory(failures=failures))
    assert (verdict.fault, verdict.confirmed) == ("worker_stopped", failures >= 3)


def test_a_debugger_is_left_alone() -> None:
    seen = look(worker(101, record(101), state="tracing-stop"), worker(102, record(102)))
    assert told(seen, memory(failures=9)).state == "unjudged"
    master = ProcessState(pid=100, start_ticks=1000, state="tracing-stop", cpu=1.0, started=0.0)
    assert told(look(master=master), memory(failures=9)).state == "unjudged"


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
    verdict = told(look(booting, worker(102, record(102)), ready=ready))
    assert verdict.workers[0].kind == kind


def test_a_worker_the_control_socket_knows_as_booting() -> None:
    seen = look(worker(101, None, booting_by_control=True, started=BOOT - 301))
    assert told(seen).fault == "worker_boot_hung"


def test_masters() -> None:
    stopped = ProcessState(pid=100, start_ticks=1000, state="stopped", cpu=1.0, started=0.0)
    assert told(look(master=stopped), memory(failures=2)).confirmed is False
    assert told(look(master=stopped), memory(failures=3)).fault == "master_stopped"
    assert told(look(control_answers=False), memory(101, 102, control_failures=2)).state == "healthy"
    hung = told(look(control_answers=False), memory(101, 102, control_failures=3))
    assert (hung.fault, hung.confirmed) == ("master_hung", True)
    gone = look(master=None, workers=(), health=REFUSED)
    assert told(gone, memory(failures=2)).confirmed is False
    assert told(gone, memory(failures=3)).fault == "master_gone"


def test_a_foreign_program_is_never_a_reason_to_act() -> None:
    foreign = Holder(pid=7, start_ticks=1, command="python -m http.server", ours=False)
    verdict = told(look(master=None, workers=(), holders=(foreign,)), memory(failures=99))
    assert (verdict.state, verdict.confirmed) == ("foreign", False)
    left_over = Holder(pid=101, start_ticks=1010, command="gunicorn", ours=True)
    assert (
        told(look(master=None, workers=(), holders=(left_over,)), memory(failures=99)).fault == "master_gone"
    )
    unseen = look(master=None, workers=(), holders=NotSeen(reason="root"), health=TIMEOUT)
    assert told(unseen, memory(failures=99)).confirmed is False


def test_a_master_without_workers() -> None:
    verdict = told(look(workers=(), health=TIMEOUT), memory(failures=9, workers_seen_at=BOOT - 299))
    assert verdict.state == "booting"
    verdict = told(look(workers=(), health=TIMEOUT), memory(failures=9, workers_seen_at=BOOT - 301))
    assert (verdict.fault, verdict.confirmed) == ("no_workers", True)


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
    seen = look(worker(101, None), worker(102, None), health=TIMEOUT, has_records=False)
    known = memory(101, 102, same=same, share=share, failures=99, last_answer=BOOT - silent)
    assert told(seen, known).confirmed is confirmed


def test_a_failed_probe_alone_never_confirms() -> None:
    for failure in ("timeout", "refused", "reset", "closed"):
        for failures in (1, 3, 1000):
            assert not told(
                look(health=exchange(failure=failure)), memory(101, 102, failures=failures)
            ).confirmed
    assert not told(look(health=exchange(status=500)), memory(failures=99)).confirmed


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
    verdict = told(look(ready=exchange(status=503, body=json.dumps({"reason": reason}))), memory(failures=99))
    assert (verdict.state, verdict.confirmed) == (state, False)


# --- the watchdog's own trouble ---------------------------------------------------------------------------------------


def after(seconds: float, *, wall: float = 0.0, slept: float = 0.0) -> Observation:
    return look(
        clocks=Clocks(wall=WALL + seconds + wall, monotonic=BOOT + seconds - slept, boottime=BOOT + seconds)
    )


def test_own_trouble() -> None:
    assert own_trouble(after(15), memory(), expected_gap=15) is None
    assert own_trouble(after(86400, wall=20), memory(), expected_gap=None) is None, "slewed, not set"
    assert "clock" in (own_trouble(after(15, wall=3600), memory(), expected_gap=15) or "")
    assert "clock" in (own_trouble(after(15, wall=-60), memory(), expected_gap=15) or "")
    assert "slept" in (own_trouble(after(900, slept=880), memory(), expected_gap=15) or "")
    assert "held up" in (own_trouble(after(300), memory(), expected_gap=15) or "")
    assert own_trouble(after(300), memory(), expected_gap=None) is None
    assert own_trouble(look(own_trouble="no descriptors"), memory(), expected_gap=15) == "no descriptors"


@pytest.mark.parametrize("jump", [7200.0, -7200.0])
def test_after_a_clock_jump_ages_count_anew(jump: float) -> None:
    """A request in flight for 5 s does not become two hours old, nor does a stuck one hide for ever."""
    jumped = look(
        worker(101, record(101, ages=(5.0,), silent=5.0)),
        clocks=Clocks(wall=WALL + jump, monotonic=BOOT, boottime=BOOT),
    )
    known = remembered(jumped, memory(101), RULES, "the clock was set")
    assert assess(jumped, known, RULES).workers[0].kind == "busy"
    later = msgspec.structs.replace(
        jumped, clocks=Clocks(wall=WALL + jump + 250, monotonic=BOOT + 250, boottime=BOOT + 250)
    )
    known = remembered(later, known, RULES, None)
    known.workers["101"] = WorkerState(start_ticks=1010, cpu=9.0, cpu_at=BOOT, share=0.0, same_stacks=True)
    assert assess(later, known, RULES).fault == "worker_hung"


# --- what is remembered -----------------------------------------------------------------------------------------------


def test_cpu_share_is_measured_over_some_seconds_and_per_process() -> None:
    first = remembered(look(worker(101, record(101), cpu=10.0)), WatchdogState(), RULES, None)
    assert first.workers["101"].share is None
    soon = look(worker(101, record(101), cpu=11.0), clocks=moment(1.0))
    assert remembered(soon, first, RULES, None).workers["101"].share is None
    later = look(worker(101, record(101), cpu=15.0), clocks=moment(10.0))
    assert remembered(later, first, RULES, None).workers["101"].share == pytest.approx(0.5)
    reused = look(worker(101, None, cpu=15.0, start_ticks=99), clocks=moment(10.0))
    assert remembered(reused, first, RULES, None).workers["101"].share is None


def test_two_dumps_alike_and_far_enough_apart() -> None:
    known = WorkerState(start_ticks=1, cpu=0.0, cpu_at=0.0)
    known = with_dump(known, "a", 100.0, 5.0)
    assert known.same_stacks is None
    assert with_dump(known, "a", 101.0, 5.0).same_stacks is None, "too soon"
    assert with_dump(known, "a", 105.0, 5.0).same_stacks is True
    assert with_dump(known, "b", 105.0, 5.0).same_stacks is False
    assert with_dump(known, "", 105.0, 5.0).same_stacks is None, "nothing could be seen"


def test_dumps_of_workers_no_longer_suspected_are_forgotten() -> None:
    kept = without_dumps(memory(101, 102), [ProcessRef(101, 1010)])
    assert kept.workers["101"].same_stacks is True
    assert kept.workers["102"].same_stacks is None


def test_any_sign_of_life_counts_as_an_answer() -> None:
    silent = look(worker(101, record(101, completed=7)), health=TIMEOUT, clocks=moment(10.0))
    known = memory(101, last_answer=BOOT, answer_marks={"101": 7})
    assert remembered(silent, known, RULES, None).last_answer == BOOT
    moved = look(worker(101, record(101, completed=8)), health=TIMEOUT, clocks=moment(10.0))
    assert remembered(moved, known, RULES, None).last_answer == BOOT + 10


def test_a_master_that_was_there_and_is_gone_for_a_second_needs_no_counting() -> None:
    gone = look(master=None, workers=(), health=exchange(failure="refused"))

    def after(seconds: float, known: WatchdogState) -> bool:
        first = remembered(gone, known, RULES, None)
        second = msgspec.structs.replace(gone, clocks=moment(seconds))
        return assess(second, remembered(second, first, RULES, None), RULES).confirmed

    seen = memory(failures=1, workers_seen_at=BOOT - 5)
    assert not after(0.5, seen)
    assert after(1.0, seen)
    assert not after(60.0, memory(failures=1, workers_seen_at=None)), (
        "no master was there yet: others start it"
    )
    back = remembered(look(), remembered(gone, seen, RULES, None), RULES, None)
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
    changes: dict[str, object], words: str, chinese: str
) -> None:
    verdict = assess(look(), memory(**changes), RULES)  # type: ignore[arg-type]
    assert (verdict.state, verdict.fault, verdict.confirmed) == ("failing", "environment_changed", False)
    assert words in verdict.detail.en
    assert chinese in verdict.detail.zh
    down = assess(look(master=None, health=exchange(failure="refused")), memory(**changes), RULES)  # type: ignore[arg-type]
    assert down.fault == "master_gone", "what is worse comes first"
