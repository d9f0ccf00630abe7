"""A healthy observation of a service with two workers, to be varied one fact at a time."""

from __future__ import annotations

from typing import Any

import msgspec

from ops.facts.base import NotSeen
from ops.facts.gunicorn import InFlight, ProgressRecord
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Exchange
from ops.supervision.observation import Clocks, Observation, ProcessState, RunState, Worker
from ops.supervision.rules import Rules
from ops.supervision.state import WatchdogState, WorkerState

WALL, BOOT = 1_800_000_000.0, 50_000.0
RULES = Rules(request_deadline=120.0, boot_deadline=300.0, interval=15.0, failures=3, budget=3, within=1800.0)


def moment(later: float = 0.0) -> Clocks:
    """The moment of the observation, or ``later`` seconds after it."""
    return Clocks(wall=WALL + later, monotonic=BOOT + later, boottime=BOOT + later)


def exchange(status: int | None = 200, *, failure: ProbeFailure | None = None, body: str = "") -> Exchange:
    """An answer to a probe, or its failure."""
    return Exchange(
        method="GET",
        url="http://localhost/health",
        address="127.0.0.1:8000",
        failure=failure,
        status=status if failure is None else None,
        body=body,
    )


def record(
    pid: int,
    *,
    ages: tuple[float, ...] = (),
    silent: float | None = 1.0,
    phase: str = "ready",
    completed: int = 7,
    beat: float | None = None,
) -> ProgressRecord:
    """One progress record: requests in flight for ``ages`` seconds, the last completion ``silent`` seconds ago, the
    last beat of its event loop ``beat`` seconds ago."""
    return ProgressRecord(
        pid=pid,
        start_ticks=pid * 10,
        phase=phase,
        completed=completed,
        last_completed=None if silent is None else WALL - silent,
        in_flight=tuple(InFlight(path="/predict", since=WALL - age) for age in ages),
        beat=None if beat is None else WALL - beat,
    )


def worker(pid: int, made: ProgressRecord | None, **changes: Any) -> Worker:
    """One worker that has run for an hour."""
    facts: dict[str, Any] = {
        "pid": pid, "start_ticks": pid * 10, "state": RunState.SLEEPING, "cpu": 9.0,
        "started": BOOT - 3600, "record": made,
    }  # fmt: skip
    return Worker(**(facts | changes))


def made_observation(*workers: Worker, **changes: Any) -> Observation:
    """An observation of a healthy service with these workers, by default two idle ones."""
    facts: dict[str, Any] = {
        "clocks": moment(),
        "backend": "127.0.0.1:8000",
        "master": ProcessState(
            pid=100, start_ticks=1000, state=RunState.SLEEPING, cpu=1.0, started=BOOT - 7200
        ),
        "workers": workers or (worker(101, record(101)), worker(102, record(102))),
        "has_records": True,
        "health": exchange(),
        "ready": exchange(),
    }
    return Observation(**(facts | changes))


def made_state(
    *stuck: int, same: bool | None = True, share: float | None = 0.0, **changes: Any
) -> WatchdogState:
    """The state if the workers ``stuck`` have flat CPU and unchanged stacks."""
    known = {
        str(pid): WorkerState(start_ticks=pid * 10, cpu=9.0, cpu_at=BOOT - 15, share=share, same_stacks=same)
        for pid in stuck
    }
    facts: dict[str, Any] = {"boot_id": "b", "clocks": moment(), "workers": known, "last_answer": BOOT}
    return msgspec.structs.replace(WatchdogState(), **(facts | changes))


UNSEEN = NotSeen(reason="not observed")
