"""A host is drained while another server answers, however many others hang."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ops import drain
from ops.drain import DrainAction, DrainError, DrainResult
from ops.facts.probes import Exchange
from tests.unit.made_snapshot import exchange, timed_out

HANGING = ("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80")
SERVING = "192.0.2.4:80"
AROUND: Any = None
SETTINGS: Any = None


def planned(*serving: str) -> DrainResult:
    return DrainResult(DrainAction.DRAIN, "198.51.100.9:80", "/x", False, False, "", "", serving)


@pytest.mark.parametrize("serving", [(*HANGING, SERVING), (SERVING, *HANGING)])
def test_servers_that_hang_do_not_make_one_that_serves_silent(
    monkeypatch: pytest.MonkeyPatch, serving: tuple[str, ...]
) -> None:
    # Passed only if all of them are asked before any has answered.
    together = threading.Barrier(len(serving), timeout=10)
    released = threading.Event()

    def asked(address: str, *_: object) -> Exchange:
        together.wait()
        if address != SERVING:
            released.wait(10)
            return timed_out()
        return exchange(200)

    monkeypatch.setattr(drain, "_asked", asked)
    try:
        drain._refuse_last(planned(*serving), SETTINGS, AROUND)
        assert not released.is_set()
    finally:
        released.set()


def test_every_server_of_many_is_asked_before_none_is_said_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"192.0.2.{number}:80" for number in range(3 * drain.MAX_AT_ONCE)]
    asked: list[str] = []

    def silent(address: str, *_: object) -> Exchange:
        asked.append(address)
        return timed_out() if address != many[1] else exchange(503)

    monkeypatch.setattr(drain, "_asked", silent)
    with pytest.raises(DrainError) as raised:
        drain._refuse_last(planned(*many), SETTINGS, AROUND)
    assert sorted(asked) == sorted(many)
    places = [raised.value.words.en.index(f"{address}: ") for address in many]
    assert places == sorted(places)
    assert f"{many[1]}: HTTP 503" in raised.value.words.en
