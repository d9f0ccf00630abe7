"""A worker's own account: when it is stuck, and what an event loop's beat says."""

from __future__ import annotations

import pytest

from ops.facts.gunicorn import InFlight, ProgressRecord
from ops.interpret.progress import all_stuck, stuck_for, until_stuck

NOW = 1000.0


def record(*ages: float, silent: float | None = None, beat: float | None = None) -> ProgressRecord:
    return ProgressRecord(
        pid=1,
        start_ticks=1,
        phase="ready",
        completed=3,
        last_completed=None if silent is None else NOW - silent,
        in_flight=tuple(InFlight(path="/", since=NOW - age) for age in ages),
        beat=None if beat is None else NOW - beat,
    )


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (record(31.0), 31.0),
        (record(31.0, silent=1.0), None),
        (record(29.0), None),
        (record(300.0, silent=300.0, beat=0.5), None),
        (record(300.0, silent=300.0, beat=29.0), None),
        (record(1.0, silent=1.0, beat=31.0), 31.0),
        (record(beat=31.0), 31.0),
    ],
)
def test_with_a_beat_only_the_beat_counts(progress: ProgressRecord, expected: float | None) -> None:
    assert stuck_for(progress, NOW, 30.0) == expected
    assert all_stuck([progress], NOW, 30.0) == (expected is not None)


def test_a_beat_is_fresh_for_some_seconds_however_short_the_deadline() -> None:
    assert stuck_for(record(4.9, beat=4.9), NOW, 1.0) is None
    assert stuck_for(record(5.1, beat=5.1), NOW, 1.0) == pytest.approx(5.1)


def test_the_next_look_is_when_something_may_be_stuck() -> None:
    assert until_stuck(record(10.0, 25.0, 40.0), NOW, 30.0) == (20.0, 5.0)
    assert until_stuck(record(10.0, 40.0, beat=10.0), NOW, 30.0) == (20.0,)
    assert until_stuck(record(beat=31.0), NOW, 30.0) == ()
