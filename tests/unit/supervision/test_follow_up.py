"""What becomes of the last step, and what the next one waits for."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest

from ops.facts.probe_failure import ProbeFailure
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings, WatchdogSettings
from ops.supervision.act import Actor, waits_for_the_doctor
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.evidence_capture import EvidenceCapture
from ops.supervision.follow_up import outcome_of
from ops.supervision.health.assess import assess
from ops.supervision.observation import RunState
from ops.supervision.state import ActionKind, ActionOutcome, ActionRecord, Fault, Pending
from ops.supervision.state_store import StateStore
from tests.unit.supervision.made_observation import (
    BOOT,
    RULES,
    exchange,
    made_observation,
    made_state,
    record,
    worker,
)

# No process has this id: the largest is 4194304 (proc(5), pid_max).
GONE = ProcessRef(4194305, 1)


def outcome(tmp_path: Path, *boots: float) -> str:
    """Of the kill of a worker that hung at its boot, where workers have been booting for ``boots`` seconds."""
    settings = Settings(watchdog=WatchdogSettings(state_file=str(tmp_path / "watchdog.json")))
    evidence = EvidenceCapture(settings, None, RULES)
    actor = Actor(
        settings,
        RULES,
        StateStore(tmp_path / "state"),
        evidence,
        WatchdogJournal(io.StringIO()),
        tmp_path,
        resident=True,
    )
    workers = (
        worker(100 + n, record(100 + n, phase="booting", completed=0, silent=None), started=BOOT - seconds)
        for n, seconds in enumerate(boots)
    )
    observation = made_observation(*workers, health=exchange(failure=ProbeFailure.TIMEOUT))
    state = made_state(
        pending=Pending(ActionKind.KILL_WORKER, at=BOOT - 1, until=BOOT + 299, worker=GONE),
        actions=(
            ActionRecord(
                at=BOOT - 1,
                wall=0.0,
                kind=ActionKind.KILL_WORKER,
                fault=Fault.WORKER_BOOT_HUNG,
                pid=GONE.pid,
            ),
        ),
    )
    return actor.follow_up(assess(observation, state, RULES), observation, state).actions[-1].outcome


def test_a_second_worker_that_hangs_at_its_boot_does_not_wait_for_the_boot_deadline_again(
    tmp_path: Path,
) -> None:
    assert outcome(tmp_path, 400.0) == "next"


def test_a_worker_that_boots_in_place_of_the_killed_one_is_waited_for(tmp_path: Path) -> None:
    assert outcome(tmp_path, 400.0, 1.0) == "begun"


def test_only_the_first_start_of_a_master_that_is_gone_does_not_wait_for_the_doctor() -> None:
    def waits(fault: Fault, *ago: float) -> bool:
        actions = tuple(
            ActionRecord(at=BOOT - seconds, wall=0.0, kind=ActionKind.RESTART, fault=Fault.MASTER_GONE)
            for seconds in ago
        )
        return waits_for_the_doctor(fault, made_state(actions=actions), RULES, BOOT, resident=True)

    assert not waits(Fault.MASTER_GONE)
    assert not waits(Fault.MASTER_GONE, RULES.within + 1)
    assert waits(Fault.MASTER_GONE, 10.0), "it may be unfixable"
    assert waits(Fault.WORKER_HUNG), "the evidence is gone with the process"
    assert waits_for_the_doctor(Fault.MASTER_GONE, made_state(), RULES, BOOT, resident=False), (
        "cron has a minute"
    )
    assert not waits(Fault.WORKER_LEAKING)


def test_a_start_whose_command_has_ended_is_not_waited_for() -> None:
    pending = Pending(ActionKind.RESTART, at=BOOT - 1, until=BOOT + 299)
    nothing = msgspec.structs.replace(
        made_observation(health=exchange(failure=ProbeFailure.REFUSED)), master=None
    )
    found = assess(nothing, made_state(), RULES)
    assert outcome_of(pending, found, nothing, gone=True, ended=True) == ActionOutcome.FAILED
    assert outcome_of(pending, found, nothing, gone=True) is None


@pytest.mark.parametrize(
    ("kind", "started", "expected"),
    [
        (ActionKind.RESTART, BOOT - 1, ActionOutcome.NEXT),
        # Of the restart's own: it is still being ended.
        (ActionKind.RESTART, BOOT - 900, None),
        (ActionKind.KILL_WORKER, BOOT - 900, ActionOutcome.NEXT),
        (ActionKind.CONTINUE_MASTER, BOOT - 900, None),
    ],
)
def test_what_somebody_stops_while_it_starts_is_not_waited_for_until_the_boot_deadline(
    kind: ActionKind, started: float, expected: ActionOutcome | None
) -> None:
    seen = made_observation(health=exchange(failure=ProbeFailure.TIMEOUT))
    assert seen.master is not None
    master = msgspec.structs.replace(seen.master, state=RunState.STOPPED, started=started)
    stopped = msgspec.structs.replace(seen, master=master)
    found = assess(stopped, made_state(failures=RULES.failures), RULES)
    assert (found.fault, found.confirmed) == (Fault.MASTER_STOPPED, True)
    pending = Pending(kind, at=BOOT - 2, until=BOOT + 299)
    assert outcome_of(pending, found, stopped, gone=True) == expected
