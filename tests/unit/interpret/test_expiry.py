"""How near the end is, by the certificate's own lifetime: the table of marks, and what moves them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.facts.target import ExpiryRule
from ops.interpret.expiry import DAY, HOUR, Limits, expiry, limits_for, marks_of
from ops.text.duration import Margin, parse_margin


@pytest.mark.parametrize(
    ("lifetime", "due", "warn", "fail"),
    [
        (3650 * DAY, 1216.7 * DAY, 30 * DAY, 30 * DAY),
        (398 * DAY, 132.7 * DAY, 30 * DAY, 30 * DAY),
        (200 * DAY, 66.7 * DAY, 30 * DAY, 20 * DAY),
        (90 * DAY, 30 * DAY, 22.5 * DAY, 9 * DAY),
        (47 * DAY, 15.7 * DAY, 11.75 * DAY, 4.7 * DAY),
        (45 * DAY, 15 * DAY, 11.25 * DAY, 4.5 * DAY),
        (160 * HOUR, 80 * HOUR, 56 * HOUR, 24 * HOUR),
    ],
)
def test_the_marks_follow_the_lifetime(lifetime: float, due: float, warn: float, fail: float) -> None:
    marks = marks_of(lifetime)
    assert marks.due == pytest.approx(due, rel=0.01)
    assert marks.fail == pytest.approx(fail, rel=0.01)
    assert marks.warn == pytest.approx(warn, rel=0.01)


@pytest.mark.parametrize(
    ("lifetime", "time_left", "stage"),
    [
        (90 * DAY, 31 * DAY, "ok"),
        (90 * DAY, 29 * DAY, "due"),
        (90 * DAY, 22 * DAY, "warn"),
        (90 * DAY, 8 * DAY, "fail"),
        (90 * DAY, 23 * HOUR, "page"),
        (90 * DAY, -1, "expired"),
        (90 * DAY, 91 * DAY, "not_yet"),
        (6 * DAY, 80 * HOUR, "ok"),
        (6 * DAY, 70 * HOUR, "due"),
        (6 * DAY, 23 * HOUR, "page"),
        # A day is an ordinary part of a life of two: only its last tenth is the last moment.
        (2 * DAY, 23 * HOUR, "due"),
        (2 * DAY, 12 * HOUR, "warn"),
        (2 * DAY, 7 * HOUR, "fail"),
        (2 * DAY, 4 * HOUR, "page"),
    ],
)
def test_the_stages(lifetime: float, time_left: float, stage: str) -> None:
    assert expiry(1e9, 1e9 + lifetime, 1e9 + lifetime - time_left).stage == stage


def test_renewal_that_fails_again_and_again_is_told_before_time_runs_short() -> None:
    now = 1e9 + 61 * DAY
    assert expiry(1e9, 1e9 + 90 * DAY, now, failed_since_due=1).stage == "due"
    failing = expiry(1e9, 1e9 + 90 * DAY, now, failed_since_due=2)
    assert (failing.stage, failing.severity, failing.failing) == ("warn", "warn", True)


def test_failures_before_renewal_is_due_say_nothing() -> None:
    assert expiry(1e9, 1e9 + 90 * DAY, 1e9 + DAY, failed_since_due=9).stage == "ok"


def test_the_first_rule_that_matches_a_name_counts() -> None:
    rules = (
        ExpiryRule(names=("*.corp.example",), warn=Margin(seconds=60 * DAY)),
        ExpiryRule(names=("*",), fail=Margin(share=0.5)),
    )
    assert limits_for(["A.corp.example"], rules) == Limits(warn=Margin(seconds=60 * DAY))
    assert limits_for(["a.example"], rules) == Limits(fail=Margin(share=0.5))
    assert limits_for(["a.example"], rules[:1]) == Limits()


def test_limits_are_kept_in_order() -> None:
    marks = marks_of(90 * DAY, Limits(warn=Margin(seconds=DAY), fail=Margin(seconds=3 * DAY)))
    assert marks.page <= marks.fail <= marks.warn


@pytest.mark.parametrize("text", ["", "25", "%", "101%", "-5%", "5 %%", "soon"])
def test_what_is_no_margin(text: str) -> None:
    if text == "25":
        assert parse_margin(text) == Margin(seconds=25.0)
    else:
        with pytest.raises(ValueError, match="time left"):
            parse_margin(text)


@given(lifetime=st.floats(60, 20 * 365 * DAY), shares=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_less_time_is_never_judged_milder(lifetime: float, shares: list[float]) -> None:
    order = ["ok", "due", "warn", "fail", "page"]
    more, less = max(shares) * lifetime, min(shares) * lifetime
    stages = [expiry(0.0, lifetime, lifetime - time_left).stage for time_left in (more, less)]
    assert order.index(stages[0]) <= order.index(stages[1])
