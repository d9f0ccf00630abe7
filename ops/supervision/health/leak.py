"""A worker that leaks memory until the host, or its control group, runs out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ops.supervision.health.assessment import Assessment, WorkerAssessment, WorkerCondition
from ops.supervision.observation import Observation, Worker
from ops.supervision.rules import SHORT_BYTES, SHORT_SHARE, Rules
from ops.supervision.state import Fault, ServiceState, WatchdogState
from ops.text.language import Text


@dataclass(frozen=True)
class Leak:
    """The leaking worker, and in bytes: what it used when it began to serve, what it uses, what is available."""

    pid: int
    least: int
    resident: int
    available: int


def leaking_worker(observation: Observation, state: WatchdogState) -> Leak | None:
    """The worker that uses up the memory, if memory is about to run out; None if none is proven to.

    Proven: it has at least doubled since it began to serve, it is still growing, and it has taken more than would be
    enough. Many large workers are a matter of configuration, which replacing one of them does not fix."""
    room = observation.room
    if room is None:
        return None
    enough = min(SHORT_SHARE * room.total, SHORT_BYTES)
    if room.available >= enough:
        return None
    leaks = [_leak(worker, state, room.available) for worker in observation.workers]
    worst = max(leaks, key=_taken, default=None)
    if worst is None or _taken(worst) < max(enough, worst.resident / 2):
        return None
    return worst


def _leak(worker: Worker, state: WatchdogState, available: int) -> Leak:
    history = state.workers.get(str(worker.pid))
    least = history.least if history is not None and history.least and history.growing else worker.resident
    return Leak(worker.pid, least, worker.resident, available)


def _taken(leak: Leak) -> int:
    return leak.resident - leak.least


def assess_leak(
    leak: Leak, workers: tuple[WorkerAssessment, ...], state: WatchdogState, rules: Rules
) -> Assessment:
    """The service with one leaking worker."""
    least, size, available = leak.least >> 20, leak.resident >> 20, leak.available >> 20
    return Assessment(
        ServiceState.FAILING,
        Fault.WORKER_LEAKING,
        Text(
            en=f"worker {leak.pid} has grown from {least} to {size} MiB, and {available} MiB of memory are left",
            zh=f"工作进程 {leak.pid} 从 {least} MiB 增长到 {size} MiB，内存仅剩 {available} MiB",
        ),
        tuple(
            replace(w, condition=WorkerCondition.LEAKING, all_wedged=False, path="", wants_dump=False)
            if w.process.pid == leak.pid
            else w
            for w in workers
        ),
        confirmed=state.failures >= rules.failures,
    )
