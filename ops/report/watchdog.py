"""`gte-ops watchdog status`: what the state file tells, for a person or a program."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ops.settings import Settings
from ops.supervision.alerts import fault_name
from ops.supervision.sentences import RUNGS, STATES
from ops.supervision.state import WatchdogState
from ops.supervision.state_store import Pause, StateStore, clocks, is_locked
from ops.text.duration import age
from ops.text.language import Language, Text

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


def document(status: Status) -> dict[str, Any]:
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


def render(form: str, status: Status, language: Language, out: TextIO) -> None:
    """Write the status as ``text`` or ``json``, one document."""
    from ops.report.json_document import write_document
    from ops.report.sentences import showable

    if form == "json":
        write_document(document(status), out)
        return
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
    for text in lines:
        out.write(showable(text.to(language), out) + "\n")
