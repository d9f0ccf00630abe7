"""What a worker's own account tells: the rules that the doctor and the watchdog share. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Iterable

from ops.facts.gunicorn import ProgressRecord


def in_flight_ages(record: ProgressRecord, wall: float, distrust_before: float = 0.0) -> tuple[float, ...]:
    """How long each request has been in flight, seconds. A stamp from the future, or from before the clock was set,
    counts from the moment it can be trusted."""
    return tuple(_age(item.since, wall, distrust_before) for item in record.in_flight)


def silence(record: ProgressRecord, wall: float, distrust_before: float, otherwise: float) -> float:
    """For how long nothing completed, seconds; ``otherwise`` where nothing ever did."""
    if record.last_completed is None:
        return otherwise
    return _age(record.last_completed, wall, distrust_before)


def stuck_for(record: ProgressRecord, wall: float, deadline: float) -> float | None:
    """For how long its oldest request has been in flight, where that is longer than ``deadline`` and nothing completed
    for as long; None where the worker is not stuck by its own account."""
    oldest = max(in_flight_ages(record, wall), default=0.0)
    return oldest if min(oldest, silence(record, wall, 0.0, oldest)) > deadline else None


def all_stuck(records: Iterable[ProgressRecord], wall: float, deadline: float) -> bool:
    """Whether there are records, and every one is of a stuck worker."""
    verdicts = [stuck_for(record, wall, deadline) is not None for record in records]
    return bool(verdicts) and all(verdicts)


def _age(stamp: float, wall: float, distrust_before: float) -> float:
    if stamp > wall + 1.0:  # written before the clock was set back
        stamp = distrust_before or wall
    return max(0.0, wall - max(stamp, distrust_before))
