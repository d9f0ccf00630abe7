"""The service by all its workers together: some stuck, or none of them proven to be."""

from __future__ import annotations

from dataclasses import replace

from ops.facts.probes import Exchange
from ops.supervision.health.answer import assess_answer, health_path, is_refused, with_descriptors
from ops.supervision.health.assessment import (
    STUCK,
    Assessment,
    WorkerAssessment,
    WorkerCondition,
    most_certain_first,
)
from ops.supervision.observation import Observation
from ops.supervision.rules import FLAT_SHARE, OVERLOAD_DEADLINES, Rules
from ops.supervision.state import Fault, ServiceState, WatchdogState, WorkerState
from ops.text.language import Text
from ops.text.reasons import reason

_NOT_SERVING = (
    WorkerCondition.BOOTING,
    WorkerCondition.BOOT_HUNG,
    WorkerCondition.STOPPED,
    WorkerCondition.DEBUGGED,
)
_SILENT = (WorkerCondition.HUNG, WorkerCondition.LIVELOCK, WorkerCondition.SUSPECT)
_OCCUPIED = (WorkerCondition.SUSPECT, WorkerCondition.BUSY, WorkerCondition.BOOTING)


def assess_stuck_workers(
    workers: tuple[WorkerAssessment, ...], state: WatchdogState, rules: Rules
) -> Assessment:
    """At least one of ``workers`` is stuck. If all of them are silent at once, that is overload at first."""
    worst = most_certain_first(workers)[0]
    serving = [w for w in workers if w.condition not in _NOT_SERVING]
    silent = [w for w in serving if w.condition in _SILENT]
    proven_by_deadline = worst.condition in (WorkerCondition.HUNG, WorkerCondition.LIVELOCK)
    if proven_by_deadline and len(silent) == len(serving):
        seconds, limit = min(w.seconds for w in silent), OVERLOAD_DEADLINES * rules.request_deadline
        if seconds <= limit:
            return Assessment(
                ServiceState.SUSPECT,
                Fault.OVERLOAD,
                Text(
                    en=f"nothing has completed for {seconds:.0f} s in any worker: overload until {limit:.0f} s",
                    zh=f"所有工作进程已 {seconds:.0f} 秒没有完成请求：在满 {limit:.0f} 秒之前视为过载",
                ),
                workers,
                saturated=True,
            )
    # A process can be stopped for a moment; everything else that is stuck has been so for a deadline.
    confirmed = worst.condition != WorkerCondition.STOPPED or state.failures >= rules.failures
    return Assessment(
        ServiceState.FAILING, STUCK[worst.condition], _stuck_detail(worst), workers, confirmed=confirmed
    )


def _stuck_detail(worker: WorkerAssessment) -> Text:
    pid, seconds = worker.process.pid, worker.seconds
    path = f" ({worker.path})" if worker.path else ""
    match worker.condition:
        case WorkerCondition.STOPPED:
            return Text(en=f"worker {pid} is stopped (state T)", zh=f"工作进程 {pid} 已被暂停（状态 T）")
        case WorkerCondition.HUNG:
            return Text(
                en=f"worker {pid}: nothing completed for {seconds:.0f} s{path}, CPU flat, stacks unchanged",
                zh=f"工作进程 {pid}：{seconds:.0f} 秒没有完成请求{path}，不占 CPU，调用栈不变",
            )
        case WorkerCondition.BLOCKED:
            return Text(
                en=f"worker {pid}: its event loop has not run for {seconds:.0f} s{path}, CPU flat",
                zh=f"工作进程 {pid}：事件循环已 {seconds:.0f} 秒没有运行{path}，不占 CPU",
            )
        case WorkerCondition.LIVELOCK:
            return Text(
                en=f"worker {pid}: nothing completed for {seconds:.0f} s{path}, yet it uses CPU",
                zh=f"工作进程 {pid}：{seconds:.0f} 秒没有完成请求{path}，却一直占用 CPU",
            )
        case WorkerCondition.BOOT_HUNG:
            return Text(
                en=f"worker {pid} has been booting for {seconds:.0f} s",
                zh=f"工作进程 {pid} 启动已 {seconds:.0f} 秒仍未完成",
            )
    return Text(
        en=f"worker {pid}: a request{path} has been stuck for {seconds:.0f} s while others complete",
        zh=f"工作进程 {pid}：有请求{path}卡住 {seconds:.0f} 秒，其他请求仍能完成",
    )


