"""What an assessment changes in the state: the service's state and since when, failures in a row, a new trouble."""

from __future__ import annotations

import msgspec

from ops.supervision import escalation
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.health.assessment import AILING, ALIVE, Assessment
from ops.supervision.observation import Observation
from ops.supervision.rules import Rules
from ops.supervision.state import ServiceState, Trouble, WatchdogState


def record_transition(
    assessment: Assessment,
    observation: Observation,
    state: WatchdogState,
    rules: Rules,
    journal: WatchdogJournal,
    *,
    evidence: str,
) -> WatchdogState:
    """``state`` after ``assessment``. A change of the service's state goes to the journal. ``evidence``: the directory
    of a trouble that begins now, empty if there is none yet."""
    now = observation.clocks
    state = _with_service_state(assessment, observation, state, journal)
    if assessment.state in ALIVE:
        was_open = state.circuit_open
        state = msgspec.structs.replace(state, unfixable=False)
        state = escalation.with_healthy_cycle(state, rules, now.boottime)
        if was_open and not state.circuit_open:
            journal.note("budget_cleared")
    elif assessment.state != ServiceState.UNDETERMINED:
        state = msgspec.structs.replace(state, healthy_since=None)
    if state.trouble is not None or assessment.state not in AILING:
        return state
    trouble = Trouble(
        fault=assessment.fault,
        since=now.boottime,
        wall=now.wall,
        detail_en=assessment.detail.en,
        detail_zh=assessment.detail.zh,
        evidence=evidence,
    )
    return msgspec.structs.replace(state, trouble=trouble)


def _with_service_state(
    assessment: Assessment, observation: Observation, state: WatchdogState, journal: WatchdogJournal
) -> WatchdogState:
    """``state`` with the service's state, since when it is in it, and the failures in a row."""
    before, now = state.service_state, observation.clocks
    state = msgspec.structs.replace(
        state,
        failures=state.failures if assessment.state in AILING else 0,
        saturated=assessment.saturated,
    )
    if assessment.state == before:
        return state
    if (before, assessment.state) != (ServiceState.NOT_OBSERVED, ServiceState.HEALTHY):
        journal.note(
            "state",
            state=assessment.state,
            before=before,
            fault=assessment.fault,
            detail=assessment.detail.en,
        )
    return msgspec.structs.replace(
        state, service_state=assessment.state, state_since=now.boottime, state_wall=now.wall
    )
