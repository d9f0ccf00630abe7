"""Which step to take, smallest first. Pure: from a verdict and what is remembered to a step; nothing is done here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from ops.supervision.health import NOTHING, Assessment, WorkerVerdict
from ops.supervision.rules import LONGEST_BACK_OFF, Rules
from ops.supervision.state import MAX_ACTIONS, Action, Rung, WatchdogState
from ops.text.language import Text

# Where the doctor proves one of these, a start ends as the last one did.
FUTILE_FOR_A_START = ("GUN003", "GUN012", "ENV001")
RESTART_FAULTS = ("master_gone", "master_hung", "master_stopped", "no_workers", "not_answering")
# Between two full restarts: doubled with each, from this, seconds. Killing one worker waits only for the one before.
FIRST_BACK_OFF = 10.0
# Outcomes that take nothing from the budget: long healthy since, or nothing was there to act on.
NOT_COUNTED = ("cleared", "gone")


@dataclass(frozen=True)
class Capabilities:
    """What could be done on this host just now.

    ``reload``: memory carries both generations, and the configuration on disk can be read. ``causes``: codes the
    doctor proved for this trouble. ``fingerprint``: of the files whose change may mend a start that fails.
    ``refusal``: why the service must not be started as things are."""

    restart: bool
    reload: bool
    causes: tuple[str, ...] = ()
    fingerprint: str = ""
    refusal: Text | None = None


@dataclass(frozen=True)
class Step:
    """What to do: a rung, or nothing (``rung`` None) and why.

    ``holding``: the budget is spent; ``futile``: what is wrong is not mended by anything the watchdog can do."""

    rung: Rung | None
    worker: WorkerVerdict | None = None
    why: Text = NOTHING
    holding: bool = False
    futile: bool = False


Allowance = Literal["allowed", "half_open", "held", "backing_off"]


def decide(
    verdict: Assessment,
    memory: WatchdogState,
    rules: Rules,
    means: Capabilities,
    now: float,
    *,
    paused: bool,
    jitter: float,
) -> Step:
    """The next step. ``now``: the boot clock; ``jitter``: from 0 to 1, spreads the waits of many hosts."""
    if not verdict.confirmed:
        return Step(None)
    if paused:
        return Step(None, why=Text(en="paused", zh="已暂停守护"))
    if memory.pending is not None and now < memory.pending.until:
        return Step(None, why=Text(en="waiting for the last step to take effect", zh="等待上一步生效"))
    rung, worker = _wanted(verdict, memory, rules, means)
    if rung is None:
        return Step(
            None,
            why=Text(
                en="nothing here can start the service: configure gunicorn.unit or gunicorn.start_command",
                zh="没有可用的启动方式：请配置 gunicorn.unit 或 gunicorn.start_command",
            ),
            futile=True,
        )
    if rung == "restart" and means.refusal is not None:
        return Step(None, why=means.refusal, futile=True)
    if rung == "restart" and _is_futile(memory, rules, means, now):
        codes = ", ".join(code for code in means.causes if code in FUTILE_FOR_A_START)
        return Step(
            None,
            why=Text(
                en=f"a restart does not mend {codes}; it is tried again once a file changed, or later",
                zh=f"重启无法解决 {codes}；相关文件变化后或稍后再试",
            ),
            futile=True,
        )
    match allowance(memory, rules, now, rung, jitter):
        case "held":
            wait = max(0.0, (memory.rearm_at or _first_rearm(memory, rules, jitter)) - now)
            return Step(
                None,
                why=Text(
                    en=f"the budget of {rules.budget} actions is spent; the next attempt in {wait:.0f} s",
                    zh=f"{rules.budget} 次动作的额度已用完；{wait:.0f} 秒后再试一次",
                ),
                holding=True,
            )
        case "backing_off":
            return Step(None, why=Text(en="backing off after the last restart", zh="上次重启后退避中"))
    return Step(rung, worker)


def _wanted(
    verdict: Assessment, memory: WatchdogState, rules: Rules, means: Capabilities
) -> tuple[Rung | None, WorkerVerdict | None]:
    """The smallest rung that can mend this."""
    if verdict.fault in RESTART_FAULTS:
        # A stopped master that is continued keeps its workers and every request in flight.
        if verdict.fault == "master_stopped" and not _tried(memory, "continue_master"):
            return "continue_master", None
        return ("restart" if means.restart else None), None
    stuck = verdict.stuck
    if not stuck:
        return None, None
    first = stuck[0]
    left = rules.budget - used(memory, rules, memory.clocks.boottime if memory.clocks else 0.0)
    if len(stuck) > 1 and left < len(stuck):
        if means.reload and not _tried(memory, "reload"):
            return "reload", first
        if means.restart and len(stuck) == len(verdict.workers):
            return "restart", None
    if first.all_wedged:
        return "kill_worker", first
    return "terminate_worker", first


def _tried(memory: WatchdogState, rung: Rung) -> bool:
    """Whether this trouble has seen that rung already."""
    since = memory.trouble.since if memory.trouble else 0.0
    return any(action.rung == rung and action.at >= since for action in memory.actions)


def _is_futile(memory: WatchdogState, rules: Rules, means: Capabilities, now: float) -> bool:
    if not any(code in FUTILE_FOR_A_START for code in means.causes):
        return False
    if memory.futile_fingerprint and means.fingerprint != memory.futile_fingerprint:
        return False
    since = memory.actions[-1].at if memory.actions else (memory.trouble.since if memory.trouble else now)
    return now < since + _wait(rules, memory.level)


def used(memory: WatchdogState, rules: Rules, now: float) -> int:
    """Actions that count against the budget now."""
    return sum(
        1 for action in memory.actions if now - action.at <= rules.within and action.outcome != "cleared"
    )


def allowance(memory: WatchdogState, rules: Rules, now: float, rung: Rung, jitter: float) -> Allowance:
    """Whether the budget allows one more action."""
    if memory.holding:
        return "half_open" if memory.rearm_at is not None and now >= memory.rearm_at else "held"
    count = used(memory, rules, now)
    if count >= rules.budget:
        return "half_open" if now >= _first_rearm(memory, rules, jitter) else "held"
    if rung == "restart":
        restarts = [a for a in memory.actions if a.rung == "restart" and now - a.at <= rules.within]
        restarts = [a for a in restarts if a.outcome not in NOT_COUNTED]
        if restarts:
            wait = min(FIRST_BACK_OFF * 2 ** (len(restarts) - 1), rules.within / max(1, rules.budget))
            if now - restarts[-1].at < wait * (1 + 0.1 * jitter):
                return "backing_off"
    return "allowed"


def _wait(rules: Rules, level: int) -> float:
    return float(min(LONGEST_BACK_OFF, rules.within * 2 ** min(level, 20)))


def _first_rearm(memory: WatchdogState, rules: Rules, jitter: float) -> float:
    last = memory.actions[-1].at if memory.actions else 0.0
    return last + _wait(rules, 0) * (1 + 0.1 * jitter)


def holding(memory: WatchdogState, rules: Rules, now: float, wall: float, jitter: float) -> WatchdogState:
    """``memory`` once the budget is spent: an attempt is allowed again when the wait has passed."""
    if memory.holding:
        return memory
    rearm = _first_rearm(memory, rules, jitter) if memory.actions else now + _wait(rules, 0)
    return msgspec.structs.replace(memory, holding=True, holding_wall=wall, rearm_at=rearm)


def acted(memory: WatchdogState, rules: Rules, action: Action, jitter: float) -> WatchdogState:
    """``memory`` with an action about to be taken. While holding, the next wait is twice as long."""
    kept = [*memory.actions, action][-MAX_ACTIONS:]
    counters = {**memory.counters, action.rung: memory.counters.get(action.rung, 0) + 1}
    level, rearm = memory.level, memory.rearm_at
    if memory.holding:
        level += 1
        rearm = action.at + _wait(rules, level) * (1 + 0.1 * jitter)
    return msgspec.structs.replace(memory, actions=kept, counters=counters, level=level, rearm_at=rearm)


def healthy(memory: WatchdogState, rules: Rules, now: float) -> WatchdogState:
    """``memory`` after a healthy round; enough of them in a row clear the budget."""
    since = memory.healthy_since if memory.healthy_since is not None else now
    if now - since < rules.clears_after:
        return msgspec.structs.replace(memory, healthy_since=since)
    cleared = [msgspec.structs.replace(a, outcome="cleared") for a in memory.actions]
    return msgspec.structs.replace(
        memory,
        healthy_since=since,
        actions=cleared,
        holding=False,
        holding_wall=0.0,
        rearm_at=None,
        level=0,
        futile_fingerprint="",
    )
