"""The smallest step first, budgets, back-off and the way out of them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.interpret.process_ref import ProcessRef
from ops.interpret.start_failure.kind import Kind
from ops.supervision import escalation
from ops.supervision.escalation import Allowance, Capabilities, Step, fails_again
from ops.supervision.health.assessment import Assessment, WorkerAssessment, WorkerCondition
from ops.supervision.state import (
    ActionKind,
    ActionRecord,
    Fault,
    Pending,
    ServiceState,
    Trouble,
    WatchdogState,
)
from ops.text.language import Text
from tests.unit.supervision.made_observation import BOOT, RULES, made_state, moment

ALL = Capabilities(restart=True, reload=True)


def stuck(
    pid: int, condition: WorkerCondition = WorkerCondition.HUNG, *, all_wedged: bool = True
) -> WorkerAssessment:
    return WorkerAssessment(ProcessRef(pid, pid * 10), condition, 200.0, all_wedged)


def failing(fault: Fault, *workers: WorkerAssessment) -> Assessment:
    return Assessment(ServiceState.FAILING, fault, workers=workers, confirmed=True)


def taken(*ages: float, kind: ActionKind = ActionKind.KILL_WORKER) -> tuple[ActionRecord, ...]:
    return tuple(action(BOOT - age, kind) for age in ages)


def action(at: float, kind: ActionKind = ActionKind.RESTART) -> ActionRecord:
    return ActionRecord(at=at, wall=0.0, kind=kind, fault=Fault.MASTER_GONE)


def step(
    assessment: Assessment,
    known: WatchdogState | None = None,
    capabilities: Capabilities = ALL,
    *,
    paused: bool = False,
) -> Step:
    return escalation.decide(
        assessment, known or made_state(), RULES, capabilities, BOOT, paused=paused, jitter=0.0
    )


def test_the_least_disruptive_action() -> None:
    healthy = WorkerAssessment(ProcessRef(1, 10), WorkerCondition.IDLE)
    assert step(failing(Fault.WORKER_HUNG, stuck(2), healthy)).action == ActionKind.KILL_WORKER
    assert (
        step(failing(Fault.WORKER_HUNG, stuck(2, all_wedged=False), healthy)).action
        == ActionKind.TERMINATE_WORKER
    )
    assert step(failing(Fault.MASTER_STOPPED)).action == ActionKind.CONTINUE_MASTER
    for fault in (Fault.MASTER_GONE, Fault.MASTER_HUNG, Fault.NO_WORKERS, Fault.NOT_ANSWERING):
        assert step(failing(fault)).action == ActionKind.RESTART


def test_the_surest_case_first_and_one_at_a_time() -> None:
    chosen = step(
        failing(
            Fault.WORKER_HUNG,
            stuck(1, WorkerCondition.PARTIALLY_STUCK, all_wedged=False),
            stuck(2, WorkerCondition.HUNG),
            stuck(3, WorkerCondition.STOPPED),
        )
    )
    assert chosen.worker is not None
    assert chosen.worker.process.pid == 3


def test_more_stuck_workers_than_the_budget_has_room_for() -> None:
    many = failing(Fault.WORKER_HUNG, *(stuck(pid) for pid in range(1, 6)))
    assert step(many).action == ActionKind.RELOAD
    assert step(many, capabilities=Capabilities(restart=True, reload=False)).action == ActionKind.RESTART
    assert step(many, capabilities=Capabilities(restart=False, reload=False)).action == ActionKind.KILL_WORKER


def test_a_master_that_was_continued_in_vain_is_replaced() -> None:
    known = made_state(
        actions=taken(5.0, kind=ActionKind.CONTINUE_MASTER),
        trouble=Trouble(Fault.MASTER_STOPPED, BOOT - 60, 0.0),
    )
    assert step(failing(Fault.MASTER_STOPPED), known).action == ActionKind.RESTART


def test_nothing_without_proof_in_a_pause_or_while_a_step_takes_effect() -> None:
    assert step(unconfirmed()).action is None
    assert step(failing(Fault.MASTER_GONE), paused=True).action is None
    waiting = made_state(pending=Pending(kind=ActionKind.RESTART, at=BOOT - 1, until=BOOT + 10))
    assert step(failing(Fault.MASTER_GONE), waiting).action is None
    over = made_state(pending=Pending(kind=ActionKind.RESTART, at=BOOT - 20, until=BOOT - 1))
    assert step(failing(Fault.MASTER_GONE), over).action == ActionKind.RESTART


def unconfirmed() -> Assessment:
    return Assessment(ServiceState.FAILING, Fault.MASTER_GONE)


def test_nothing_to_start_it_with() -> None:
    chosen = step(failing(Fault.MASTER_GONE), capabilities=Capabilities(restart=False, reload=False))
    assert (chosen.action, chosen.unfixable) == (None, True)


def test_a_start_that_cannot_succeed_waits_for_a_change_or_its_time() -> None:
    broken = Capabilities(
        restart=True, reload=False, causes=("GUN003",), unfixable=("GUN003",), fingerprint="1"
    )
    known = made_state(trouble=Trouble(Fault.MASTER_GONE, BOOT - 10, 0.0))
    assert step(failing(Fault.MASTER_GONE), known, broken).unfixable
    known = msgspec.structs.replace(known, unfixable_fingerprint="1")
    assert step(failing(Fault.MASTER_GONE), known, broken).unfixable
    known = msgspec.structs.replace(known, unfixable_fingerprint="0")
    assert step(failing(Fault.MASTER_GONE), known, broken).action == ActionKind.RESTART
    waited = made_state(trouble=Trouble(Fault.MASTER_GONE, BOOT - 1801, 0.0), unfixable_fingerprint="1")
    assert step(failing(Fault.MASTER_GONE), waited, broken).action == ActionKind.RESTART
    unrelated = Capabilities(restart=True, reload=False, causes=("NGX003", "MOD001"), fingerprint="1")
    assert step(failing(Fault.MASTER_GONE), known, unrelated).action == ActionKind.RESTART


@pytest.mark.parametrize(
    ("code", "kind", "again"),
    [
        ("GUN001", "", False),
        ("GUN001", Kind.LOG_DIRECTORY, True),
        ("GUN001", Kind.WORKER_CLASS, True),
        ("GUN001", Kind.ADDRESS_IN_USE, False),
        ("GUN003", "", True),
        ("GUN003", Kind.VARIABLE, True),
        ("GUN003", Kind.CONNECTION, False),
        ("GUN003", Kind.UNKNOWN, False),
        ("GUN012", "", True),
        ("ENV001", "", True),
        ("NGX003", "", False),
    ],
)
def test_what_the_last_start_failed_at_decides_whether_the_next_one_can_succeed(
    code: str, kind: str, again: bool
) -> None:
    assert fails_again(code, kind) is again


def test_the_budget() -> None:
    assert (
        step(failing(Fault.WORKER_HUNG, stuck(1)), made_state(actions=taken(100.0, 50.0))).action
        == ActionKind.KILL_WORKER
    )
    spent = made_state(actions=taken(1000.0, 500.0, 100.0))
    held = step(failing(Fault.WORKER_HUNG, stuck(1)), spent)
    assert (held.action, held.circuit_open) == (None, True)
    out_of_window = made_state(actions=taken(1900.0, 500.0, 100.0))
    assert step(failing(Fault.WORKER_HUNG, stuck(1)), out_of_window).action == ActionKind.KILL_WORKER


def test_an_open_circuit_allows_one_attempt_and_doubles_the_wait() -> None:
    known = escalation.open_circuit(made_state(actions=taken(3.0, 2.0, 1.0)), RULES, BOOT, 0.0, 0.0)
    waits, now = [], BOOT - 1
    for _ in range(6):
        assert known.rearm_at is not None
        waits.append(known.rearm_at - now)
        now = known.rearm_at
        assert escalation.allowance(known, RULES, now - 1, ActionKind.RESTART, 0.0) == Allowance.CIRCUIT_OPEN
        assert escalation.allowance(known, RULES, now, ActionKind.RESTART, 0.0) == Allowance.HALF_OPEN
        known = escalation.with_action(known, RULES, action(now), 0.0)
    assert waits == [1800, 3600, 7200, 14400, 14400, 14400], "up to four hours, and never for good"


def test_ten_healthy_minutes_clear_it() -> None:
    known = escalation.open_circuit(made_state(actions=taken(3.0, 2.0, 1.0)), RULES, BOOT, 0.0, 0.0)
    known = escalation.with_healthy_cycle(known, RULES, BOOT)
    assert escalation.with_healthy_cycle(known, RULES, BOOT + 599).circuit_open
    cleared = escalation.with_healthy_cycle(known, RULES, BOOT + 600)
    assert not cleared.circuit_open
    assert escalation.used(cleared, RULES, BOOT + 600) == 0
    short = RULES.__class__(120, 300, 15, 3, 3, 60)
    assert not escalation.with_healthy_cycle(known, short, BOOT + 60).circuit_open, (
        "or `within`, if that is shorter"
    )


def test_restarts_back_off() -> None:
    known = made_state(actions=taken(5.0, kind=ActionKind.RESTART))
    assert escalation.allowance(known, RULES, BOOT, ActionKind.RESTART, 0.0) == Allowance.BACKING_OFF
    assert escalation.allowance(known, RULES, BOOT + 6, ActionKind.RESTART, 0.0) == Allowance.ALLOWED
    assert escalation.allowance(known, RULES, BOOT, ActionKind.KILL_WORKER, 0.0) == Allowance.ALLOWED


@settings(max_examples=20, deadline=None)
@given(every=st.floats(5.0, 60.0))
def test_a_crash_loop_is_restarted_at_most_six_times_an_hour(every: float) -> None:
    """Whatever the timing: a service that dies again at once, looked at every few seconds, for three hours."""
    known, times, now = made_state(), [], BOOT
    while now < BOOT + 3 * 3600:
        known = msgspec.structs.replace(known, clocks=moment(now - BOOT))
        chosen = escalation.decide(
            failing(Fault.MASTER_GONE), known, RULES, ALL, now, paused=False, jitter=0.5
        )
        if chosen.circuit_open:
            known = escalation.open_circuit(known, RULES, now, 0.0, 0.5)
        if chosen.action is not None:
            times.append(now)
            known = escalation.with_action(known, RULES, action(now, chosen.action), 0.5)
        now += every
    assert times
    assert all(sum(t <= other < t + 3600 for other in times) <= 6 for t in times)
    assert max(times) > BOOT + 3600, "it has not given up"


def test_the_state_keeps_a_bounded_number_of_actions() -> None:
    known = made_state()
    for index in range(200):
        known = escalation.with_action(known, RULES, action(BOOT + index), 0.0)
    assert len(known.actions) == 50
    assert known.counters[ActionKind.RESTART] == 200
    assert msgspec.json.encode(known)


def test_what_must_not_be_started_is_not_and_a_person_is_told_why() -> None:
    why = Text(en="the keys file is gone", zh="密钥文件已不存在")
    capabilities = Capabilities(restart=True, reload=True, refusal=why)
    assert step(failing(Fault.MASTER_GONE), capabilities=capabilities) == Step(None, why=why, unfixable=True)
    assert (
        step(failing(Fault.WORKER_HUNG, stuck(1)), capabilities=capabilities).action == ActionKind.KILL_WORKER
    ), "no start is needed"
    assert step(failing(Fault.MASTER_GONE)).action == ActionKind.RESTART, "once the reason is gone"


def test_what_somebody_stopped_stays_stopped() -> None:
    stopped = Capabilities(restart=True, reload=True, stopped=True)
    chosen = step(failing(Fault.MASTER_GONE), capabilities=stopped)
    assert (chosen.action, chosen.circuit_open, chosen.unfixable) == (None, False, False)
    assert "stays stopped" in chosen.why.en


def test_what_somebody_stopped_is_started_where_that_is_configured() -> None:
    stopped = Capabilities(restart=True, reload=True, stopped=True)
    rules = replace(RULES, starts_stopped=True)
    chosen = escalation.decide(
        failing(Fault.MASTER_GONE), made_state(), rules, stopped, BOOT, paused=False, jitter=0.0
    )
    assert chosen.action == ActionKind.RESTART


def test_a_stop_says_nothing_about_a_worker_that_hangs() -> None:
    stopped = Capabilities(restart=True, reload=True, stopped=True)
    assert step(failing(Fault.WORKER_HUNG, stuck(1)), capabilities=stopped).action == ActionKind.KILL_WORKER


def test_rearmed_begins_the_budget_anew() -> None:
    spent = made_state(
        actions=taken(5, 6, 7), circuit_open=True, rearm_at=BOOT + 900, level=3, unfixable=True
    )
    assert step(failing(Fault.WORKER_HUNG, stuck(1)), spent).circuit_open
    anew = escalation.rearmed(spent)
    assert not anew.suspended
    assert step(failing(Fault.WORKER_HUNG, stuck(1)), anew).action == ActionKind.KILL_WORKER
