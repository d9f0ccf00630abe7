"""What `systemctl show` prints of several units, as systemd 252 prints it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.collect.services import units as collector
from ops.collect.services.units import parse_units, show_units, units
from ops.facts.base import NotSeen
from ops.facts.units import Unit, UnitEnvironmentFile, Units

PRINTED = """\
Type=notify
Restart=always
MainPID=75
Result=exit-code
NRestarts=7
ExecMainCode=1
ExecMainStatus=203
ExecStart={ path=/opt/gte-api/venv/bin/gunicorn ; argv[]=/opt/gte-api/venv/bin/gunicorn --secret x ; ignore_errors=no }
MemoryMax=94371840
MemoryLimit=infinity
Environment=GTE_BIND=127.0.0.1:8000 "GTE_API_KEY=a b" GTE_PIDFILE=/run/gte-api/gunicorn.pid
EnvironmentFiles=/etc/gte-api/environment (ignore_errors=yes)
EnvironmentFiles=/etc/gte-api/more (ignore_errors=no)
LimitNOFILE=65536
WorkingDirectory=!/opt/gte-api
User=gte-api
DynamicUser=no
PrivateTmp=yes
Id=gte-api.service
LoadState=loaded
ActiveState=activating
SubState=auto-restart
DropInPaths=/etc/systemd/system/gte-api.service.d/a.conf /etc/systemd/system/gte-api.service.d/b.conf
UnitFileState=enabled
StateChangeTimestamp=@1796046968
NeedDaemonReload=yes

Result=success
Id=gte-ops-backup.timer
Triggers=gte-ops-backup.service
LoadState=loaded
ActiveState=active
SubState=waiting
UnitFileState=enabled

Restart=no
Id=nope.service
LoadState=not-found
ActiveState=inactive
LoadError=org.freedesktop.systemd1.NoSuchUnit "Unit nope.service not found."
MemoryMax=infinity
LimitNOFILE=infinity
"""


def parsed() -> tuple[Unit, ...]:
    return tuple(parse_units(PRINTED, ("gte-api.service", "gte-ops-backup.timer", "nope.service")))


def test_a_service() -> None:
    unit = parsed()[0]
    assert (unit.load, unit.active, unit.sub, unit.result) == (
        "loaded",
        "activating",
        "auto-restart",
        "exit-code",
    )
    assert (unit.status, unit.signal, unit.restarts, unit.main_pid) == (203, None, 7, 75)
    assert (unit.program, unit.directory, unit.user) == (
        "/opt/gte-api/venv/bin/gunicorn",
        "/opt/gte-api",
        "gte-api",
    )
    assert (unit.memory_max, unit.open_files) == (94371840, 65536)
    assert unit.needs_reload
    assert unit.private_tmp
    assert unit.changed == 1796046968.0
    assert len(unit.drop_ins) == 2
    assert unit.environment_files == (
        UnitEnvironmentFile("/etc/gte-api/environment", is_optional=True),
        UnitEnvironmentFile("/etc/gte-api/more"),
    )


def test_only_the_values_of_places_are_kept() -> None:
    environment = parsed()[0].environment
    assert environment["GTE_BIND"] == "127.0.0.1:8000"
    assert environment["GTE_PIDFILE"] == "/run/gte-api/gunicorn.pid"
    assert environment["GTE_API_KEY"] == ""
    assert "secret" not in str(parsed())


def test_a_timer_and_a_unit_that_is_not_there() -> None:
    _, timer, missing = parsed()
    assert timer.triggers == ("gte-ops-backup.service",)
    assert (missing.load, missing.load_error) == ("not-found", "Unit nope.service not found.")
    assert (missing.memory_max, missing.open_files) == (None, None)


def test_without_systemd_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(collector, "SYSTEMD_RUNS", tmp_path / "none")
    monkeypatch.setattr(collector, "show_units", lambda *_: pytest.fail("systemd was asked"))
    assert units("gte-api.service", (None, None), (), 0.0) == Units(units=())


def test_a_name_that_is_an_option_is_not_passed_on() -> None:
    assert isinstance(show_units(("--version",), ("Id",), 1.0), NotSeen)
