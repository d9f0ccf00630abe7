"""What an observation adds to the watchdog's state. Pure: no clock is read, no process touched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from ops.facts.probes import Exchange
from ops.interpret.process_ref import ProcessRef
from ops.supervision.observation import Observation, Worker
from ops.supervision.rules import GROWTH_BYTES, Rules
from ops.supervision.state import Subject, WatchdogState, WorkerState
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.supervision.stacks import Stacks


def own_trouble(observation: Observation, state: WatchdogState, *, expected_gap: float | None) -> Text | None:
    """Why this cycle cannot be assessed: the clock was set, the machine slept, or the watchdog itself was held up.

    ``expected_gap``: seconds from the last cycle to this one as the loop planned it, None between separate runs."""
    if observation.own_trouble is not None:
        return observation.own_trouble
    before, now = state.clocks, observation.clocks
    if before is None:
        return None
    elapsed = now.boottime - before.boottime
    slept = (now.boottime - now.monotonic) - (before.boottime - before.monotonic)
    if slept > 2.0:
        return Text(en=f"the machine slept for {slept:.0f} s", zh=f"机器休眠了 {slept:.0f} 秒")
    jumped = (now.wall - now.boottime) - (before.wall - before.boottime)
    # A clock that is being slewed drifts by up to 500 ppm (adjtimex(2)); that is no jump.
    if abs(jumped) > 2.0 + 0.001 * elapsed:
        return Text(en=f"the clock was set by {jumped:+.0f} s", zh=f"系统时钟被调整了 {jumped:+.0f} 秒")
    if expected_gap is not None and elapsed > 3 * expected_gap + 10.0:
        return Text(
            en=f"the watchdog itself was held up for {elapsed:.0f} s",
            zh=f"watchdog 自身停顿了 {elapsed:.0f} 秒",
        )
    return None


def with_observation(observation: Observation, state: WatchdogState, rules: Rules) -> WatchdogState:
    """``state`` after this observation, before it is assessed."""
    now = observation.clocks.boottime
    undetermined = observation.own_trouble is not None
    has_answer = isinstance(observation.health, Exchange) and observation.health.status is not None
    marks = _answer_marks(observation)
    alive = (
        has_answer
        or any(value != state.answer_marks.get(name, value) for name, value in marks.items())
        or _has_closed_sockets(observation, state)
    )
    return msgspec.structs.replace(
        state,
        clocks=observation.clocks,
        cycles=state.cycles + 1,
        control_failures=_control_failures(observation, state),
        subject=_subject(observation, state.subject),
        workers={
            str(worker.pid): _with_worker(worker, state.workers.get(str(worker.pid)), now, rules)
            for worker in observation.workers
        },
        # After the clock was set back, earlier timestamps lie in the future; after any own trouble, ages mean nothing.
        distrust_before=observation.clocks.wall if undetermined else state.distrust_before,
        last_answer=now if alive or state.last_answer is None or undetermined else state.last_answer,
        answer_marks=marks,
        workers_seen_at=now if observation.workers else state.workers_seen_at,
        master_gone_since=_master_gone_since(observation, state),
    )


def _answer_marks(observation: Observation) -> dict[str, int]:
    """Figures that change when the service answers anybody: completions by worker, the access log's size."""
    marks = {str(w.pid): w.record.completed for w in observation.workers if w.record is not None}
    if observation.access_log_size is not None:
        marks["access log"] = observation.access_log_size
    return marks


def _has_closed_sockets(observation: Observation, state: WatchdogState) -> bool:
    """Whether a worker has closed a socket since the last observation: what completes a request mostly does, and a
    worker that hangs or spins does not."""
    return any(
        worker.sockets is not None
        and (before := state.workers.get(str(worker.pid))) is not None
        and before.start_ticks == worker.start_ticks
        and not set(before.sockets) <= set(worker.sockets)
        for worker in observation.workers
    )


def _control_failures(observation: Observation, state: WatchdogState) -> int:
    """How many times in a row the master's control socket did not answer."""
    if observation.master is None or observation.own_trouble is not None or observation.control_answers:
        return 0
    return state.control_failures + (observation.control_answers is False)


