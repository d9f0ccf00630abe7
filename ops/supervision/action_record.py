"""An action in the watchdog's state: begun, and later what became of it. Pure."""

from __future__ import annotations

import msgspec

from ops.supervision import escalation
from ops.supervision.escalation import Step
from ops.supervision.health.assessment import Assessment
from ops.supervision.observation import Clocks
from ops.supervision.rules import LOOK_AGAIN, MEMORY_GRACE, Rules
from ops.supervision.state import (
    ActionKind,
    ActionOutcome,
    ActionRecord,
    Fault,
    Pending,
    WatchdogState,
)

# Actions of one trouble that its messages name.
MAX_NAMED_ACTIONS = 20


def with_begun_action(
    step: Step, assessment: Assessment, state: WatchdogState, rules: Rules, now: Clocks, jitter: float
) -> WatchdogState:
    """``state`` with the action of ``step`` about to be taken: counted against the budget, and pending."""
    assert step.action is not None  # noqa: S101  a step without an action is not taken
    process = step.worker.process if step.worker else None
    record = ActionRecord(
        at=now.boottime,
        wall=now.wall,
        kind=step.action,
        fault=assessment.fault,
        pid=process.pid if process else None,
    )
    state = escalation.with_action(state, rules, record, jitter)
    trouble = state.trouble
    if trouble is not None:
        trouble = msgspec.structs.replace(
            trouble, actions=(*trouble.actions, step.action)[-MAX_NAMED_ACTIONS:]
        )
    return msgspec.structs.replace(
        state,
        trouble=trouble,
        pending=_pending(step, assessment, rules, now.boottime),
        restarting_since=now.boottime if step.action == ActionKind.RESTART else state.restarting_since,
    )


def _pending(step: Step, assessment: Assessment, rules: Rules, now: float) -> Pending:
    """The action of ``step`` as it waits for its effect, and how long for."""
    assert step.action is not None  # noqa: S101  as above
    pending = Pending(
        kind=step.action,
        at=now,
        until=now + rules.boot_deadline,
        worker=step.worker.process if step.worker else None,
    )
    match step.action:
        case ActionKind.TERMINATE_WORKER:
            grace = rules.request_deadline
            if assessment.fault == Fault.WORKER_LEAKING:
                grace = min(grace, MEMORY_GRACE)
            kill_at = now + grace
            return msgspec.structs.replace(pending, kill_at=kill_at, until=kill_at + rules.boot_deadline)
        case ActionKind.RELOAD:
            retired = tuple(worker.process for worker in assessment.stuck)
            return msgspec.structs.replace(pending, worker=None, retired=retired)
        case ActionKind.CONTINUE_MASTER:
            return msgspec.structs.replace(pending, until=now + 2 * LOOK_AGAIN)
    return pending


def with_outcome(state: WatchdogState, outcome: ActionOutcome) -> WatchdogState:
    """``state`` once it is known what became of the pending action."""
    actions = list(state.actions)
    for index in range(len(actions) - 1, -1, -1):
        if actions[index].outcome == ActionOutcome.BEGUN:
            actions[index] = msgspec.structs.replace(actions[index], outcome=outcome)
            break
    return msgspec.structs.replace(state, pending=None, actions=tuple(actions), restarting_since=None)
