"""When people are alerted: at both ends of a trouble, at both ends of saturation, and when the watchdog gives up."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from ops.notifications.message import MessageKind
from ops.supervision.alerts import Notifier, WatchdogJournal, fault_name, recovery_body, trouble_body
from ops.supervision.escalation import Step
from ops.supervision.health.assessment import ALIVE, Assessment
from ops.supervision.observation import Clocks, Observation
from ops.supervision.rules import Rules
from ops.supervision.sentences import ACTIONS
from ops.supervision.state import Fault, ServiceState, Trouble, WatchdogState
from ops.text.language import Text

# People are alerted to these although nothing is confirmed: the watchdog cannot fix them, or they may get worse.
_ALWAYS_DUE = (Fault.OVERLOAD, Fault.ENVIRONMENT_CHANGED)


class AlertPolicy:
    """Decides which messages are due, and hands them to ``notifier``."""

    def __init__(self, notifier: Notifier, journal: WatchdogJournal, rules: Rules) -> None:
        self.notifier, self.journal, self.rules = notifier, journal, rules

    def trouble(
        self,
        assessment: Assessment,
        observation: Observation,
        state: WatchdogState,
        step: Step,
        evidence: str,
    ) -> WatchdogState:
        """One message when a trouble begins and one when it ends; a page if the watchdog takes no action."""
        trouble = state.trouble
        if trouble is None:
            return state
        if assessment.state in ALIVE and state.pending is None:
            return self._recovered(trouble, observation.clocks, state)
        due = assessment.confirmed or assessment.fault in _ALWAYS_DUE
        if assessment.state in (ServiceState.FAILING, ServiceState.PORT_CONFLICT):
            due = due or state.failures >= self.rules.failures
        # A restart that brought up something else is news, whatever was announced before.
        is_news = assessment.fault == Fault.ENVIRONMENT_CHANGED != trouble.fault
        if (trouble.announced and not is_news) or not due:
            return state
        doing = ACTIONS[step.action] if step.action else (step.why if step.why.en else None)
        body = trouble_body(assessment.detail, trouble.causes, evidence, doing, trouble.wall)
        kind = MessageKind.PAGE if step.action is None else MessageKind.TROUBLE
        self.notifier.notify("watchdog", kind, fault_name(assessment.fault), body, observation.clocks.wall)
        trouble = msgspec.structs.replace(
            trouble,
            fault=assessment.fault,
            detail_en=assessment.detail.en,
            detail_zh=assessment.detail.zh,
            announced=True,
            evidence=evidence,
        )
        return msgspec.structs.replace(state, trouble=trouble)

    def _recovered(self, trouble: Trouble, now: Clocks, state: WatchdogState) -> WatchdogState:
        """The trouble is over. People hear of it if they heard of its beginning, or if something was done."""
        state = msgspec.structs.replace(state, trouble=None)
        if not trouble.announced and not trouble.actions:
            return state
        seconds = now.boottime - trouble.since
        self.journal.note(
            "recovered", fault=trouble.fault, seconds=round(seconds, 2), actions=trouble.actions
        )
        name = fault_name(trouble.fault)
        title = Text(en=f"recovered: {name.en}", zh=f"已恢复：{name.zh}")
        body = recovery_body(trouble.fault, seconds, trouble.actions, trouble.evidence)
        self.notifier.notify("watchdog", MessageKind.RECOVERED, title, body, now.wall)
        return msgspec.structs.replace(state, last_recovery_seconds=round(seconds, 3))

    def saturation(
        self, assessment: Assessment, observation: Observation, state: WatchdogState
    ) -> WatchdogState:
        """One message when saturation has lasted as many cycles as a failure needs, and one when it is over."""
        now = observation.clocks
        if state.saturation_announced and assessment.state == ServiceState.HEALTHY:
            title = Text(en="no longer saturated", zh="不再饱和")
            self.notifier.notify("saturated", MessageKind.RECOVERED, title, assessment.detail, now.wall)
            return msgspec.structs.replace(state, saturation_announced=False)
        lasted = now.boottime - state.state_since
        if (
            assessment.state == ServiceState.SATURATED
            and not state.saturation_announced
            and lasted >= self.rules.failures * self.rules.interval
        ):
            self.journal.note("saturated", seconds=round(lasted, 1), detail=assessment.detail.en)
            title = fault_name(Fault.SATURATED)
            self.notifier.notify("saturated", MessageKind.TROUBLE, title, assessment.detail, now.wall)
            return msgspec.structs.replace(state, saturation_announced=True)
        return state

    def torn_state(self, aside: Path) -> None:
        """The state file was torn, and has been set aside as ``aside``."""
        self.notifier.notify(
            "watchdog-state",
            MessageKind.PAGE,
            Text(en="the watchdog's state file was torn", zh="watchdog 的状态文件损坏"),
            Text(
                en=f"it was set aside as {aside}; budgets start again",
                zh=f"已移存为 {aside}；动作额度重新计算",
            ),
            time.time(),
        )
