"""What is assessed by the master alone: it is gone, stopped, held by a debugger, or has no workers."""

from __future__ import annotations

from dataclasses import replace

from ops.facts.base import NotSeen
from ops.facts.probes import Exchange
from ops.supervision.health.answer import assess_answer, health_path, is_refused
from ops.supervision.health.assessment import Assessment
from ops.supervision.observation import Holder, Observation, ProcessState, RunState
from ops.supervision.rules import GONE_FOR, Rules
from ops.supervision.state import Fault, ServiceState, WatchdogState
from ops.text.language import Text
from ops.text.reasons import reason


def assess_master(master: ProcessState, state: WatchdogState, rules: Rules) -> Assessment | None:
    """What the state of the master's process decides; None if it runs."""
    if master.state == RunState.TRACED:
        return Assessment(
            ServiceState.UNDETERMINED,
            Fault.DEBUGGED,
            Text(en=f"a debugger holds the master {master.pid}", zh=f"主进程 {master.pid} 正被调试器跟踪"),
        )
    if master.state == RunState.STOPPED:
        return Assessment(
            ServiceState.FAILING,
            Fault.MASTER_STOPPED,
            Text(
                en=f"the master, pid {master.pid}, is stopped (state T)",
                zh=f"主进程 {master.pid} 已被暂停（状态 T）",
            ),
            confirmed=state.failures >= rules.failures,
        )
    return None


def assess_without_master(observation: Observation, state: WatchdogState, rules: Rules) -> Assessment:
    """No master was found: gone, replaced by another program, or another user's and so out of sight."""
    has_answer = isinstance(observation.health, Exchange) and observation.health.status is not None
    holders = () if isinstance(observation.holders, NotSeen) else observation.holders
    conflicting = tuple(holder for holder in holders if not holder.ours)
    if conflicting and all(holder.server for holder in conflicting):
        return _assess_other_server(conflicting[0], observation)
    if conflicting:
        names = ", ".join(f"pid {holder.pid} ({holder.command})" for holder in conflicting)
        return Assessment(
            ServiceState.PORT_CONFLICT,
            Fault.PORT_CONFLICT,
            Text(
                en=f"{observation.backend} is held by another program: {names}",
                zh=f"{observation.backend} 被其他程序占用：{names}",
            ),
            holders=conflicting,
        )
    if has_answer and not holders:
        # Somebody serves, perhaps another user's process that cannot be seen: there is nothing to act on.
        return assess_answer(observation)
    if isinstance(observation.holders, NotSeen) and not is_refused(observation):
        why = observation.holders.reason
        return Assessment(
            ServiceState.FAILING,
            Fault.HOLDER_UNSEEN,
            Text(
                en=f"no master is seen, and who holds {observation.backend} is not visible: {why}",
                zh=f"看不到主进程，也看不到谁占用 {observation.backend}：{reason(why).to('zh')}",
            ),
        )
    return Assessment(
        ServiceState.FAILING,
        Fault.MASTER_GONE,
        Text(en="gunicorn's master is gone", zh="gunicorn 主进程已不存在"),
        confirmed=state.failures >= rules.failures
        or gone_for(state, observation.clocks.boottime) >= GONE_FOR,
        holders=holders,
    )


def _assess_other_server(holder: Holder, observation: Observation) -> Assessment:
    """The service is served by something else than gunicorn: observed, and neither started nor ended."""
    by = Text(
        en=f"served by {holder.server} (pid {holder.pid}), which is no gunicorn: the watchdog does not restart it",
        zh=f"由 {holder.server}（进程 {holder.pid}）提供服务，不是 gunicorn：watchdog 不会重启它",
    )
    if not isinstance(observation.health, Exchange) or observation.health.status is None:
        path = health_path(observation)
        detail = Text(en=f"{path} is not answered; {by.en}", zh=f"{path} 没有应答；{by.zh}")
        return Assessment(ServiceState.FAILING, Fault.HEALTH_FAILS, detail)
    answer = assess_answer(observation)
    return replace(answer, detail=Text(en=f"{answer.detail.en}; {by.en}", zh=f"{answer.detail.zh}；{by.zh}"))


def gone_for(state: WatchdogState, now: float) -> float:
    """For how many seconds a master that had been there is missing; 0 if it is there, or none was ever observed."""
    return now - state.master_gone_since if state.master_gone_since is not None else 0.0


def assess_without_workers(
    master: ProcessState, observation: Observation, state: WatchdogState, rules: Rules
) -> Assessment:
    """The master runs alone: it is booting until the boot deadline, and failing after that."""
    seconds = observation.clocks.boottime - max(master.started, state.workers_seen_at or 0.0)
    if seconds <= rules.boot_deadline:
        return Assessment(
            ServiceState.BOOTING,
            Fault.BOOTING,
            Text(
                en=f"the master has no worker yet ({seconds:.0f} s)",
                zh=f"主进程尚无工作进程（{seconds:.0f} 秒）",
            ),
        )
    return Assessment(
        ServiceState.FAILING,
        Fault.NO_WORKERS,
        Text(
            en=f"the master has had no worker for {seconds:.0f} s, longer than the boot deadline",
            zh=f"主进程已 {seconds:.0f} 秒没有工作进程，超过启动时限",
        ),
        confirmed=state.failures >= rules.failures,
    )
