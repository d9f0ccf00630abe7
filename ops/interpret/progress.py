"""Interpret a worker's progress record by the rules that doctor and watchdog share. Times are Unix seconds.

A request that awaits in an event loop may take any time, so if there is a beat, only the beat counts: while it is
fresh, the worker is not stuck, even with old requests; if it is old, the loop is blocked, and with it every request.
"""

from __future__ import annotations

from collections.abc import Iterable

from ops.facts.gunicorn import ProgressRecord

# A loop beats every second (gte_progress.py), later on a busy machine: a beat of this age (seconds) is not old.
FRESH_BEAT = 5.0


def in_flight_ages(record: ProgressRecord, wall: float, distrust_before: float = 0.0) -> tuple[float, ...]:
    """Return the seconds that each request has been in flight. A stamp from the future, or from before the clock was
    set, counts from ``distrust_before``; a stamp from the future counts from now if that is 0."""
    return tuple(_age(item.since, wall, distrust_before) for item in record.in_flight)


def silence(record: ProgressRecord, wall: float, distrust_before: float, otherwise: float) -> float:
    """Return the seconds since a request last completed; ``otherwise`` if none ever did."""
    if record.last_completed is None:
        return otherwise
    return _age(record.last_completed, wall, distrust_before)


def beat_age(record: ProgressRecord, wall: float, distrust_before: float = 0.0) -> float | None:
    """Return the seconds since the worker's event loop last ran; None if it has no beat."""
    return None if record.beat is None else _age(record.beat, wall, distrust_before)


def blocked_for(
    record: ProgressRecord, wall: float, deadline: float, distrust_before: float = 0.0
) -> float | None:
    """Return the seconds since the worker's event loop last ran, if they exceed ``deadline`` and `FRESH_BEAT`; None
    otherwise, or if there is no event loop."""
    silent = beat_age(record, wall, distrust_before)
    return silent if silent is not None and silent > max(deadline, FRESH_BEAT) else None


def until_stuck(
    record: ProgressRecord, wall: float, deadline: float, distrust_before: float = 0.0
) -> tuple[float, ...]:
    """Return the seconds until each request, or the event loop that serves all of them, will have taken too long."""
    beat = beat_age(record, wall, distrust_before)
    if beat is not None:
        remaining: tuple[float, ...] = (max(deadline, FRESH_BEAT) - beat,)
    else:
        remaining = tuple(deadline - age for age in in_flight_ages(record, wall, distrust_before))
    return tuple(seconds for seconds in remaining if seconds > 0)


def stuck_for(record: ProgressRecord, wall: float, deadline: float) -> float | None:
    """Return how long a worker has been stuck, in seconds; None if its record does not show that it is.

    It is stuck if its event loop is blocked or, without a beat, if its oldest request has been in flight and no
    request has completed for longer than ``deadline``."""
    if record.beat is not None:
        return blocked_for(record, wall, deadline)
    oldest = max(in_flight_ages(record, wall), default=0.0)
    return oldest if min(oldest, silence(record, wall, 0.0, oldest)) > deadline else None


def all_stuck(records: Iterable[ProgressRecord], wall: float, deadline: float) -> bool:
    """Whether there are records, and each is of a stuck worker."""
    verdicts = [stuck_for(record, wall, deadline) is not None for record in records]
    return bool(verdicts) and all(verdicts)


def _age(stamp: float, wall: float, distrust_before: float) -> float:
    if stamp > wall + 1.0:  # written before the clock was set back
        stamp = distrust_before or wall
    return max(0.0, wall - max(stamp, distrust_before))
