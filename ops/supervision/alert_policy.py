"""When people are told: at both ends of a trouble, at both ends of saturation, and where the watchdog holds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import msgspec

from ops.supervision.alerts import Notifier, WatchdogJournal, fault_name, recovery_body, trouble_body
from ops.supervision.escalation import Step
from ops.supervision.health import ALIVE, Assessment
from ops.supervision.observation import Observation
from ops.supervision.rules import Rules
from ops.supervision.sentences import RUNGS
from ops.supervision.state import WatchdogState
from ops.text.language import Text


class Announcer:
    """Decides what is said, and hands it to ``teller``."""

    def __init__(self, teller: Notifier, journal: WatchdogJournal, rules: Rules) -> None:
        self.teller, self.journal, self.rules = teller, journal, rules

    def trouble(
        self, verdict: Assessment, look: Observation, memory: WatchdogState, step: Step, evidence: str
    ) -> WatchdogState:
        """One message when trouble begins, one when it ends; a page where it holds."""
        trouble = memory.trouble
        if trouble is None:
            return memory
        now = look.clocks
        if verdict.state in ALIVE and memory.pending is None:
            seconds = now.boottime - trouble.since
            memory = msgspec.structs.replace(memory, trouble=None)
            if trouble.announced or trouble.actions:
                memory.last_recovery_seconds = round(seconds, 3)
                self.journal.note(
                    "recovered", fault=trouble.fault, seconds=round(seconds, 2), actions=trouble.actions
                )
                name = fault_name(trouble.fault)
                body = recovery_body(trouble.fault, seconds, trouble.actions, trouble.evidence)
                title = Text(en=f"recovered: {name.en}", zh=f"已恢复：{name.zh}")
                self.teller.tell("watchdog", "recovered", title, body, now.wall)
            return memory
        due = verdict.confirmed or verdict.fault in ("overload", "environment_changed")
        if verdict.state in ("failing", "foreign"):
            due = due or memory.failures >= self.rules.failures
        # A recovery that is none is news, whatever was said before.
        is_news = verdict.fault == "environment_changed" != trouble.fault
        if (trouble.announced and not is_news) or not due:
            return memory
        doing = RUNGS[step.rung] if step.rung else (step.why if step.why.en else None)
        body = trouble_body(verdict.detail, trouble.causes, evidence, doing, trouble.wall)
        name = fault_name(verdict.fault)
        kind: Literal["page", "trouble"] = "page" if step.rung is None else "trouble"
        self.teller.tell("watchdog", kind, name, body, now.wall)
        return msgspec.structs.replace(
            memory,
            trouble=msgspec.structs.replace(
                trouble,
                fault=verdict.fault,
                detail_en=verdict.detail.en,
                detail_zh=verdict.detail.zh,
                announced=True,
                evidence=evidence,
            ),
        )

    def saturation(self, verdict: Assessment, look: Observation, memory: WatchdogState) -> WatchdogState:
        """One message when it has been saturated for as many rounds as a failure needs, one when that is over."""
        now = look.clocks
        if memory.saturation_told and verdict.state == "healthy":
            title = Text(en="no longer saturated", zh="不再饱和")
            self.teller.tell("saturated", "recovered", title, verdict.detail, now.wall)
            return msgspec.structs.replace(memory, saturation_told=False)
        lasted = now.boottime - memory.state_since
        if (
            verdict.state == "saturated"
            and not memory.saturation_told
            and lasted >= self.rules.failures * self.rules.interval
        ):
            self.journal.note("saturated", seconds=round(lasted, 1), detail=verdict.detail.en)
            self.teller.tell("saturated", "trouble", fault_name("saturated"), verdict.detail, now.wall)
            return msgspec.structs.replace(memory, saturation_told=True)
        return memory

    def torn_state(self, aside: Path) -> None:
        """The state file was torn, and lies ``aside``."""
        self.teller.tell(
            "watchdog-state",
            "page",
            Text(en="the watchdog's state file was torn", zh="守护程序的状态文件损坏"),
            Text(
                en=f"it was set aside as {aside}; budgets begin anew",
                zh=f"已移存为 {aside}；动作额度重新计算",
            ),
            time.time(),
        )