def _subject(observation: Observation, subject: Subject) -> Subject:
    if observation.master is None:
        return subject
    return msgspec.structs.replace(
        subject,
        backend=observation.backend,
        master=ProcessRef(observation.master.pid, observation.master.start_ticks),
        workers=tuple(ProcessRef(w.pid, w.start_ticks) for w in observation.workers),
    )


def _master_gone_since(observation: Observation, state: WatchdogState) -> float | None:
    if observation.master is not None or observation.own_trouble is not None:
        return None
    if state.master_gone_since is None and state.workers_seen_at is not None:
        return observation.clocks.boottime
    return state.master_gone_since


def _with_worker(worker: Worker, before: WorkerState | None, now: float, rules: Rules) -> WorkerState:
    """What is known of ``worker`` after this observation; ``before`` may be of an earlier process with its pid."""
    if before is None or before.start_ticks != worker.start_ticks:
        before = WorkerState(start_ticks=worker.start_ticks, cpu=worker.cpu, cpu_at=now)
    still = {
        thread: before.still[thread] if before.still.get(thread, (-1, 0.0))[0] == run else (run, now)
        for thread, run in worker.threads.items()
    }
    serves = worker.record.phase == "ready" if worker.record else now - worker.started > rules.boot_deadline
    after = msgspec.structs.replace(
        before,
        still=still,
        sockets=worker.sockets or (),
        # A thread that ran after its stack was dumped may be anywhere.
        stuck_threads=tuple(
            thread
            for thread in before.stuck_threads
            if thread in still and still[thread][1] <= before.examined_at
        ),
        least=min(before.least or worker.resident, worker.resident) if serves else before.least,
    )
    elapsed = now - before.cpu_at
    if elapsed < 0.8 * rules.dump_gap:
        return after
    return msgspec.structs.replace(
        after,
        share=max(0.0, worker.cpu - before.cpu) / elapsed,
        growing=worker.resident > before.resident + GROWTH_BYTES,
        cpu=worker.cpu,
        cpu_at=now,
        resident=worker.resident,
    )


def with_thread_dump(pid: int, before: WorkerState, stacks: Stacks, now: float, rules: Rules) -> WorkerState:
    """``before``, of worker ``pid`` without a progress record, after a dump: which still threads are in a request."""
    at_work = tuple(thread for thread in before.still if thread in stacks.at_work)
    count = len(stacks.at_work) if stacks.digest.startswith("python:") else None
    after = msgspec.structs.replace(
        before,
        examined_at=now,
        at_work=count,
        was_at_work=bool(before.dump and before.at_work),
        stuck_threads=at_work,
        loop_work=stacks.loop_work,
    )
    if str(pid) in stacks.at_work:
        # A main thread that serves requests is the only one that does, or has the event loop that the others need.
        return with_dump(after, stacks.digest_of([str(pid)]), now, rules.dump_gap)
    stuck = [thread for thread in at_work if now - after.still[thread][1] > rules.request_deadline]
    return with_dump(after, stacks.digest_of(stuck) if stuck else stacks.digest, now, rules.dump_gap)


def with_dump(before: WorkerState, digest: str, now: float, gap: float) -> WorkerState:
    """``before`` after another stack dump: equal to the last one or not, once two are ``gap`` seconds apart."""
    if not digest:
        return before
    if before.dump and now - before.dump_at < 0.8 * gap:
        return before
    same = (digest == before.dump) if before.dump else None
    return msgspec.structs.replace(before, dump=digest, dump_at=now, same_stacks=same)


def without_dumps(state: WatchdogState, suspects: Iterable[ProcessRef]) -> WatchdogState:
    """``state`` without the stacks of all workers but ``suspects``: an old dump proves nothing of a new request."""
    keep = {str(process.pid) for process in suspects}
    return msgspec.structs.replace(
        state,
        workers={
            pid: worker
            if pid in keep
            else msgspec.structs.replace(worker, dump="", dump_at=0.0, same_stacks=None)
            for pid, worker in state.workers.items()
        },
    )
