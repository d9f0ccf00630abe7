"""What a verdict adds to the memory: the state and since when, failures in a row, the trouble it begins, the budget."""

from __future__ import annotations

import msgspec

from ops.supervision import escalation
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.health import ALIVE, Assessment
from ops.supervision.observation import Observation
from ops.supervision.rules import Rules
from ops.supervision.state import Trouble, WatchdogState


def record_transition(
    verdict: Assessment,
    look: Observation,
    memory: WatchdogState,
    rules: Rules,
    journal: WatchdogJournal,
    *,
    evidence: str,
) -> WatchdogState:
    """Failures in a row, the state and since when, the budget's healthy time."""
    now = look.clocks
    failures = memory.failures if verdict.state in ("failing", "foreign", "suspect") else 0
    changes: dict[str, object] = {"failures": failures, "saturated": verdict.saturated}
    if verdict.state != memory.state:
        changes |= {"state": verdict.state, "state_since": now.boottime, "state_wall": now.wall}
        if verdict.state != "healthy" or memory.state != "unknown":
            journal.note(
                "state",
                state=verdict.state,
                before=memory.state,
                fault=verdict.fault,
                detail=verdict.detail.en,
            )
    memory = msgspec.structs.replace(memory, **changes)
    if verdict.state in ALIVE:
        memory = msgspec.structs.replace(memory, futile=False)
        was_holding = memory.holding
        memory = escalation.healthy(memory, rules, now.boottime)
        if was_holding and not memory.holding:
            journal.note("budget_cleared")
    elif verdict.state != "unjudged":
        memory = msgspec.structs.replace(memory, healthy_since=None)
    if memory.trouble is None and verdict.state in ("failing", "foreign", "suspect"):
        memory = msgspec.structs.replace(
            memory,
            trouble=Trouble(
                fault=verdict.fault,
                since=now.boottime,
                wall=now.wall,
                detail_en=verdict.detail.en,
                detail_zh=verdict.detail.zh,
                evidence=evidence,
            ),
        )
    return memory
