"""Ending one stuck worker on request (`gte-ops doctor --fix`), on the watchdog's evidence and in its name.

The same steps as in a cycle (`ops/supervision/cycle.py`): observe and assess until the evidence is there, record the
action, kill, record the outcome. So it counts against the watchdog's budget, and the doctor knows who sent the SIGKILL.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.control.signals import GoneError, wait_until_gone
from ops.control.worker import kill_worker
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings
from ops.supervision import observe
from ops.supervision.action_record import with_begun_action, with_outcome
from ops.supervision.escalation import Step
from ops.supervision.evidence_capture import EvidenceCapture
from ops.supervision.health.assessment import Assessment, WorkerAssessment, WorkerCondition
from ops.supervision.observation import Observation
from ops.supervision.rules import rules_from
from ops.supervision.state import ActionKind, ActionOutcome, WatchdogState
from ops.supervision.state_store import StateStore, clocks
from ops.supervision.state_update import with_observation

# Two dumps some seconds apart prove that a worker is stuck; the first observation only begins to measure its CPU time.
CYCLES = 5
ENDS_WITHIN = 10.0
# Conditions that another cycle does not turn into a stuck.
_NOT_STUCK = (WorkerCondition.IDLE, WorkerCondition.BUSY)


@dataclass(frozen=True)
class EndedWorker:
    """A worker that was sent SIGKILL. ``evidence``: the directory; ``workers``: the pids that the master had before.

    ``survived``: it has not ended, since it is in uninterruptible sleep."""

    worker: WorkerAssessment
    survived: bool
    master: ProcessRef
    workers: frozenset[int]
    evidence: str


@dataclass(frozen=True)
class _StuckWorker:
    worker: WorkerAssessment
    master: ProcessRef
    assessment: Assessment
    observation: Observation
    state: WatchdogState


def end_stuck_worker(
    settings: Settings, settings_path: Path | None, pid: int, on_wait: Callable[[], None]
) -> EndedWorker | None:
    """Kill worker ``pid`` if it is proven stuck; None if it is not. Call it with the watchdog's lock held.

    ``on_wait`` is called before each wait for more evidence. Raises GoneError or NotAllowedError."""
    rules = rules_from(settings)
    state_store = StateStore(Path(settings.watchdog.state_file))
    evidence = EvidenceCapture(settings, settings_path, rules)
    stuck = _prove(settings, evidence, state_store.load(clocks()), pid, on_wait)
    if stuck is None:
        return None
    observation, process = stuck.observation, stuck.worker.process
    step = Step(ActionKind.KILL_WORKER, stuck.worker)
    state = with_begun_action(step, stuck.assessment, stuck.state, rules, observation.clocks, jitter=0.0)
    evidence.open(stuck.assessment, observation, state)
    evidence.complete(observation, state, patient=False)
    state_store.save(state)
    outcome = ActionOutcome.FAILED
    try:
        kill_worker(process)
        survived = bool(wait_until_gone((process,), ENDS_WITHIN))
        outcome = ActionOutcome.FAILED if survived else ActionOutcome.RECOVERED
    except GoneError:
        outcome = ActionOutcome.GONE
        raise
    finally:
        state_store.save(with_outcome(state, outcome))
    workers = frozenset(worker.pid for worker in observation.workers)
    return EndedWorker(stuck.worker, survived, stuck.master, workers, evidence.path)


def _prove(
    settings: Settings,
    evidence: EvidenceCapture,
    state: WatchdogState,
    pid: int,
    on_wait: Callable[[], None],
) -> _StuckWorker | None:
    """Observe and assess as the watchdog does, until worker ``pid`` is proven stuck or not; None if it is not."""
    for _ in range(CYCLES):
        observed = observe.observe(settings, state)
        observation, master = observed.observation, observed.observation.master
        state = msgspec.structs.replace(state, subject=observed.subject)
        state = with_observation(observation, state, evidence.rules)
        assessment, state = evidence.assess(observation, state)
        worker = next((w for w in assessment.workers if w.process.pid == pid), None)
        if worker is None or master is None or worker.condition in _NOT_STUCK:
            return None
        if worker.is_stuck:
            started_by = ProcessRef(master.pid, master.start_ticks)
            return _StuckWorker(worker, started_by, assessment, observation, state)
        on_wait()
        time.sleep(evidence.rules.dump_gap)
    return None
