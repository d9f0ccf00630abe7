"""Who is told what, when, and how often: the outbox's rules without any input or output."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.notifications import ledger as rules
from ops.notifications.delivery_result import ACCEPTED, DeliveryOutcome, DeliveryResult
from ops.notifications.ledger import Ledger, add, due, pause, settle
from ops.notifications.message import Message, MessageKind
from ops.text.language import Text, verbatim

NOW = 1_795_300_000.0
FAILED = DeliveryResult(DeliveryOutcome.FAILED, verbatim("HTTP 502"))
REFUSED = DeliveryResult(DeliveryOutcome.REFUSED, verbatim("sign not match"))


def message(key: str = "GUN003", kind: MessageKind = MessageKind.TROUBLE, at: float = NOW) -> Message:
    return Message(key, kind, Text(en=f"{kind} {key}", zh=f"{kind} {key}"), verbatim("body"), at)


def titles(ledger: Ledger, destination: str, now: float) -> list[str]:
    work, _ = due(ledger, ["a", "b"], now)
    return [entry.message.title.en for entry in work.get(destination, [])]


def deliver(ledger: Ledger, destination: str, now: float, verdict: DeliveryResult = ACCEPTED) -> list[str]:
    """Settle everything due at one destination; returns the titles."""
    work, _ = due(ledger, ["a", "b"], now)
    sent_titles = []
    for entry in work.get(destination, []):
        settle(ledger, entry, destination, verdict, now, 0.5)
        sent_titles.append(entry.message.title.en)
        if verdict.outcome == "failed":
            break
    return sent_titles


def test_a_trouble_is_told_once_until_it_ended() -> None:
    ledger = Ledger()
    assert add(ledger, message(), ["a", "b"], NOW) == "queued"
    assert [add(ledger, message(at=NOW + n), ["a", "b"], NOW + n) for n in range(3)] == ["known"] * 3
    assert deliver(ledger, "a", NOW) == ["trouble GUN003"]
    assert add(ledger, message(), ["a", "b"], NOW + 60) == "known"
    assert add(ledger, message(kind=MessageKind.PAGE), ["a", "b"], NOW + 60) == "queued"
    assert add(ledger, message(kind=MessageKind.PAGE), ["a", "b"], NOW + 61) == "known"
    assert add(ledger, message(kind=MessageKind.RECOVERED), ["a", "b"], NOW + 90) == "queued"
    assert add(ledger, message(kind=MessageKind.RECOVERED), ["a", "b"], NOW + 91) == "unheard-of"
    assert add(ledger, message(), ["a", "b"], NOW + 92) == "queued"


def test_a_recovery_takes_the_place_of_a_trouble_that_was_not_told() -> None:
    ledger = Ledger()
    add(ledger, message(), ["a", "b"], NOW)
    deliver(ledger, "a", NOW)
    add(ledger, message(kind=MessageKind.RECOVERED, at=NOW + 50), ["a", "b"], NOW + 50)
    work, _ = due(ledger, ["a", "b"], NOW + 50)
    for name in ("a", "b"):
        assert [entry.message.kind for entry in work[name]] == ["recovered"]
    (entry,) = work["b"]
    assert entry.heard == ["a"]
    assert entry.began is not None
    assert entry.began.title.en == "trouble GUN003"


def test_a_trouble_that_is_being_sent_while_its_recovery_comes_is_not_told_twice() -> None:
    ledger = Ledger()
    add(ledger, message(), ["a", "b"], NOW)
    work, _ = due(ledger, ["a", "b"], NOW)
    add(ledger, message(kind=MessageKind.RECOVERED), ["a", "b"], NOW + 1)
    settle(ledger, work["a"][0], "a", ACCEPTED, NOW + 2, 0.5)
    assert ledger.entries[0].heard == ["a"]


def test_destinations_are_independent_of_one_another() -> None:
    ledger = Ledger()
    add(ledger, message("ONE"), ["a", "b"], NOW)
    add(ledger, message("TWO"), ["a", "b"], NOW)
    assert deliver(ledger, "a", NOW, FAILED) == ["trouble ONE"]
    assert deliver(ledger, "b", NOW) == ["trouble ONE", "trouble TWO"]
    assert titles(ledger, "a", NOW + 1) == []
    assert titles(ledger, "a", NOW + 31) == ["trouble ONE", "trouble TWO"]


def test_pauses_double_up_to_an_hour_and_jitter_only_shortens_them() -> None:
    assert [pause(n, 0.0) for n in (1, 2, 3, 4)] == [30, 60, 120, 240]
    assert pause(1, 1.0) == 15
    assert pause(40, 0.0) == pause(10_000, 0.0) == 3600


def test_the_peers_own_pause_is_kept() -> None:
    ledger = Ledger()
    add(ledger, message(), ["a"], NOW)
    (entry,) = due(ledger, ["a"], NOW)[0]["a"]
    _, retry_at = settle(
        ledger, entry, "a", DeliveryResult(DeliveryOutcome.FAILED, verbatim("429"), 900.0), NOW, 1.0
    )
    assert retry_at == NOW + 900
    assert not due(ledger, ["a"], NOW + 899)[0]
    assert due(ledger, ["a"], NOW + 900)[0]


def test_a_refusal_is_final_and_holds_nothing_up() -> None:
    ledger = Ledger()
    add(ledger, message("ONE"), ["a"], NOW)
    add(ledger, message("TWO"), ["a"], NOW)
    assert deliver(ledger, "a", NOW, REFUSED) == ["trouble ONE", "trouble TWO"]
    assert ledger.entries == []
    assert ledger.routes == {}


def test_attempts_are_bounded() -> None:
    ledger, now, tried = Ledger(), NOW, 0
    add(ledger, message(), ["a"], NOW)
    while due(ledger, ["a"], now)[0]:
        deliver(ledger, "a", now, FAILED)
        tried += 1
        now += 3600
    assert tried <= rules.MAX_ATTEMPTS
    assert ledger.entries == []


def test_what_is_too_old_is_given_up_and_said_so() -> None:
    ledger = Ledger()
    add(ledger, message(), ["a", "b"], NOW)
    deliver(ledger, "a", NOW)
    work, given_up = due(ledger, ["a", "b"], NOW + rules.MAX_AGE_S + 1)
    assert not work
    assert [item.destination for item in given_up] == ["b"]
    assert ledger.entries == []


def test_a_destination_taken_out_of_the_settings_is_forgotten() -> None:
    ledger = Ledger()
    add(ledger, message(), ["a", "b"], NOW)
    deliver(ledger, "b", NOW, FAILED)
    assert due(ledger, ["a"], NOW)[1] == []
    assert list(ledger.entries[0].pending) == ["a"]
    assert ledger.routes == {}


def test_a_clock_that_was_put_back_delays_nothing_for_long() -> None:
    ledger = Ledger()
    add(ledger, message(), ["a"], NOW)
    deliver(ledger, "a", NOW, FAILED)
    assert due(ledger, ["a"], NOW - 30 * 86400)[0]
    for n in range(rules.HOURLY):
        assert add(ledger, message(f"K{n}"), ["a"], NOW - 30 * 86400) == "queued"


def test_a_flood_becomes_one_message() -> None:
    ledger = Ledger()
    added = [add(ledger, message(f"K{n}"), ["a"], NOW + n) for n in range(50)]
    assert added == ["queued"] * rules.HOURLY + ["held-back"] * (50 - rules.HOURLY)
    assert add(ledger, message("P", MessageKind.PAGE), ["a"], NOW + 60) == "queued"
    sent_titles = []
    for minute in range(62):
        sent_titles += deliver(ledger, "a", NOW + 60 * minute)
    assert len(sent_titles) == rules.HOURLY + 2
    assert sent_titles[-1] == "38 more messages were held back"
    assert ledger.held.count == 0


def test_nothing_grows_without_bound() -> None:
    ledger = Ledger()
    for n in range(2000):
        add(ledger, message(f"K{n}", at=NOW + 400 * n), ["a"], NOW + 400 * n)
    assert len(ledger.entries) <= rules.MAX_ENTRIES
    assert len(ledger.opened) <= rules.MAX_OPEN
    assert len(ledger.held.titles) <= rules.MAX_HELD_TITLES
    assert len(msgspec.json.encode(ledger)) < 1 << 20


def test_an_alert_that_began_long_ago_is_told_once_and_so_is_its_end() -> None:
    ledger, day = Ledger(), 24 * 3600.0
    began = NOW - 90 * day
    assert add(ledger, message("old", at=began), ["a"], NOW) == "queued"
    for later in range(1, 61):
        now = NOW + later * day
        assert add(ledger, message("old", at=began), ["a"], now) == "known"
        add(ledger, message(f"other {later}", at=now), ["a"], now)
    now = NOW + 61 * day
    assert "other 1" not in ledger.opened  # nobody has reported it for two months
    assert add(ledger, message("old", MessageKind.RECOVERED, at=now), ["a"], now) == "queued"


def test_of_too_many_troubles_the_one_least_lately_reported_is_forgotten() -> None:
    ledger = Ledger()
    for n in range(rules.MAX_OPEN):
        add(ledger, message(f"K{n}"), ["a"], NOW)
    assert add(ledger, message("K0"), ["a"], NOW + 7200) == "known"
    add(ledger, message("one more"), ["a"], NOW + 7200)
    assert "K0" in ledger.opened
    assert "K1" not in ledger.opened


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "deliver"]),
        st.sampled_from(["K1", "K2"]),
        st.sampled_from(["trouble", "recovered", "page"]),
        st.sampled_from([ACCEPTED, FAILED, REFUSED]),
        st.integers(1, 4000),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_happens_nobody_is_told_the_same_twice(steps: list[Any]) -> None:
    """Of one outage (from a key's first message to its recovery) a destination accepts each kind at most once."""
    ledger, now = Ledger(), NOW
    outage = {"K1": 0, "K2": 0}
    sent_titles = []
    for what, key, kind, verdict, later in steps:
        now += later
        if what == "add":
            number = verbatim(f"{key} {outage[key]} {kind}")
            added = add(ledger, Message(key, kind, number, verbatim(""), now), ["a", "b"], now)
            if kind == "recovered" and added != "unheard-of":
                outage[key] += 1
        else:
            work, _ = due(ledger, ["a", "b"], now)
            for entry in work.get("a", []):
                settle(ledger, entry, "a", verdict, now, 0.5)
                if verdict is FAILED:
                    break
                if verdict is ACCEPTED and entry.message.key in outage:
                    sent_titles.append(entry.message.title.en)
                    if entry.began is not None and "a" not in entry.heard:
                        sent_titles.append(entry.began.title.en)
        ledger = msgspec.json.decode(msgspec.json.encode(ledger), type=Ledger)
    assert len(sent_titles) == len(set(sent_titles))


@pytest.mark.parametrize("kind", ["trouble", "page", "recovered"])
def test_without_destinations_nothing_is_kept(kind: MessageKind) -> None:
    ledger = Ledger()
    assert add(ledger, message(kind=kind), [], NOW) == "no-destination"
    assert ledger == Ledger()
