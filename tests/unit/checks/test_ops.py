"""The safeguards themselves."""

from __future__ import annotations

import pytest

from ops.snapshot import NotSeen, WatchdogState
from tests.unit.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import NOW, but


def state(*, gave_up: bool) -> WatchdogState:
    return WatchdogState(
        path="/var/lib/gte-ops/watchdog.json", last_round=NOW - 5, gave_up=gave_up, actions=3
    )


CASES: list[Case] = [
    fires(
        "OPS007",
        "its state says that it holds still",
        but(watchdog=state(gave_up=True)),
        "after 3 actions",
        severity="warn",
        facts={"restarts": "3"},
    ),
    quiet("OPS007", "it acts", but(watchdog=state(gave_up=False))),
    quiet("OPS007", "no watchdog has ever run", but(watchdog=NotSeen(reason="does not exist"))),
    quiet("OPS007", "its state may not be read", but(watchdog=NotSeen(reason="-", needs_root=True))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)
