"""One worker: by the state of its process, its progress record, its CPU time and its stacks."""

from __future__ import annotations

from dataclasses import replace

from ops.facts.gunicorn import ProgressRecord
from ops.interpret.process_ref import ProcessRef
from ops.interpret.progress import FRESH_BEAT, blocked_for, in_flight_ages, silence
from ops.supervision.health.answer import ready_reason
from ops.supervision.health.assessment import WorkerAssessment, WorkerCondition
from ops.supervision.observation import Observation, RunState, Worker
from ops.supervision.rules import FLAT_SHARE, PATIENT_DEADLINES, Rules
from ops.supervision.state import LoopWork, WatchdogState, WorkerState


def assess_worker(
    worker: Worker, observation: Observation, state: WatchdogState, rules: Rules
) -> WorkerAssessment:
    """The condition of one worker."""
    process = ProcessRef(worker.pid, worker.start_ticks)
    history = state.workers.get(str(worker.pid))
    if worker.state == RunState.STOPPED:
        return WorkerAssessment(process, WorkerCondition.STOPPED)
    if worker.state == RunState.TRACED:
        return WorkerAssessment(process, WorkerCondition.DEBUGGED)
    alive_for = max(0.0, observation.clocks.boottime - worker.started)
    if _is_booting(worker, observation):
        hangs = alive_for > rules.boot_deadline
        return WorkerAssessment(
            process, WorkerCondition.BOOT_HUNG if hangs else WorkerCondition.BOOTING, alive_for
        )
    if worker.record is None:
        unknown = WorkerAssessment(process, WorkerCondition.UNKNOWN, alive_for)
        if history is None:
            return unknown
        now = observation.clocks.boottime
        blocked = _by_loop(unknown, history, now, rules)
        return blocked or _by_threads(unknown, history, now, state.subject.threads, rules)
    if worker.record.beat is not None:
        return _by_beat(
            process, worker.record, history, observation.clocks.wall, state.distrust_before, rules
        )
    if not worker.record.in_flight:
        return WorkerAssessment(process, WorkerCondition.IDLE)
    return _by_record(process, worker.record, history, observation.clocks.wall, state.distrust_before, rules)


def _is_booting(worker: Worker, observation: Observation) -> bool:
    """Whether a worker has not begun to serve.

    The service answers /health while its models load, so that a completed request alone does not end the boot. But an
    application that uses the hooks and never reports ready does not boot for ever: then /ready does not say so."""
    record = worker.record
    if record is None:
        return worker.booting_by_control
    if record.phase != "booting":
        return False
    return record.completed == 0 or ready_reason(observation) == "loading"


def _by_record(
    process: ProcessRef,
    record: ProgressRecord,
    history: WorkerState | None,
    wall: float,
    distrust_before: float,
    rules: Rules,
) -> WorkerAssessment:
    """A worker with requests in flight: stuck if nothing has completed for a deadline and it does not move."""
    deadline = rules.request_deadline
    ages = in_flight_ages(record, wall, distrust_before)
    age = max(ages)
    path = record.in_flight[ages.index(age)].path
    if age <= deadline:
        return WorkerAssessment(process, WorkerCondition.BUSY, age)
    silent = silence(record, wall, distrust_before, age)
    all_wedged = min(ages) > deadline
    same_stacks = history.same_stacks if history else None
    share = history.share if history else None
    if silent <= deadline:
        # Other requests of this worker complete. Only what does not move for a long time, by its stacks, is given up.
        if age <= PATIENT_DEADLINES * deadline:
            return WorkerAssessment(process, WorkerCondition.BUSY, age, all_wedged=False, path=path)
        condition = _by_stacks(WorkerCondition.PARTIALLY_STUCK, same_stacks)
        return WorkerAssessment(process, condition, age, all_wedged=False, path=path, wants_dump=True)
    if share is None:
        return WorkerAssessment(process, WorkerCondition.SUSPECT, silent, all_wedged, path, wants_dump=True)
    if share > FLAT_SHARE:
        # It computes: a long request at work and an endless loop look alike until they have taken far too long.
        spins = min(age, silent) > PATIENT_DEADLINES * deadline
        condition = WorkerCondition.LIVELOCK if spins else WorkerCondition.BUSY
        return WorkerAssessment(process, condition, silent, all_wedged, path)
    condition = _by_stacks(WorkerCondition.HUNG, same_stacks)
    return WorkerAssessment(process, condition, silent, all_wedged, path, wants_dump=True)


