"""`gte-ops watchdog status`: what the state file tells, for a person or a program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.diagnosis.model import Status as Verdict
from ops.report.model import CommandReport, ReportLine
from ops.settings import Settings
from ops.supervision.alerts import fault_name
from ops.supervision.sentences import RUNGS, STATES
from ops.supervision.state import WatchdogState
from ops.supervision.state_store import Pause, StateStore, clocks, is_locked
from ops.text.duration import age
from ops.text.language import Language, Text

if TYPE_CHECKING:
    from ops.supervision.cycle import Watchdog
    from ops.watchdog import OnceResult

STATUS_OF_EXIT: dict[int, Verdict] = {0: "ok", 1: "warn", 2: "fail", 3: "unknown"}

_RUNNING = (
    Text(en="a watchdog runs", zh="守护进程正在运行"),
    Text(en="none runs just now", zh="当前没有守护进程"),
)


@dataclass(frozen=True)
class Status:
    """What is known. ``trouble``: why the state cannot be read."""

    memory: WatchdogState
    pause: Pause | None
    running: bool
    now: float
    trouble: str | None


def read_status(settings: Settings) -> Status:
    """The state as it lies on disk; nothing is looked at or changed."""
    path = Path(settings.watchdog.state_file)
    moment = clocks()
    ledger = StateStore(path)
    memory = ledger.load(moment)
    return Status(
        memory=memory,
        pause=ledger.paused(moment.wall),
        running=path.parent.is_dir() and is_locked(path),
        now=time.time(),
        trouble=ledger.trouble or (f"the state was torn: {ledger.set_aside}" if ledger.set_aside else None),
    )


def exit_code(status: Status) -> int:
    """As the doctor's: 0 ok, 1 warning, 2 failing, 3 unknown."""
    if status.trouble or status.memory.clocks is None or status.memory.state in ("unjudged", "unknown"):
        return 3
    if status.memory.state in ("failing", "foreign", "suspect"):
        return 2
    if status.memory.state != "healthy" or status.pause or status.memory.gave_up:
        return 1
    return 0


class WatchdogStatusReport(CommandReport):
    """What `gte-ops watchdog status` reports."""

    command = "watchdog status"

    def __init__(self, state: Status) -> None:
        self._state = state

    @property
    def status(self) -> Verdict:
        """As the exit code."""
        return STATUS_OF_EXIT[exit_code(self._state)]

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each thing that is known."""
        for text in _texts(self._state):
            yield ReportLine(text.to(language))

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002  the state's own words are English
        """Times are Unix seconds."""
        return _document(self._state)


class WatchdogOnceReport(CommandReport):
    """What a run of `gte-ops watchdog --once` reports: nothing for cron while all is well."""

    command = "watchdog --once"

    def __init__(self, watchdog: Watchdog, result: OnceResult) -> None:
        self._watchdog = watchdog
        self._result = result

    @property
    def status(self) -> Verdict:
        """As the exit code."""
        return STATUS_OF_EXIT[self._result.exit_code]

    def lines(self, language: Language) -> Iterator[ReportLine]:  # noqa: ARG002  the watchdog has its own
        """The state, and what was done."""
        from ops.watchdog import status_line

        line = status_line(self._watchdog, self._result.outcome)
        yield ReportLine(line, is_detail=self._result.exit_code == 0)

    def document(self, language: Language) -> dict[str, Any]:
        """What was found and done."""
        outcome = self._result.outcome
        return {
            "state": outcome.verdict.state,
            "fault": outcome.verdict.fault or None,
            "detail": outcome.verdict.detail.to(language),
            "acted": self._result.acted,
            "paused": outcome.paused,
            "holding": self._watchdog.memory.gave_up,
            "exit_code": self._result.exit_code,
        }


class WatchdogChangeReport(CommandReport):
    """What `pause`, `resume` and `forget` did. ``facts``: keys of the document."""

    def __init__(self, command: str, words: Text, facts: dict[str, Any]) -> None:
        self.command = f"watchdog {command}"
        self._words = words
        self._facts = facts

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """One line."""
        yield ReportLine(self._words.to(language))

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """The facts."""
        return self._facts


def _document(status: Status) -> dict[str, Any]:
    """The status as JSON-able values; times are Unix seconds."""
    memory = status.memory
    trouble = memory.trouble
    return {
        "state": memory.state,
        "since": memory.state_wall or None,
        "last_round": memory.clocks.wall if memory.clocks else None,
        "running": status.running,
        "consecutive_failures": memory.failures,
        "saturated": memory.saturated,
        "holding": memory.gave_up,
        "next_attempt": None
        if memory.rearm_at is None or memory.clocks is None
        else memory.clocks.wall + memory.rearm_at - memory.clocks.boottime,
        "paused_until": status.pause.until if status.pause else None,
        "trouble": None
        if trouble is None
        else {
            "fault": trouble.fault,
            "since": trouble.wall,
            "detail": trouble.detail_en,
            "causes": list(trouble.causes),
            "actions": list(trouble.actions),
            "evidence": trouble.evidence or None,
        },
        "actions": [
            {"at": a.wall, "rung": a.rung, "fault": a.fault, "pid": a.pid, "outcome": a.outcome}
            for a in memory.actions
        ],
        "counters": memory.counters,
        "last_recovery_seconds": memory.last_recovery_seconds,
        "master": memory.subject.master.pid if memory.subject.master else None,
        "backend": memory.subject.backend or None,
        "problem": status.trouble,
    }


def _texts(status: Status) -> list[Text]:
    memory = status.memory
    lines: list[Text] = []

    def line(en: str, zh: str) -> None:
        lines.append(Text(en=en, zh=zh))

    name = STATES.get(memory.state, Text(en=memory.state, zh=memory.state))
    since = age(max(0.0, status.now - memory.state_wall)) if memory.state_wall else "?"
    line(f"state: {name.en} for {since}", f"状态：{name.zh}，已持续 {since}")
    if memory.clocks is not None:
        ago = age(max(0.0, status.now - memory.clocks.wall))
        run = _RUNNING[0 if status.running else 1]
        line(f"last round: {ago} ago; {run.en}", f"上次检查：{ago} 前；{run.zh}")
    if status.pause:
        left = age(max(0.0, status.pause.until - status.now))
        line(f"paused for another {left}", f"暂停中，还剩 {left}")
    if memory.trouble is not None:
        fault = fault_name(memory.trouble.fault)
        line(
            f"trouble: {fault.en}: {memory.trouble.detail_en}",
            f"故障：{fault.zh}：{memory.trouble.detail_zh}",
        )
        if memory.trouble.evidence:
            line(f"evidence: {memory.trouble.evidence}", f"证据：{memory.trouble.evidence}")
    if memory.gave_up:
        line(
            "holding: the budget is spent, or a restart does not help (OPS007)",
            "已停手：额度用完或重启无效（OPS007）",
        )
    for action in memory.actions[-5:]:
        did = RUNGS[action.rung]
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(action.wall))
        line(f"{when} {did.en} ({action.outcome})", f"{when} {did.zh}（{action.outcome}）")
    if status.trouble:
        line(f"problem: {status.trouble}", f"问题：{status.trouble}")
    return lines
