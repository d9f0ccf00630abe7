"""The smallest step first, budgets, back-off and the way out of them."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.interpret.process_ref import ProcessRef
from ops.supervision import escalation
from ops.supervision.escalation import Capabilities, Step
from ops.supervision.health import Assessment, Kind, WorkerVerdict
from ops.supervision.state import Action, Pending, Trouble, WatchdogState
from ops.text.language import Text
from tests.unit.supervision.made_look import BOOT, RULES, memory, moment

ALL = Capabilities(restart=True, reload=True)


def stuck(pid: int, kind: Kind = "hung", *, all_wedged: bool = True) -> WorkerVerdict:
    return WorkerVerdict(ProcessRef(pid, pid * 10), kind, 200.0, all_wedged)


def failing(fault: str, *workers: WorkerVerdict) -> Assessment:
    return Assessment("failing", fault, workers=workers, confirmed=True)


def taken(*ages: float, rung: str = "kill_worker") -> list[Action]:
    return [Action(at=BOOT - age, wall=0.0, rung=rung, fault="x") for age in ages]  # type: ignore[arg-type]


def step(
    verdict: Assessment,
    known: WatchdogState | None = None,
    means: Capabilities = ALL,
    *,
    paused: bool = False,
) -> Step:
    return escalation.decide(verdict, known or memory(), RULES, means, BOOT, paused=paused, jitter=0.0)


def test_the_smallest_rung() -> None:
    healthy = WorkerVerdict(ProcessRef(1, 10), "idle")
    assert step(failing("worker_hung", stuck(2), healthy)).rung == "kill_worker"
    assert step(failing("worker_hung", stuck(2, all_wedged=False), healthy)).rung == "terminate_worker"
    assert step(failing("master_stopped")).rung == "continue_master"
    for fault in ("master_gone", "master_hung", "no_workers", "not_answering"):
        assert step(failing(fault)).rung == "restart"


def test_the_surest_case_first_and_one_at_a_time() -> None:
    chosen = step(failing("x", stuck(1, "partly", all_wedged=False), stuck(2, "hung"), stuck(3, "stopped")))
    assert chosen.worker is not None
    assert chosen.worker.identity.pid == 3


def test_more_stuck_workers_than_the_budget_has_room_for() -> None:
    many = failing("worker_hung", *(stuck(pid) for pid in range(1, 6)))
    assert step(many).rung == "reload"
    assert step(many, means=Capabilities(restart=True, reload=False)).rung == "restart"
    assert step(many, means=Capabilities(restart=False, reload=False)).rung == "kill_worker"


def test_a_master_that_was_continued_in_vain_is_replaced() -> None:
    known = memory(
        actions=taken(5.0, rung="continue_master"), trouble=Trouble("master_stopped", BOOT - 60, 0.0)
    )
    assert step(failing("master_stopped"), known).rung == "restart"


def test_nothing_without_proof_in_a_pause_or_while_a_step_takes_effect() -> None:
    assert step(unconfirmed()).rung is None
    assert step(failing("master_gone"), paused=True).rung is None
    waiting = memory(pending=Pending(rung="restart", at=BOOT - 1, until=BOOT + 10))
    assert step(failing("master_gone"), waiting).rung is None
    over = memory(pending=Pending(rung="restart", at=BOOT - 20, until=BOOT - 1))
    assert step(failing("master_gone"), over).rung == "restart"


def unconfirmed() -> Assessment:
    return Assessment("failing", "master_gone")


def test_nothing_to_start_it_with() -> None:
    found = step(failing("master_gone"), means=Capabilities(restart=False, reload=False))
    assert (found.rung, found.futile) == (None, True)


def test_a_start_that_cannot_succeed_waits_for_a_change_or_its_time() -> None:
    broken = Capabilities(restart=True, reload=False, causes=("GUN003",), fingerprint="1")
    known = memory(trouble=Trouble("master_gone", BOOT - 10, 0.0))
    assert step(failing("master_gone"), known, broken).futile
    known.futile_fingerprint = "1"
    assert step(failing("master_gone"), known, broken).futile
    known.futile_fingerprint = "0"
    assert step(failing("master_gone"), known, broken).rung == "restart"
    waited = memory(trouble=Trouble("master_gone", BOOT - 1801, 0.0), futile_fingerprint="1")
    assert step(failing("master_gone"), waited, broken).rung == "restart"
    unrelated = Capabilities(restart=True, reload=False, causes=("NGX003", "MOD001"), fingerprint="1")
    assert step(failing("master_gone"), known, unrelated).rung == "restart"


def test_the_budget() -> None:
    assert step(failing("worker_hung", stuck(1)), memory(actions=taken(100.0, 50.0))).rung == "kill_worker"
    spent = memory(actions=taken(1000.0, 500.0, 100.0))
    held = step(failing("worker_hung", stuck(1)), spent)
    assert (held.rung, held.holding) == (None, True)
    out_of_window = memory(actions=taken(1900.0, 500.0, 100.0))
    assert step(failing("worker_hung", stuck(1)), out_of_window).rung == "kill_worker"


def test_holding_allows_one_attempt_and_doubles_the_wait() -> None:
    known = escalation.holding(memory(actions=taken(3.0, 2.0, 1.0)), RULES, BOOT, 0.0, 0.0)
    waits, now = [], BOOT - 1
    for _ in range(6):
        assert known.rearm_at is not None
        waits.append(known.rearm_at - now)
        now = known.rearm_at
        assert escalation.allowance(known, RULES, now - 1, "restart", 0.0) == "held"
        assert escalation.allowance(known, RULES, now, "restart", 0.0) == "half_open"
        known = escalation.acted(known, RULES, Action(at=now, wall=0.0, rung="restart", fault="x"), 0.0)
    assert waits == [1800, 3600, 7200, 14400, 14400, 14400], "up to four hours, and never for good"


def test_ten_healthy_minutes_clear_it() -> None:
    known = escalation.holding(memory(actions=taken(3.0, 2.0, 1.0)), RULES, BOOT, 0.0, 0.0)
    known = escalation.healthy(known, RULES, BOOT)
    assert escalation.healthy(known, RULES, BOOT + 599).holding
    cleared = escalation.healthy(known, RULES, BOOT + 600)
    assert not cleared.holding
    assert escalation.used(cleared, RULES, BOOT + 600) == 0
    short = RULES.__class__(120, 300, 15, 3, 3, 60)
    assert not escalation.healthy(known, short, BOOT + 60).holding, "or `within`, if that is shorter"


def test_restarts_back_off() -> None:
    known = memory(actions=taken(5.0, rung="restart"))
    assert escalation.allowance(known, RULES, BOOT, "restart", 0.0) == "backing_off"
    assert escalation.allowance(known, RULES, BOOT + 6, "restart", 0.0) == "allowed"
    assert escalation.allowance(known, RULES, BOOT, "kill_worker", 0.0) == "allowed"


@settings(max_examples=20, deadline=None)
@given(every=st.floats(5.0, 60.0))
def test_a_crash_loop_is_restarted_at_most_six_times_an_hour(every: float) -> None:
    """Whatever the timing: a service that dies again at once, looked at every few seconds, for three hours."""
    known, times, now = memory(), [], BOOT
    while now < BOOT + 3 * 3600:
        known.clocks = moment(now - BOOT)
        found = escalation.decide(failing("master_gone"), known, RULES, ALL, now, paused=False, jitter=0.5)
        if found.holding:
            known = escalation.holding(known, RULES, now, 0.0, 0.5)
        if found.rung is not None:
            times.append(now)
            known = escalation.acted(known, RULES, Action(at=now, wall=0.0, rung=found.rung, fault="x"), 0.5)
        now += every
    assert times
    assert all(sum(t <= other < t + 3600 for other in times) <= 6 for t in times)
    assert max(times) > BOOT + 3600, "it has not given up"


def test_the_memory_keeps_a_bounded_number_of_actions() -> None:
    known = memory()
    for index in range(200):
        known = escalation.acted(
            known, RULES, Action(at=BOOT + index, wall=0.0, rung="restart", fault="x"), 0.0
        )
    assert len(known.actions) == 50
    assert known.counters["restart"] == 200
    assert msgspec.json.encode(known)


def test_what_must_not_be_started_is_not_and_a_person_is_told_why() -> None:
    why = Text(en="the keys file is gone", zh="密钥文件已不存在")
    means = Capabilities(restart=True, reload=True, refusal=why)
    assert step(failing("master_gone"), means=means) == Step(None, why=why, futile=True)
    assert step(failing("worker_hung", stuck(1)), means=means).rung == "kill_worker", "no start is needed"
    assert step(failing("master_gone")).rung == "restart", "once the reason is gone"
