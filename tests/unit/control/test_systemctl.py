"""The step through systemd: exactly which commands run, and what becomes of their failure.

There is no systemd here, so a recorder stands for systemctl: it writes down its arguments, and answers as it is told.
"""

from __future__ import annotations

import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ops.collect.logs.journal import JournalRecord
from ops.control.restart import RestartError, Supervisor, find_supervisor, restart, start, stopped_by_hand
from ops.settings import GunicornSettings, ScheduleSettings, Settings

UNIT = Supervisor("gte-api.service", (), None, Path("/nowhere"))


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """systemctl's stand-in; gives the file in which each call is a line."""
    calls = tmp_path / "calls"
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{calls}\n'
        f"[ -e {tmp_path}/hang-$1 ] && exec sleep 60\n"
        f'[ -e {tmp_path}/fail-$1 ] && {{ echo "Unit $2 not found." >&2; exit 5; }}\nexit 0\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return calls


def test_a_failed_unit_is_cleared_and_restarted(recorder: Path) -> None:
    assert start(UNIT) is None
    assert recorder.read_text().splitlines() == ["reset-failed gte-api.service", "restart gte-api.service"]


def test_a_unit_that_was_not_failed_is_restarted_all_the_same(recorder: Path, tmp_path: Path) -> None:
    (tmp_path / "fail-reset-failed").touch()
    assert start(UNIT) is None
    assert recorder.read_text().splitlines()[-1] == "restart gte-api.service"


def test_a_refusal_is_told_in_systemds_words(recorder: Path, tmp_path: Path) -> None:
    (tmp_path / "fail-restart").touch()
    with pytest.raises(
        RestartError, match=r"systemctl restart gte-api\.service: Unit gte-api\.service not found"
    ):
        start(UNIT)
    assert len(recorder.read_text().splitlines()) == 2


def test_one_that_does_not_return_is_given_up(
    recorder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.control.restart.SYSTEMCTL_SECONDS", 0.3)
    (tmp_path / "hang-restart").touch()
    began = time.monotonic()
    with pytest.raises(RestartError, match="timed out"):
        start(UNIT)
    assert time.monotonic() - began < 5
    assert recorder.read_text().splitlines()[-1] == "restart gte-api.service"


@pytest.mark.parametrize(("left", "waited"), [(1.0, 1.0), (-5.0, 0.3)])
def test_a_run_that_has_to_be_over_waits_until_then_and_a_shortest_time_in_any_case(
    recorder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float, waited: float
) -> None:
    """The end of the old processes takes its time from the start's, not from what comes after."""
    monkeypatch.setattr("ops.control.restart.SHORTEST_START", 0.3)
    (tmp_path / "hang-restart").touch()
    unit = replace(UNIT, until=time.monotonic() + left)
    began = time.monotonic()
    with pytest.raises(RestartError, match="timed out"):
        start(unit)
    assert waited - 0.1 <= time.monotonic() - began < waited + 5
    assert recorder.read_text().splitlines()[-1] == "restart gte-api.service"


def test_where_systemctl_is_missing_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RestartError, match="no systemctl"):
        start(UNIT)


def test_nothing_is_asked_of_systemd_while_the_port_is_held(
    recorder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.control.restart.PORT_FREE_WITHIN", 0.1)
    with pytest.raises(RestartError, match="still held"):
        restart(
            UNIT,
            Settings(),
            master=None,
            workers=(),
            reacts=False,
            is_free=lambda: False,
            tell=lambda _: None,
        )
    assert not recorder.exists()


@pytest.mark.parametrize(
    ("boots", "there", "unit"),
    [(True, True, "gte-api.service"), (True, False, None), (False, True, None)],
)
def test_the_unit_is_used_where_systemd_runs_and_the_unit_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boots: bool, there: bool, unit: str | None
) -> None:
    running, units = tmp_path / "system", tmp_path / "units"
    units.mkdir()
    if boots:
        running.mkdir()
    if there:
        (units / "gte-api.service").touch()
    monkeypatch.setattr("ops.control.restart.SYSTEMD_RUNS", running)
    settings = Settings(
        gunicorn=GunicornSettings(unit="gte-api.service", start_command=["/bin/true"]),
        schedule=ScheduleSettings(systemd=(str(units),)),
    )
    service_supervisor = find_supervisor(settings, tmp_path / "o")
    assert service_supervisor is not None
    assert (service_supervisor.unit, service_supervisor.argv) == (unit, () if unit else ("/bin/true",))


DOWN = "LoadState=loaded\nActiveState=inactive\nResult=success\n"
HELD_BACK = (
    "Dependency failed for gte-api.service - GTE inference service (gunicorn).",
    "gte-api.service: Job gte-api.service/start failed with result 'dependency'.",
)


@pytest.mark.parametrize(
    ("printed", "words", "is_by_hand"),
    [
        (f"{DOWN}UnitFileState=enabled\n", ("Started gte-api.service.", "Stopped gte-api.service."), True),
        (f"{DOWN}UnitFileState=enabled\n", HELD_BACK, False),
        (f"{DOWN}UnitFileState=enabled\n", (*HELD_BACK, "Stopped gte-api.service."), True),
        (f"{DOWN}UnitFileState=enabled\n", ("Stopped gte-api.service.", *HELD_BACK), False),
        (f"{DOWN}UnitFileState=disabled\n", HELD_BACK, True),
        (f"{DOWN}UnitFileState=enabled\n", (), True),
        ("LoadState=loaded\nActiveState=deactivating\nUnitFileState=enabled\n", HELD_BACK, True),
        ("LoadState=loaded\nActiveState=failed\nResult=exit-code\nUnitFileState=enabled\n", (), False),
        ("", (), False),
    ],
)
def test_a_start_that_systemd_held_back_for_another_unit_is_nobody_s_will(
    monkeypatch: pytest.MonkeyPatch, printed: str, words: tuple[str, ...], is_by_hand: bool
) -> None:
    records = [JournalRecord(time=0.0, pid=1, priority=6, message=line.encode()) for line in words]
    monkeypatch.setattr("ops.collect.services.units.show_units", lambda *_: printed)
    monkeypatch.setattr("ops.collect.logs.journal.unit_records", lambda *_, **__: (records, True))
    assert stopped_by_hand(UNIT) is is_by_hand


@pytest.mark.parametrize(("minutes", "is_by_hand"), [(1, False), (50, False), (70, True)])
def test_what_somebody_stopped_long_after_another_unit_failed_stays_stopped(
    monkeypatch: pytest.MonkeyPatch, minutes: int, is_by_hand: bool
) -> None:
    """systemd says nothing of the stop of a unit that is down already."""
    told = [JournalRecord(time.time() - 60 * minutes, 1, 6, line.encode()) for line in HELD_BACK]
    monkeypatch.setattr("ops.collect.services.units.show_units", lambda *_: f"{DOWN}UnitFileState=enabled\n")
    monkeypatch.setattr("ops.control.restart.time.clock_gettime", lambda _: 86400.0)
    monkeypatch.setattr(
        "ops.collect.logs.journal.unit_records",
        lambda _, since, **__: ([record for record in told if record.time >= since], True),
    )
    assert stopped_by_hand(UNIT) is is_by_hand
