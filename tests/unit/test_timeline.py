"""The timeline of a host that was examined."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from ops.diagnosis.engine import diagnose
from ops.doctor import Examination
from ops.facts.base import NotSeen
from ops.report.timeline import TimelineReport
from ops.settings import Settings
from ops.timeline import timeline_of
from tests.unit.made_snapshot import HEALTHY


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_times_are_those_that_the_host_showed_then() -> None:
    """In November the clocks of New York are at -05:00, on 20 October they were at -04:00."""
    until = datetime(2025, 10, 20, 16, 0, tzinfo=UTC).timestamp()
    snapshot = replace(HEALTHY, target=NotSeen(reason="x"), units=NotSeen(reason="x"))
    timeline = timeline_of(Examination(snapshot, diagnose(snapshot, ())), Settings(), until - 3600, until)
    assert (
        TimelineReport(timeline).headline("en").startswith("2025-10-20 11:00 to 2025-10-20 12:00 (UTC-0400)")
    )
