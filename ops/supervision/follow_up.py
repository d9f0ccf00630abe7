"""Whether the last action has had its effect. Pure."""

from __future__ import annotations

from ops.supervision.health.assessment import ALIVE, Assessment, WorkerCondition
from ops.supervision.observation import Observation
from ops.supervision.state import ActionKind, ActionOutcome, Fault, Pending

# SIGKILL works at once; ending what is left, waiting for the port and starting takes up to 20 s until a master is seen.
KILL_SHOWS_WITHIN = 5.0
START_SHOWS_WITHIN = 30.0


def outcome_of(
    pending: Pending, assessment: Assessment, observation: Observation, *, gone: bool, ended: bool = False
) -> ActionOutcome | None:
    """What became of ``pending``; None while that is not known. ``gone``: its worker, if it has one, has ended;
    ``ended``: the command that was to start the service has ended with an error."""
    if gone and not pending.retired and assessment.state in ALIVE and _is_whole(observation):
        return ActionOutcome.RECOVERED
    if assessment.fault == Fault.ENVIRONMENT_CHANGED and _is_whole(observation):
        return ActionOutcome.FAILED
    if (
        gone
        and pending.worker is not None
        and _others_stuck(assessment, pending)
        and not _boots_in_time(assessment)
    ):
        return ActionOutcome.NEXT
    if _is_stopped_since(pending, assessment, observation):
        return ActionOutcome.NEXT
    if ended and pending.kind == ActionKind.RESTART and observation.master is None:
        return ActionOutcome.FAILED
    if observation.clocks.boottime >= pending.until or _has_no_effect(pending, observation, gone=gone):
        return ActionOutcome.FAILED
    return None


def has_new_worker(observation: Observation, pending: Pending) -> bool:
    """Whether a worker serves that the pending reload has started."""
    retired = {process.pid for process in pending.retired}
    return any(
        w.pid not in retired
        and w.started > pending.at - 1.0
        and (w.record is None or w.record.phase == "ready")
        for w in observation.workers
    )


def _has_no_effect(pending: Pending, observation: Observation, *, gone: bool) -> bool:
    """Whether an action shows no effect long after it must have; so it is, too, if the watchdog was killed between
    writing the action down and carrying it out."""
    age = observation.clocks.boottime - pending.at
    if pending.kind == ActionKind.KILL_WORKER:
        return not gone and age > KILL_SHOWS_WITHIN
    return pending.kind == ActionKind.RESTART and observation.master is None and age > START_SHOWS_WITHIN


def _is_stopped_since(pending: Pending, assessment: Assessment, observation: Observation) -> bool:
    """Whether somebody has stopped (SIGSTOP) what the action waits for: it gets no further by itself. A restart's
    master is the new one only: the old one may have been stopped too, and is still being ended."""
    if not assessment.confirmed or pending.kind == ActionKind.CONTINUE_MASTER or observation.master is None:
        return False
    if pending.kind == ActionKind.RESTART:
        is_new = observation.master.started > pending.at - 1.0
        return is_new and assessment.fault in (Fault.MASTER_STOPPED, Fault.WORKER_STOPPED)
    return assessment.fault == Fault.MASTER_STOPPED


def _others_stuck(assessment: Assessment, pending: Pending) -> bool:
    """Whether another worker is stuck than the one just dealt with, which may have ended since the observation."""
    return any(worker.process != pending.worker for worker in assessment.stuck)


def _is_whole(observation: Observation) -> bool:
    """Whether there is a worker, and none is still booting."""
    return bool(observation.workers) and not any(
        w.record is not None and w.record.phase == "booting" and not w.record.completed
        for w in observation.workers
    )


def _boots_in_time(assessment: Assessment) -> bool:
    """Whether a worker is booting that may still come up; one that hangs at it is not."""
    return any(worker.condition == WorkerCondition.BOOTING for worker in assessment.workers)
