"""What stands fast before anything is asked, where a collector could not look."""

from __future__ import annotations

import time
from typing import NoReturn

import pytest

from ops.collect import surroundings as collect
from ops.facts.base import NotSeen
from ops.settings import Settings
from tests.unit.made_snapshot import HEALTHY


def test_where_nobody_could_look_for_nginx_it_is_not_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> NoReturn:
        raise RuntimeError("no time")

    monkeypatch.setattr(collect, "_host", lambda: HEALTHY.host)
    monkeypatch.setattr(collect, "_processes", lambda: HEALTHY.processes)
    monkeypatch.setattr(collect, "_nginx", fails)
    around = collect.look_around(Settings(), time.monotonic() + 60)
    assert isinstance(around.config, NotSeen)
    assert around.target.nginx_installed
    monkeypatch.setattr(collect, "_nginx", lambda *_: (NotSeen(reason="no such file"), {}))
    assert not collect.look_around(Settings(), time.monotonic() + 60).target.nginx_installed
