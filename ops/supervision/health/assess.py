"""The assessment of the service: what is ruled out first, and in which order."""

from __future__ import annotations

from dataclasses import replace

from ops.supervision.health.assessment import ALIVE, Assessment
from ops.supervision.health.leak import assess_leak, leaking_worker
from ops.supervision.health.master import assess_master, assess_without_master, assess_without_workers
from ops.supervision.health.worker import assess_worker
from ops.supervision.health.workers import assess_living_workers, assess_stuck_workers
from ops.supervision.observation import Observation
from ops.supervision.rules import CONTROL_FAILURES, Rules
from ops.supervision.state import Fault, ServiceState, WatchdogState
from ops.text.language import Text


def assess(observation: Observation, state: WatchdogState, rules: Rules) -> Assessment:
    """The state of the service, and what is wrong with it.

    ``state`` must contain this observation already (`ops/supervision/state_update.py`); its ``failures`` count this
    cycle as if it had failed."""
    assessment = _by_processes(observation, state, rules)
    if (state.environment_lost or state.other_user) and assessment.state in ALIVE:
        return _not_as_before(assessment, state)
    return assessment


def _by_processes(observation: Observation, state: WatchdogState, rules: Rules) -> Assessment:
    if observation.own_trouble is not None:
        return Assessment(ServiceState.UNDETERMINED, Fault.OWN_TROUBLE, observation.own_trouble)
    if observation.master is None:
        return assess_without_master(observation, state, rules)
    by_master = assess_master(observation.master, state, rules)
    if by_master is not None:
        return by_master
    workers = tuple(assess_worker(w, observation, state, rules) for w in observation.workers)
    if state.control_failures >= CONTROL_FAILURES:
        return Assessment(
            ServiceState.FAILING,
            Fault.MASTER_HUNG,
            Text(
                en=f"the master's control socket did not answer {state.control_failures} times in a row",
                zh=f"主进程的控制 socket 连续 {state.control_failures} 次没有应答",
            ),
            workers,
            confirmed=True,
        )
    if not observation.workers:
        return assess_without_workers(observation.master, observation, state, rules)
    if any(w.is_stuck for w in workers):
        return assess_stuck_workers(workers, state, rules)
    leak = leaking_worker(observation, state)
    if leak is not None:
        return assess_leak(leak, workers, state, rules)
    return assess_living_workers(workers, observation, state, rules)


def _not_as_before(assessment: Assessment, state: WatchdogState) -> Assessment:
    """It serves, but not as before: clients that used to be refused may be let in. The watchdog cannot fix that."""
    names = ", ".join(state.environment_lost)
    en = [f"without {names} as it was"] if names else []
    zh = [f"环境变量 {names} 缺失或不同"] if names else []
    if state.other_user:
        en.append("as another user")
        zh.append("运行用户不同")
    return replace(
        assessment,
        state=ServiceState.FAILING,
        fault=Fault.ENVIRONMENT_CHANGED,
        detail=Text(
            en=f"the service was started again, but {' and '.join(en)}: restart it by hand as it is to run; "
            "if it is right as it is: gte-ops watchdog forget",
            zh=f"服务已重新启动，但{'，'.join(zh)}：请按应有的环境手动重启；如果现状正确：gte-ops watchdog forget",
        ),
        confirmed=False,
    )
