"""A unit's conditions: which of them keep systemd from starting it (systemd.unit(5))."""

from __future__ import annotations

import pytest

from ops.interpret.unit_conditions import condition_lines, unmet_conditions

THERE = {"/there": True, "/gone": False}


def holds(test: str, value: str) -> bool | None:
    return THERE.get(value) if test == "PathExists" else None


@pytest.mark.parametrize(
    ("lines", "unmet"),
    [
        (("ConditionPathExists=/there",), ()),
        (("ConditionPathExists=/gone",), ("ConditionPathExists=/gone",)),
        (("AssertPathExists=/gone",), ("AssertPathExists=/gone",)),
        (("ConditionPathExists=!/gone",), ()),
        (("ConditionPathExists=!/there",), ("ConditionPathExists=!/there",)),
        (("ConditionPathExists=|/gone", "ConditionPathExists=|/there"), ()),
        (("ConditionPathExists=|/gone", "ConditionPathExists=|!/there"),) * 2,
        (("ConditionPathExists=|/gone", "ConditionACPower=|true"), ()),
        (("ConditionPathExists=/gone/%i", "ConditionVirtualization=container"), ()),
    ],
)
def test_what_is_not_met(lines: tuple[str, ...], unmet: tuple[str, ...]) -> None:
    assert unmet_conditions(lines, holds) == unmet


def test_the_lines_of_a_unit_and_its_drop_ins() -> None:
    fragment = "[Unit]\nConditionPathExists=/a\nAssertPathExists = /b\n[Service]\nConditionPathExists=/no\n"
    assert condition_lines((fragment,)) == ("ConditionPathExists=/a", "AssertPathExists=/b")
    taken_back = "[Unit]\nConditionPathExists=\nConditionUser=root\n"
    assert condition_lines((fragment, taken_back)) == ("AssertPathExists=/b", "ConditionUser=root")
