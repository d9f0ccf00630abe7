"""What becomes of the last step, and what the next one waits for."""

from __future__ import annotations

import io
from pathlib import Path

from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings
from ops.supervision.act import Actor, waits_for_the_doctor
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.evidence_capture import EvidenceCapture
from ops.supervision.health import assess
from ops.supervision.state import Action, Pending, WatchdogState
from ops.supervision.state_store import StateStore
from tests.unit.supervision.made_look import BOOT, RULES, exchange, look, memory, record, worker

# No process has this id: the largest is 4194304 (proc(5), pid_max).
GONE = ProcessRef(4194305, 1)


def outcome(tmp_path: Path, *boots: float) -> str:
    """Of the kill of a worker that hung at its boot, where workers have been booting for ``boots`` seconds."""
    proof = EvidenceCapture(Settings(), None, RULES, tmp_path)
    actor = Actor(
        Settings(),
        RULES,
        StateStore(tmp_path / "state"),
        proof,
        WatchdogJournal(io.StringIO()),
        tmp_path,
        resident=True,
    )
    workers = (
        worker(100 + n, record(100 + n, phase="booting", completed=0, silent=None), started=BOOT - seconds)
        for n, seconds in enumerate(boots)
    )
    seen = look(*workers, health=exchange(failure="timeout"))
    known: WatchdogState = memory(
        pending=Pending("kill_worker", at=BOOT - 1, until=BOOT + 299, worker=GONE),
        actions=[Action(at=BOOT - 1, wall=0.0, rung="kill_worker", fault="worker_boot_hung", pid=GONE.pid)],
    )
    return actor.follow_up(assess(seen, known, RULES), seen, known).actions[-1].outcome


def test_a_second_worker_that_hangs_at_its_boot_does_not_wait_for_the_boot_deadline_again(
    tmp_path: Path,
) -> None:
    assert outcome(tmp_path, 400.0) == "next"


def test_a_worker_that_boots_in_place_of_the_killed_one_is_waited_for(tmp_path: Path) -> None:
    assert outcome(tmp_path, 400.0, 1.0) == "begun"


def test_only_the_first_start_of_a_master_that_is_gone_does_not_wait_for_the_doctor() -> None:
    def waits(fault: str, *ago: float) -> bool:
        actions = [
            Action(at=BOOT - seconds, wall=0.0, rung="restart", fault="master_gone") for seconds in ago
        ]
        return waits_for_the_doctor(fault, memory(actions=actions), RULES, BOOT, resident=True)

    assert not waits("master_gone")
    assert not waits("master_gone", RULES.within + 1)
    assert waits("master_gone", 10.0), "it may be futile"
    assert waits("worker_hung"), "the proof is gone with the process"
    assert waits_for_the_doctor("master_gone", memory(), RULES, BOOT, resident=False), "cron has a minute"
    assert not waits("worker_memory")
