"""Several sources merged into one account: in order, each thing once, and when requests failed."""

from __future__ import annotations

import random

import pytest

from ops.facts.timeline import EventKind, MinuteTraffic, TimelineEvent
from ops.interpret.timeline import MAX_EVENTS, buckets, failures, merged
from ops.text.language import verbatim

START = 1_795_309_200.0  # a whole minute


def event(
    at: float, kind: EventKind = EventKind.ERROR, words: str = "x", source: str = "log"
) -> TimelineEvent:
    return TimelineEvent(time=START + at, kind=kind, source=source, words=verbatim(words))


def minute(number: int, succeeded: int = 10, failed: int = 0, left: int = 0) -> MinuteTraffic:
    return MinuteTraffic(time=START + 60 * number, succeeded=succeeded, failed=failed, left=left)


def account(*events: TimelineEvent) -> list[tuple[float, str, int]]:
    timeline = merged(events, (), START, START + 3600, 0)
    return [(one.time - START, one.words.en, one.count) for one in timeline.events]


def test_events_stand_in_order_and_only_those_of_the_window() -> None:
    events = [
        event(30, words="b"),
        event(10, words="a"),
        event(-5, words="before"),
        event(4000, words="after"),
    ]
    random.Random(1).shuffle(events)
    assert account(*events) == [(10, "a", 1), (30, "b", 1)]


def test_what_two_sources_tell_is_one_event() -> None:
    assert account(event(10, words="nginx reloads"), event(11, words="nginx reloads", source="journal")) == [
        (10, "nginx reloads", 1)
    ]


def test_alike_events_that_follow_one_another_are_counted() -> None:
    assert account(*[event(10 + 20 * number) for number in range(4)], event(500)) == [
        (10, "x", 4),
        (500, "x", 1),
    ]


def test_the_cause_stands_before_what_follows_in_the_same_second() -> None:
    events = (event(10, EventKind.ERROR, "refused"), event(10, EventKind.CHANGE, "changed"))
    assert [words for _, words, _ in account(*events)] == ["changed", "refused"]


def test_too_many_events_leave_out_the_least_telling_and_say_how_many() -> None:
    many = [event(number, EventKind.ROTATION, f"{number}") for number in range(MAX_EVENTS)]
    timeline = merged(
        [*many, event(3599, EventKind.DEPLOYMENT, "d"), event(0, EventKind.KILL, "k")],
        (),
        START,
        START + 3600,
        0,
    )
    assert (len(timeline.events), timeline.omitted) == (MAX_EVENTS, 2)
    assert {EventKind.DEPLOYMENT, EventKind.KILL} <= {one.kind for one in timeline.events}


@pytest.mark.parametrize(
    ("minutes", "told"),
    [
        ([minute(0), minute(1)], []),
        (
            [minute(0), minute(1, 0, 3), minute(2, 0, 3), *[minute(n) for n in range(3, 8)]],
            [(60, 180), (180, None)],
        ),
        ([minute(0), minute(1, 0, 3)], [(60, 120)]),
        ([minute(0, 1000, 1), minute(1)], []),
        ([minute(0, 100, 4), minute(1)], []),
        ([minute(0, 10, 2), minute(1)], [(0, 60)]),
        ([minute(0, 10, 0, 2)], [(0, 60)]),
        (
            [minute(0, 0, 2), minute(1), minute(2, 0, 2), *[minute(n) for n in range(3, 7)]],
            [(0, 180), (180, None)],
        ),
    ],
    ids=[
        "all succeed",
        "an outage and its end",
        "an outage that lasts",
        "one failure among a thousand",
        "a share too small",
        "a share",
        "clients that give up",
        "a moment's success does not end it",
    ],
)
def test_when_requests_begin_and_cease_to_fail(
    minutes: list[MinuteTraffic], told: list[tuple[float, float | None]]
) -> None:
    events = list(failures(minutes))
    assert [(one.time - START, one.until and one.until - START) for one in events] == told


def test_the_failures_are_counted_with_all_requests_since() -> None:
    (begin, _) = failures([minute(0), minute(1, 0, 3), minute(2, 5, 5), *[minute(n, 1) for n in range(3, 6)]])
    assert begin.words.en == "requests begin to fail: 8 of 13 from here on"


@pytest.mark.parametrize("most", [1, 7, 24, 120])
def test_no_request_is_lost_in_the_rows(most: int) -> None:
    minutes = [minute(number, number % 5, number % 3, number % 2) for number in range(120)]
    rows = buckets(minutes, START + 17, START + 7200 - 1, most)
    assert len(rows) <= most
    assert sum(row.total for row in rows) == sum(one.total for one in minutes)
    assert all((row.time - START) % 60 == 0 for row in rows)
