"""What an upgrade asks of systemd before it changes anything, and how it keeps the watchdog at rest."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ops.repair import watchdog_hold
from ops.repair.watchdog_hold import BY_UPGRADE, PAUSE_SECONDS, NotHeldError
from ops.settings import Settings, WatchdogSettings
from ops.supervision.state_store import Lock, Pause, StateStore, is_locked
from ops.upgrade.run import UpgradeError
from ops.upgrade.service import RunningService
from tests.lab.waiting import wait_for


def service(
    pidfile_of_the_unit: str, *, has_systemd: bool = True, settings: Settings | None = None
) -> RunningService:
    host = SimpleNamespace(has_systemd=has_systemd, property=lambda _unit, _name: pidfile_of_the_unit)
    deployment = SimpleNamespace(unit="gte-api.service", gunicorn_pidfile="/run/gte-api/gunicorn.pid")
    made: Any = RunningService(
        settings or Settings(), cast(Any, deployment), cast(Any, None), cast(Any, host), 1.0
    )
    return cast(RunningService, made)


@pytest.mark.parametrize("pidfile", ["", "/run/other.pid"])
def test_a_unit_that_would_end_with_the_old_master_is_refused_before_anything_is_changed(
    pidfile: str,
) -> None:
    with pytest.raises(UpgradeError) as refused:
        service(pidfile).check_handover()
    assert "PIDFile=/run/gte-api/gunicorn.pid" in refused.value.words.en
    assert "gte-ops install" in refused.value.words.zh


def test_a_unit_whose_pidfile_is_gunicorn_s_hands_over() -> None:
    service("/run/gte-api/gunicorn.pid").check_handover()
    service("", has_systemd=False).check_handover()


def beside_a_watchdog(directory: Path) -> tuple[RunningService, StateStore]:
    """A service, and the state of its watchdog."""
    path = directory / "watchdog.json"
    settings = Settings(watchdog=WatchdogSettings(state_file=str(path), interval=1.0))  # type: ignore[arg-type]
    return service("", settings=settings), StateStore(path)


def remaining(store: StateStore) -> float:
    """Seconds until the pause ends; 0 without one."""
    pause = store.paused(time.time())
    return pause.until - time.time() if pause is not None else 0.0


@pytest.mark.parametrize("seconds", [1.0, 2 * PAUSE_SECONDS])
def test_a_person_s_pause_lasts_as_long_as_the_upgrade_and_is_put_back(
    tmp_path: Path, seconds: float
) -> None:
    running, store = beside_a_watchdog(tmp_path)
    theirs = Pause(until=time.time() + seconds, since=time.time(), by="mei")
    store.pause(theirs)
    with running.hold(), running.hold():
        assert remaining(store) > PAUSE_SECONDS / 2
    present = store.paused(time.time())
    assert present == theirs or (seconds == 1.0 and present is None)


def test_a_pause_is_renewed_while_the_upgrade_runs_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, store = beside_a_watchdog(tmp_path)
    monkeypatch.setattr(watchdog_hold, "RENEW_SECONDS", 0.02)
    with running.hold():
        first = store.paused(time.time())
        assert first is not None
        assert first.by == BY_UPGRADE
        store.resume()
        wait_for(lambda: remaining(store) > 0, "another pause", within=20.0)
        assert not is_locked(store.path)  # the watchdog that the upgrade restarts must come up
    assert store.paused(time.time()) is None


def test_beside_a_watchdog_that_stays_busy_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, store = beside_a_watchdog(tmp_path)
    monkeypatch.setattr(watchdog_hold, "CYCLE_SECONDS", -0.9)
    with Lock(store.path), pytest.raises(NotHeldError, match=r"busy.*systemctl stop"), running.hold():
        raise AssertionError("the body ran")
    assert store.paused(time.time()) is None


def test_beside_a_watchdog_that_cannot_be_paused_nothing_is_done_and_without_one_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, store = beside_a_watchdog(tmp_path)

    def refuse(_store: StateStore, _pause: Pause) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(StateStore, "pause", refuse)
    with Lock(store.path), pytest.raises(NotHeldError, match="Read-only"), running.hold():
        raise AssertionError("the body ran")
    with running.hold():
        assert is_locked(store.path)
    assert not is_locked(store.path)