def _by_beat(
    process: ProcessRef,
    record: ProgressRecord,
    history: WorkerState | None,
    wall: float,
    distrust_before: float,
    rules: Rules,
) -> WorkerAssessment:
    """A worker whose requests are served by an event loop: stuck only if the loop itself does not run."""
    ages = in_flight_ages(record, wall, distrust_before)
    age = max(ages, default=0.0)
    path = record.in_flight[ages.index(age)].path if ages else ""
    blocked = blocked_for(record, wall, rules.request_deadline, distrust_before)
    if blocked is None:
        condition = WorkerCondition.BUSY if ages else WorkerCondition.IDLE
        return WorkerAssessment(process, condition, age, all_wedged=False, path=path)
    share = history.share if history else None
    if share is None:
        return WorkerAssessment(process, WorkerCondition.SUSPECT, blocked, path=path, wants_dump=True)
    if share > FLAT_SHARE:
        spins = blocked > PATIENT_DEADLINES * rules.request_deadline
        condition = WorkerCondition.LIVELOCK if spins else WorkerCondition.BUSY
        return WorkerAssessment(process, condition, blocked, path=path)
    # The beat is proof enough; the stacks show the line that blocks the loop.
    return WorkerAssessment(process, WorkerCondition.BLOCKED, blocked, path=path, wants_dump=True)


def _by_loop(
    unknown: WorkerAssessment, history: WorkerState, now: float, rules: Rules
) -> WorkerAssessment | None:
    """A worker without a progress record, by its main thread; None if its threads decide as in a worker without a loop.

    Every loop under gunicorn wakes up at least once a second to send the worker's heartbeat, so that one which has not
    run for a deadline is blocked by what its stack shows. The first dump comes early enough for the second to decide at
    the deadline."""
    limit = max(rules.request_deadline, FRESH_BEAT)
    main = str(unknown.process.pid)
    if main not in history.still:
        return None
    since = history.still[main][1]
    seconds = now - since
    if seconds <= limit - rules.dump_gap:
        return None
    if since > history.examined_at:
        return replace(unknown, wants_dump=True)
    if main not in history.stuck_threads:
        return None
    if history.loop_work == LoopWork.CALLBACK and unknown.seconds <= rules.boot_deadline:
        # It may be the application's start, in a task of its own.
        return unknown
    if seconds <= limit:
        return replace(unknown, wants_dump=True)
    if history.loop_work == LoopWork.NONE:
        return None
    condition = _by_stacks(WorkerCondition.BLOCKED, history.same_stacks)
    return replace(unknown, condition=condition, seconds=seconds, wants_dump=True)


def _by_threads(
    unknown: WorkerAssessment, history: WorkerState, now: float, threads: int, rules: Rules
) -> WorkerAssessment:
    """A worker without a progress record: by threads that have not run at all for a deadline while in a request.

    Each such thread proves one stuck request: a thread that serves many requests runs in between. A thread that wakes
    up now and then, or spins, cannot be told from one that works, and is left alone."""
    deadline = rules.request_deadline
    still = [now - history.still[thread][1] for thread in history.stuck_threads if thread in history.still]
    stuck = [seconds for seconds in still if seconds > deadline]
    if not stuck:
        # Idle threads do not run either. One dump of their stacks is enough until they run again.
        unexamined = any(
            now - since > deadline and since > history.examined_at for _, since in history.still.values()
        )
        return replace(unknown, wants_dump=unexamined)
    seconds = max(stuck)
    # A sync worker serves in its main thread, whose id is the pid: it has no other.
    all_wedged = str(unknown.process.pid) in history.stuck_threads or 0 < threads <= len(stuck)
    if not all_wedged and seconds <= PATIENT_DEADLINES * deadline:
        return replace(unknown, condition=WorkerCondition.BUSY, seconds=seconds, all_wedged=False)
    proven = WorkerCondition.HUNG if all_wedged else WorkerCondition.PARTIALLY_STUCK
    condition = _by_stacks(proven, history.same_stacks)
    return replace(unknown, condition=condition, seconds=seconds, all_wedged=all_wedged, wants_dump=True)


def _by_stacks(proven: WorkerCondition, same_stacks: bool | None) -> WorkerCondition:
    """``proven`` if two dumps were equal, BUSY if they differ, SUSPECT until there are two."""
    if same_stacks is None:
        return WorkerCondition.SUSPECT
    return proven if same_stacks else WorkerCondition.BUSY
