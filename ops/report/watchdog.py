"""What `gte-ops watchdog` and its commands report, for a person or a program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.diagnosis.model import Status
from ops.report.model import CommandReport, ReportLine
from ops.settings import Settings
from ops.supervision.alerts import fault_name
from ops.supervision.health.assessment import AILING
from ops.supervision.observation import Clocks
from ops.supervision.sentences import ACTIONS, STATES
from ops.supervision.state import ServiceState, WatchdogState
from ops.supervision.state_store import Pause, StateStore, clocks, is_locked
from ops.text.duration import age, age_zh, in_chinese_units
from ops.text.language import Language, Text

if TYPE_CHECKING:
    from ops.supervision.cycle import Watchdog
    from ops.watchdog import OnceResult

STATUS_OF_EXIT: dict[int, Status] = {0: Status.OK, 1: Status.WARN, 2: Status.FAIL, 3: Status.UNKNOWN}

_UNKNOWN = (ServiceState.UNDETERMINED, ServiceState.NOT_OBSERVED)
_RUNNING = (
    Text(en="a watchdog is running", zh="watchdog 正在运行"),
    Text(en="no watchdog is running", zh="当前没有 watchdog 在运行"),
)


@dataclass(frozen=True)
class WatchdogStatus:
    """The watchdog's status, from its files. ``now``: Unix seconds; ``trouble``: why the state cannot be read."""

    state: WatchdogState
    pause: Pause | None
    running: bool
    now: Clocks
    trouble: str | None


def read_status(settings: Settings) -> WatchdogStatus:
    """Read the status from the files alone: the service is not observed, and nothing is changed."""
    path = Path(settings.watchdog.state_file)
    moment = clocks()
    state_store = StateStore(path)
    state = state_store.load(moment)
    return WatchdogStatus(
        state=state,
        pause=state_store.paused(moment.wall),
        running=path.parent.is_dir() and is_locked(path),
        now=moment,
        trouble=state_store.trouble
        or (f"the state was torn: {state_store.set_aside}" if state_store.set_aside else None),
    )


def exit_code(status: WatchdogStatus) -> int:
    """The exit code, as the doctor's: 0 ok, 1 warning, 2 failing, 3 unknown."""
    if status.trouble or status.state.clocks is None or status.state.service_state in _UNKNOWN:
        return 3
    if status.state.service_state in AILING:
        return 2
    if status.state.service_state != ServiceState.HEALTHY or status.pause or status.state.suspended:
        return 1
    return 0


class WatchdogStatusReport(CommandReport):
    """What `gte-ops watchdog status` reports."""

    command = "watchdog status"

    def __init__(self, present: WatchdogStatus) -> None:
        self._present = present

    @property
    def status(self) -> Status:
        """As the exit code."""
        return STATUS_OF_EXIT[exit_code(self._present)]

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """One line for each fact."""
        for text in _texts(self._present):
            yield ReportLine(text.to(language))

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002  the state is in English
        """Times are Unix seconds."""
        return _document(self._present)


class WatchdogOnceReport(CommandReport):
    """What a run of `gte-ops watchdog --once` reports: nothing for cron while all is well."""

    command = "watchdog --once"

    def __init__(self, watchdog: Watchdog, result: OnceResult) -> None:
        self._watchdog = watchdog
        self._result = result

    @property
    def status(self) -> Status:
        """As the exit code."""
        return STATUS_OF_EXIT[self._result.exit_code]

    def lines(self, language: Language) -> Iterator[ReportLine]:  # noqa: ARG002  the watchdog has a language of its own
        """The state, and what was done."""
        from ops.watchdog import status_line

        line = status_line(self._watchdog, self._result.outcome)
        yield ReportLine(line, is_detail=self._result.exit_code == 0)

    def document(self, language: Language) -> dict[str, Any]:
        """The assessment, and whether an action was taken."""
        outcome = self._result.outcome
        return {
            "state": outcome.assessment.state,
            "fault": outcome.assessment.fault or None,
            "detail": outcome.assessment.detail.to(language),
            "acted": self._result.acted,
            "paused": outcome.paused,
            "holding": self._watchdog.state.suspended,
            "exit_code": self._result.exit_code,
        }


class WatchdogChangeReport(CommandReport):
    """What `pause`, `resume` and `forget` did. ``facts``: the document."""

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


def _document(status: WatchdogStatus) -> dict[str, Any]:
    """The status as JSON-able values; times are Unix seconds."""
    state = status.state
    trouble = state.trouble
    return {
        "state": state.service_state,
        "since": status.now.calendar(state.state_since) if state.state_wall else None,
        "last_round": status.now.calendar(state.clocks.boottime) if state.clocks else None,
        "running": status.running,
        "consecutive_failures": state.failures,
        "saturated": state.saturated,
        "holding": state.suspended,
        "next_attempt": None
        if state.rearm_at is None or state.clocks is None
        else status.now.calendar(state.rearm_at),
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
            {"at": a.wall, "rung": a.kind, "fault": a.fault, "pid": a.pid, "outcome": a.outcome}
            for a in state.actions
        ],
        "counters": state.counters,
        "last_recovery_seconds": state.last_recovery_seconds,
        "master": state.subject.master.pid if state.subject.master else None,
        "backend": state.subject.backend or None,
        "problem": status.trouble,
    }


def _texts(status: WatchdogStatus) -> list[Text]:
    state = status.state
    lines: list[Text] = []

    def line(en: str, zh: str) -> None:
        lines.append(Text(en=en, zh=zh))

    if state.clocks is None and status.trouble:
        pass  # told below
    elif state.clocks is None:
        # Nothing is known of the service: no cycle has ended yet.
        if status.running:
            line("the watchdog's first cycle has not ended yet", "watchdog 的第一次检查还没有结束")
        else:
            line("the watchdog has never run", "watchdog 从未运行过")
    else:
        name = STATES[state.service_state]
        since = f" for {age(max(0.0, status.now.boottime - state.state_since))}" if state.state_wall else ""
        since_zh = (
            f"，已持续 {age_zh(max(0.0, status.now.boottime - state.state_since))}"
            if state.state_wall
            else ""
        )
        line(f"state: {name.en}{since}", f"状态：{name.zh}{since_zh}")
        ago = age(max(0.0, status.now.boottime - state.clocks.boottime))
        run = _RUNNING[0 if status.running else 1]
        line(f"last cycle: {ago} ago; {run.en}", f"上次检查：{in_chinese_units(ago)}前；{run.zh}")
    if status.pause:
        remaining = age(max(0.0, status.pause.until - status.now.wall))
        line(f"paused for another {remaining}", f"暂停中，还剩 {in_chinese_units(remaining)}")
    if state.trouble is not None:
        fault = fault_name(state.trouble.fault)
        line(
            f"trouble: {fault.en}: {state.trouble.detail_en}",
            f"故障：{fault.zh}：{state.trouble.detail_zh}",
        )
        if state.trouble.evidence:
            line(f"evidence: {state.trouble.evidence}", f"证据：{state.trouble.evidence}")
    if state.suspended:
        line(
            "suspended: the budget is spent, or a restart does not help (OPS007)",
            "已停止动作：额度用完或重启无效（OPS007）",
        )
    for action in state.actions[-5:]:
        sentence = ACTIONS[action.kind]
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(action.wall))
        line(f"{when} {sentence.en} ({action.outcome})", f"{when} {sentence.zh}（{action.outcome}）")
    if status.trouble:
        line(f"problem: {status.trouble}", f"问题：{status.trouble}")
    return lines
