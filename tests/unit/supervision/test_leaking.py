"""A leaking worker: replaced in an orderly way if memory is about to run out, and only then."""

from __future__ import annotations

from ops.supervision.escalation import Capabilities, decide
from ops.supervision.health.assess import assess
from ops.supervision.health.assessment import Assessment
from ops.supervision.observation import Room
from ops.supervision.state import ActionKind, WorkerState
from tests.unit.supervision.made_observation import BOOT, RULES, made_observation, made_state, record, worker

GIB = 1 << 30
MIB = 1 << 20


def assessed(
    *,
    available: int = 20 * MIB,
    total: int = GIB,
    resident: int = 800 * MIB,
    least: int = 100 * MIB,
    growing: bool = True,
    failures: int = 3,
) -> Assessment:
    """The assessment if worker 101 has grown from ``least`` to ``resident``, and ``available`` bytes are left."""
    workers = {
        "101": WorkerState(
            start_ticks=1010, cpu=9, cpu_at=BOOT, least=least, growing=growing, resident=resident
        ),
        "102": WorkerState(start_ticks=1020, cpu=9, cpu_at=BOOT, least=100 * MIB, resident=100 * MIB),
    }
    observation = made_observation(
        worker(101, record(101), resident=resident),
        worker(102, record(102), resident=100 * MIB),
        room=Room(available, total),
    )
    return assess(observation, made_state(workers=workers, failures=failures), RULES)


def test_it_is_named_and_asked_to_end_once_that_is_sure() -> None:
    assert (assessed().fault, assessed().confirmed) == ("worker_memory", True)
    assert not assessed(failures=2).confirmed
    assessment = assessed()
    step = decide(
        assessment,
        made_state(failures=3),
        RULES,
        Capabilities(restart=True, reload=True),
        BOOT,
        paused=False,
        jitter=0.0,
    )
    assert step.action == ActionKind.TERMINATE_WORKER
    assert step.worker is not None
    assert step.worker.process.pid == 101
    assert "100 to 800 MiB" in assessment.detail.en


def test_what_would_not_help_or_is_not_proven_is_left_to_the_doctor() -> None:
    assert assessed(available=200 * MIB).state == "healthy", "there is room"
    assert assessed(growing=False).state == "healthy", "it is large, and does not grow"
    assert assessed(least=500 * MIB).state == "healthy", "it has not doubled: large by configuration"
    assert assessed(least=0).state == "healthy", "its beginning was not seen"
    assert assessed(resident=60 * MIB, least=20 * MIB).state == "healthy", (
        "replacing it would not free enough"
    )


def test_a_large_host_is_not_short_of_memory_at_a_share_that_is_gigabytes() -> None:
    assert assessed(available=GIB, total=64 * GIB, resident=40 * GIB).state == "healthy"
    assert assessed(available=400 * MIB, total=64 * GIB, resident=40 * GIB).fault == "worker_memory"