def assess_living_workers(
    workers: tuple[WorkerAssessment, ...], observation: Observation, state: WatchdogState, rules: Rules
) -> Assessment:
    """No worker is proven stuck: the suspects come first, then what /health answers, then who keeps it waiting."""
    suspects = tuple(w for w in workers if w.condition == WorkerCondition.SUSPECT)
    if suspects:
        return _suspected(suspects, workers)
    debugged = next((w for w in workers if w.condition == WorkerCondition.DEBUGGED), None)
    if debugged is not None:
        pid = debugged.process.pid
        return Assessment(
            ServiceState.UNDETERMINED,
            Fault.DEBUGGED,
            Text(en=f"a debugger holds worker {pid}", zh=f"工作进程 {pid} 正被调试器跟踪"),
            workers,
        )
    if isinstance(observation.health, Exchange) and observation.health.status is not None:
        return replace(assess_answer(observation), workers=workers)
    if all(w.condition == WorkerCondition.BOOTING for w in workers):
        seconds = max(w.seconds for w in workers)
        return Assessment(
            ServiceState.BOOTING,
            Fault.BOOTING,
            Text(en=f"the workers are booting ({seconds:.0f} s)", zh=f"工作进程正在启动（{seconds:.0f} 秒）"),
            workers,
        )
    busy = sum(w.condition == WorkerCondition.BUSY for w in workers)
    moves = state.last_answer is not None and state.last_answer >= observation.clocks.boottime
    if (busy or moves) and not is_refused(observation):
        # Requests complete, or none has taken longer than it may: the service is alive, and too busy for /health.
        path = health_path(observation)
        return Assessment(
            ServiceState.SATURATED,
            Fault.SATURATED,
            Text(
                en=f"{busy} of {len(workers)} workers are busy, and {path} waits",
                zh=f"{len(workers)} 个工作进程中 {busy} 个繁忙，{path} 在排队",
            ),
            workers,
            saturated=True,
        )
    return _unanswered(workers, observation, state, rules)


def _suspected(suspects: tuple[WorkerAssessment, ...], workers: tuple[WorkerAssessment, ...]) -> Assessment:
    worst = max(suspects, key=lambda w: w.seconds)
    pid, seconds = worst.process.pid, worst.seconds
    return Assessment(
        ServiceState.SUSPECT,
        Fault.WORKER_SUSPECT,
        Text(
            en=f"worker {pid} may be stuck: nothing completed for {seconds:.0f} s; looking on",
            zh=f"工作进程 {pid} 可能卡住：{seconds:.0f} 秒没有完成请求，继续观察",
        ),
        workers,
        saturated=all(w.condition in _OCCUPIED for w in workers),
    )


def _unanswered(
    workers: tuple[WorkerAssessment, ...], observation: Observation, state: WatchdogState, rules: Rules
) -> Assessment:
    """Nothing is answered, and no progress record accuses a worker: only a long silence is evidence, with unchanged
    stacks where CPU is flat, and where it is not with every worker met in a request each time."""
    now = observation.clocks.boottime
    silent = now - (state.last_answer if state.last_answer is not None else now)
    health = observation.health
    why, path = health.detail if isinstance(health, Exchange) else health.reason, health_path(observation)
    detail = with_descriptors(
        observation,
        Text(
            en=f"{path} is not answered ({why}); last sign of life {silent:.0f} s ago",
            zh=f"{path} 没有应答（{reason(why).to('zh')}）；上次有活动是 {silent:.0f} 秒前",
        ),
    )
    unconfirmed = Assessment(ServiceState.FAILING, Fault.NOT_ANSWERING, detail, workers)
    if is_refused(observation) or silent <= rules.request_deadline:
        return unconfirmed
    histories = [state.workers.get(str(w.process.pid), WorkerState(0, 0.0, 0.0)) for w in workers]
    if any(history.share is None for history in histories):
        return unconfirmed
    dumped = tuple(replace(w, wants_dump=True) for w in workers)
    proven = all(map(_serves_nothing, histories)) and silent > OVERLOAD_DEADLINES * rules.request_deadline
    if not proven or state.failures < rules.failures:
        return replace(unconfirmed, workers=dumped)
    conditions = [WorkerCondition.LIVELOCK if _spins(h) else WorkerCondition.HUNG for h in histories]
    accused = tuple(
        replace(w, condition=condition, seconds=silent)
        for w, condition in zip(dumped, conditions, strict=True)
    )
    return replace(unconfirmed, workers=accused, confirmed=True)


def _spins(history: WorkerState) -> bool:
    return history.share is not None and history.share > FLAT_SHARE


def _serves_nothing(history: WorkerState) -> bool:
    """Whether a worker of a service that answers nobody is itself at a standstill: where it computes, it was met in a
    request at both dumps; where it does not, its stacks are the same.

    A worker without a thread in a request is idle. A service with an idle worker does not hang: it is hard to reach."""
    if history.at_work == 0:
        return False
    if _spins(history):
        return history.at_work is not None and history.same_stacks is not None and history.was_at_work
    return bool(history.same_stacks)
