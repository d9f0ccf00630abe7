"""What `gte-ops watchdog status` says before a cycle has ended and after the clock was set."""

from __future__ import annotations

import pytest

from ops.report.watchdog import WatchdogStatus, WatchdogStatusReport
from ops.supervision.observation import Clocks
from ops.supervision.state import ServiceState, WatchdogState
from ops.text.language import Language

NOW = 1_795_309_200.0


def _said(language: Language, *, running: bool = False, trouble: str | None = None) -> list[str]:
    status = WatchdogStatus(WatchdogState(), None, running, Clocks(NOW, 900.0, 900.0), trouble)
    return [line.words for line in WatchdogStatusReport(status).lines(language)]


@pytest.mark.parametrize(
    ("language", "never", "first"),
    [
        ("en", "the watchdog has never run", "the watchdog's first cycle has not ended yet"),
        ("zh", "watchdog 从未运行过", "watchdog 的第一次检查还没有结束"),
    ],
)
def test_before_the_first_cycle(language: Language, never: str, first: str) -> None:
    assert _said(language) == [never]
    assert _said(language, running=True) == [first]


def test_a_state_that_cannot_be_read_is_no_watchdog_that_never_ran() -> None:
    assert _said("en", trouble="watchdog.json is torn") == ["problem: watchdog.json is torn"]


@pytest.mark.parametrize("step", [-8 * 3600.0, 0.0, 8 * 86400.0], ids=["back", "not", "forward"])
def test_times_are_told_by_the_clock_as_it_is_set_now(step: float) -> None:
    began, cycle, now = (Clocks(NOW + at, at, at) for at in (0.0, 590.0, 600.0))
    state = WatchdogState(
        clocks=cycle, service_state=ServiceState.HEALTHY, state_since=began.boottime, state_wall=began.wall
    )
    report = WatchdogStatusReport(
        WatchdogStatus(state, None, True, Clocks(now.wall + step, now.monotonic, now.boottime), None)
    )
    assert [line.words for line in report.lines("en")] == [
        "state: healthy for 10m",
        "last cycle: 10s ago; a watchdog is running",
    ]
    document = report.document("en")
    assert (document["since"], document["last_round"]) == (began.wall + step, cycle.wall + step)
