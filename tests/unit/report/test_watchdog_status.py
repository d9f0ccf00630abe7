"""What `gte-ops watchdog status` says before a cycle has ended, in both languages."""

from __future__ import annotations

import pytest

from ops.report.watchdog import WatchdogStatus, WatchdogStatusReport
from ops.supervision.state import WatchdogState
from ops.text.language import Language


def _said(language: Language, *, running: bool = False, trouble: str | None = None) -> list[str]:
    status = WatchdogStatus(WatchdogState(), None, running, 1_795_309_200.0, trouble)
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
