"""Which action to take, the least disruptive first, and what taking it does to the budget.

Pure: from an assessment and the watchdog's state to a step and a new state. Nothing is carried out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from ops.interpret.start_failure.kind import PASSING
from ops.supervision.health.assessment import NOTHING, Assessment, WorkerAssessment
from ops.supervision.rules import LONGEST_BACK_OFF, Rules
from ops.supervision.state import MAX_ACTIONS, ActionKind, ActionOutcome, ActionRecord, Fault, WatchdogState
from ops.text.language import Text

# If the doctor proves one of these, a start ends as the last one did, whatever it says of the last one.
UNFIXABLE_BY_START = (
    "GUN012", "ENV001", "GUN030", "GUN031", "GUN033", "GUN034", "GUN035", "GUN036",
    "GUN051",
)  # fmt: skip
# What the doctor says of a start that failed, by its kind.
_FAILED_START = ("GUN001", "GUN003")
RESTART_FAULTS = (
    Fault.MASTER_GONE,
    Fault.MASTER_HUNG,
    Fault.MASTER_STOPPED,
    Fault.NO_WORKERS,
    Fault.NOT_ANSWERING,
)
# The wait between two full restarts, seconds: this much at first, doubled with each. Killing one worker waits only for
# the action before it.
FIRST_BACK_OFF = 10.0
# Outcomes that do not count: the service has long been healthy since, or there was nothing to act on.
NOT_COUNTED = (ActionOutcome.CLEARED, ActionOutcome.GONE)


_STOPPED = Text(
    en="its unit is down without a failure, as by systemctl stop, and stays stopped until somebody starts it",
    zh="它的 unit 已停止且没有失败，与 systemctl stop 之后相同；在有人启动之前保持停止",
)


@dataclass(frozen=True)
class Capabilities:
    """What could be done on this host at present.

    ``reload``: memory is enough for both generations of workers, and the configuration on disk can be read. ``causes``:
    codes that the doctor proved for this trouble; ``unfixable``: those of them that no start fixes. ``fingerprint``: of
    what changes when a failing start is repaired.
    ``refusal``: why the service must not be started as things are; ``stopped``: somebody stopped it with systemctl."""

    restart: bool
    reload: bool
    causes: tuple[str, ...] = ()
    unfixable: tuple[str, ...] = ()
    fingerprint: str = ""
    refusal: Text | None = None
    stopped: bool = False


@dataclass(frozen=True)
class Step:
    """What to do: an action, or nothing (``action`` None) and why.

    ``circuit_open``: the budget is spent. ``unfixable``: nothing that the watchdog can do fixes what is wrong."""

    action: ActionKind | None
    worker: WorkerAssessment | None = None
    why: Text = NOTHING
    circuit_open: bool = False
    unfixable: bool = False


class Allowance(StrEnum):
    """Whether the budget has room for an action. HALF_OPEN: it is spent, and one attempt is due."""

    ALLOWED = "allowed"
    HALF_OPEN = "half_open"
    CIRCUIT_OPEN = "circuit_open"
    BACKING_OFF = "backing_off"


def decide(
    assessment: Assessment,
    state: WatchdogState,
    rules: Rules,
    capabilities: Capabilities,
    now: float,
    *,
    paused: bool,
    jitter: float,
) -> Step:
    """The next step. ``now``: the boot clock; ``jitter``: from 0 to 1, spreads the waits of many hosts."""
    if not assessment.confirmed:
        return Step(None)
    if paused:
        return Step(None, why=Text(en="paused", zh="已暂停守护"))
    if state.pending is not None and now < state.pending.until:
        return Step(None, why=Text(en="waiting for the last step to take effect", zh="等待上一步生效"))
    action, worker = _least_disruptive(assessment, state, rules, capabilities)
    if action is None:
        why = Text(
            en="nothing here can start the service: configure gunicorn.unit or gunicorn.start_command",
            zh="没有可用的启动方式：请配置 gunicorn.unit 或 gunicorn.start_command",
        )
        return Step(None, why=why, unfixable=True)
    if action == ActionKind.RESTART:
        if capabilities.stopped and not rules.starts_stopped:
            return Step(None, why=_STOPPED)
        if capabilities.refusal is not None:
            return Step(None, why=capabilities.refusal, unfixable=True)
        if _is_unfixable(state, rules, capabilities, now):
            return Step(None, why=_unfixable_reason(capabilities), unfixable=True)
    match allowance(state, rules, now, action, jitter):
        case Allowance.CIRCUIT_OPEN:
            wait = max(0.0, (state.rearm_at or _first_rearm(state, rules, jitter)) - now)
            why = Text(
                en=f"the budget of {rules.budget} actions is spent; the next attempt in {wait:.0f} s",
                zh=f"{rules.budget} 次动作的额度已用完；{wait:.0f} 秒后再试一次",
            )
            return Step(None, why=why, circuit_open=True)
        case Allowance.BACKING_OFF:
            return Step(None, why=Text(en="backing off after the last restart", zh="上次重启后退避中"))
    return Step(action, worker)


def _least_disruptive(
    assessment: Assessment, state: WatchdogState, rules: Rules, capabilities: Capabilities
) -> tuple[ActionKind | None, WorkerAssessment | None]:
    """The least disruptive action that can fix this, and the worker it is for."""
    if assessment.fault in RESTART_FAULTS:
        # A stopped master that is continued keeps its workers and every request in flight.
        if assessment.fault == Fault.MASTER_STOPPED and not _was_tried(state, ActionKind.CONTINUE_MASTER):
            return ActionKind.CONTINUE_MASTER, None
        if capabilities.restart or assessment.fault != Fault.NOT_ANSWERING:
            return (ActionKind.RESTART if capabilities.restart else None), None
        # Nothing here can start the service, but its master starts a new worker for each that ends.
    stuck = assessment.stuck
    if not stuck:
        return None, None
    first = stuck[0]
    budget_left = rules.budget - used(state, rules, state.clocks.boottime if state.clocks else 0.0)
    if len(stuck) > 1 and budget_left < len(stuck):
        if capabilities.reload and not _was_tried(state, ActionKind.RELOAD):
            return ActionKind.RELOAD, first
        if capabilities.restart and len(stuck) == len(assessment.workers):
            return ActionKind.RESTART, None
    # A request that still moves is given time to complete; if all are stuck, the time would be lost.
    return (ActionKind.KILL_WORKER if first.all_wedged else ActionKind.TERMINATE_WORKER), first


def _was_tried(state: WatchdogState, kind: ActionKind) -> bool:
    """Whether this action has been taken in the present trouble."""
    since = state.trouble.since if state.trouble else 0.0
    return any(action.kind == kind and action.at >= since for action in state.actions)


def fails_again(code: str, kind: str) -> bool:
    """Whether a start would fail as the last one did. ``kind``: what the doctor says kept it from starting
    (`ops/interpret/start_failure/`); some of these may have passed by themselves."""
    if code not in _FAILED_START:
        return code in UNFIXABLE_BY_START
    # GUN001 alone says that nothing runs; GUN003, that the application could not be loaded.
    return kind not in PASSING if kind else code == "GUN003"


def _is_unfixable(state: WatchdogState, rules: Rules, capabilities: Capabilities, now: float) -> bool:
    """Whether a start would fail again: the doctor proved why, no file that matters has changed since, and the wait is
    not over."""
    if not capabilities.unfixable:
        return False
    if state.unfixable_fingerprint and capabilities.fingerprint != state.unfixable_fingerprint:
        return False
    since = state.actions[-1].at if state.actions else (state.trouble.since if state.trouble else now)
    return now < since + _wait(rules, state.level)


def _unfixable_reason(capabilities: Capabilities) -> Text:
    codes = ", ".join(capabilities.unfixable)
    return Text(
        en=f"a restart does not fix {codes}; it is tried again once a file changed, or later",
        zh=f"重启无法解决 {codes}；相关文件变化后或稍后再试",
    )


# --- the budget -------------------------------------------------------------------------------------------------------


def used(state: WatchdogState, rules: Rules, now: float) -> int:
    """How many actions count against the budget now."""
    return sum(
        1
        for action in state.actions
        if now - action.at <= rules.within and action.outcome != ActionOutcome.CLEARED
    )


def allowance(state: WatchdogState, rules: Rules, now: float, kind: ActionKind, jitter: float) -> Allowance:
    """Whether the budget allows one more action."""
    if state.circuit_open:
        due = state.rearm_at is not None and now >= state.rearm_at
        return Allowance.HALF_OPEN if due else Allowance.CIRCUIT_OPEN
    if used(state, rules, now) >= rules.budget:
        due = now >= _first_rearm(state, rules, jitter)
        return Allowance.HALF_OPEN if due else Allowance.CIRCUIT_OPEN
    if kind == ActionKind.RESTART:
        restarts = [
            action
            for action in state.actions
            if action.kind == ActionKind.RESTART
            and now - action.at <= rules.within
            and action.outcome not in NOT_COUNTED
        ]
        if restarts:
            wait = min(FIRST_BACK_OFF * 2 ** (len(restarts) - 1), rules.within / max(1, rules.budget))
            if now - restarts[-1].at < wait * (1 + 0.1 * jitter):
                return Allowance.BACKING_OFF
    return Allowance.ALLOWED


def _wait(rules: Rules, level: int) -> float:
    return float(min(LONGEST_BACK_OFF, rules.within * 2 ** min(level, 20)))


def _first_rearm(state: WatchdogState, rules: Rules, jitter: float) -> float:
    last = state.actions[-1].at if state.actions else 0.0
    return last + _wait(rules, 0) * (1 + 0.1 * jitter)


def open_circuit(state: WatchdogState, rules: Rules, now: float, wall: float, jitter: float) -> WatchdogState:
    """``state`` once the budget is spent: the next attempt is allowed when the wait has passed."""
    if state.circuit_open:
        return state
    rearm = _first_rearm(state, rules, jitter) if state.actions else now + _wait(rules, 0)
    return msgspec.structs.replace(state, circuit_open=True, circuit_open_wall=wall, rearm_at=rearm)


def with_action(state: WatchdogState, rules: Rules, action: ActionRecord, jitter: float) -> WatchdogState:
    """``state`` with an action about to be taken. While the circuit is open, it doubles the next wait."""
    level, rearm = state.level, state.rearm_at
    if state.circuit_open:
        level += 1
        rearm = action.at + _wait(rules, level) * (1 + 0.1 * jitter)
    return msgspec.structs.replace(
        state,
        actions=(*state.actions, action)[-MAX_ACTIONS:],
        counters={**state.counters, action.kind: state.counters.get(action.kind, 0) + 1},
        level=level,
        rearm_at=rearm,
    )


def rearmed(state: WatchdogState) -> WatchdogState:
    """``state`` after somebody asked for the budget to begin anew (`gte-ops watchdog resume`)."""
    return msgspec.structs.replace(
        state,
        actions=tuple(msgspec.structs.replace(a, outcome=ActionOutcome.CLEARED) for a in state.actions),
        circuit_open=False,
        circuit_open_wall=0.0,
        rearm_at=None,
        level=0,
        unfixable=False,
        unfixable_fingerprint="",
    )


def with_healthy_cycle(state: WatchdogState, rules: Rules, now: float) -> WatchdogState:
    """``state`` after a healthy cycle; enough of them in a row clear the budget."""
    since = state.healthy_since if state.healthy_since is not None else now
    if now - since < rules.clears_after:
        return msgspec.structs.replace(state, healthy_since=since)
    return msgspec.structs.replace(
        state,
        healthy_since=since,
        actions=tuple(msgspec.structs.replace(a, outcome=ActionOutcome.CLEARED) for a in state.actions),
        circuit_open=False,
        circuit_open_wall=0.0,
        rearm_at=None,
        level=0,
        unfixable_fingerprint="",
    )
