"""A read that never ends does not hold up the cycle."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ops.files import time_limit
from ops.files.time_limit import MAX_ABANDONED, BlockedError, within
from ops.settings import Settings
from ops.supervision import observe
from ops.supervision.state import WatchdogState


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What comes only when the test is over."""
    event = threading.Event()
    yield event
    event.set()
    time_limit._abandoned.join(10)


def test_what_ends_in_time_is_returned_or_raised() -> None:
    assert within(10, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(10, lambda: 1 // 0)


def test_what_never_ends_is_given_up_and_not_begun_for_ever(never: threading.Event) -> None:
    begun = []

    def read() -> None:
        begun.append(1)
        never.wait()

    for _ in range(MAX_ABANDONED + 3):
        with pytest.raises(BlockedError):
            within(0.01, read)
    assert len(begun) == MAX_ABANDONED


def test_a_table_of_processes_that_cannot_be_read_is_the_watchdogs_own_trouble(
    never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "TABLE_SECONDS", 0.01)
    monkeypatch.setattr("ops.collect.process.processes.processes", never.wait)
    observation = observe.observe(Settings(), WatchdogState()).observation
    assert observation.own_trouble is not None
    assert "cannot be looked at" in observation.own_trouble.en
