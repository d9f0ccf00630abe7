"""What `systemctl show` prints of several units, as systemd 252 prints it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ops.collect.logs.journal import JournalRecord
from ops.collect.services import units as collector
from ops.collect.services.model_access import model_access
from ops.collect.services.units import parse_units, show_units, units
from ops.facts.base import NotSeen
from ops.facts.files import ModelAccess
from ops.facts.units import Unit, UnitEnvironmentFile, Units
from tests.unit.made_snapshot import TARGET

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


RECORD = JournalRecord(time=0.0, pid=1, priority=6, message=b"Started")


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


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Unit]:
    """The service's unit, from what `systemctl show` prints of it."""

    def asked(printed: str) -> Unit:
        monkeypatch.setattr(collector, "SYSTEMD_RUNS", tmp_path)
        monkeypatch.setattr(
            collector, "show_units", lambda *_: f"LoadState=loaded\nActiveState=inactive\n{printed}"
        )
        seen = units("gte-api.service", (None, None), (), 0.0)
        assert isinstance(seen, Units)
        return seen.units[0]

    return asked


def test_a_log_that_the_unit_s_user_may_not_write(ask: Callable[[str], Unit], tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o111)
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o755)
    printed = f"User=nobody\nEnvironment=GTE_ERROR_LOG={logs}/error.log GTE_ACCESS_LOG=-\n"
    own = ask(printed)
    assert (own.log, own.log_error) == (f"{logs}/error.log", f"nobody may not write {logs}")
    (logs / "error.log").write_text("")
    assert ask(printed).log_error == "nobody may not write it"
    (logs / "error.log").chmod(0o666)
    assert ask(printed).log_error == ""
    assert (
        ask(printed.replace(str(logs), f"{tmp_path}/none")).log_error == f"{tmp_path}/none: no such directory"
    )
    (logs / "error.log").unlink()
    logs.chmod(0o777)
    assert ask(printed).log_error == ""


@pytest.mark.parametrize(
    "more", ["User=\n", "DynamicUser=yes\nUser=nobody\n", "User=nobody\nRootDirectory=/srv/image\n"]
)
def test_a_log_whose_writer_is_not_known_here_or_may_do_anything_is_no_fault(
    ask: Callable[[str], Unit], more: str
) -> None:
    assert ask(f"{more}Environment=GTE_ERROR_LOG=/nowhere/error.log\n").log_error == ""


def test_what_systemd_makes_for_the_unit_is_its_user_s_to_write(ask: Callable[[str], Unit]) -> None:
    printed = (
        "User=nobody\nLogsDirectory=gte-not-made\nRuntimeDirectory=a b\n"
        "Environment=GTE_ERROR_LOG=/var/log/gte-not-made/error.log\n"
    )
    own = ask(printed)
    assert own.own_directories == ("/var/log/gte-not-made", "/run/a", "/run/b")
    assert own.log_error == ""
    assert ask(printed.replace("LogsDirectory", "X")).log_error == "/var/log/gte-not-made: no such directory"


def test_without_a_process_the_model_is_read_as_the_unit_s_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    printed = "LoadState=loaded\nUser=nobody\nGroup=\nDynamicUser=no\n"
    monkeypatch.setattr(collector, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(collector, "show_units", lambda *_: printed)
    target = msgspec.structs.replace(
        TARGET, model_dir=str(tmp_path), gunicorn_master=None, gunicorn_workers=()
    )
    access = model_access(target, "gte-api.service")
    assert isinstance(access, ModelAccess)
    assert (access.reader.user, access.reader.pid, access.reader.overrides) == ("nobody", 0, False)
    monkeypatch.setattr(collector, "show_units", lambda *_: NotSeen(reason="systemd did not answer in time"))
    unseen = model_access(target, "gte-api.service")
    assert isinstance(unseen, NotSeen)
    assert not unseen.is_lasting, "there is a unit, perhaps, and systemd did not say"


@pytest.mark.parametrize(
    ("records", "is_whole", "seconds", "references", "unread"),
    [
        ((RECORD,), True, 10.0, ("journalctl -u gte-api.service",), ""),
        ((), True, 10.0, (), ""),
        ((), False, 10.0, (), "the journal of gte-api.service was not read in time"),
        ((RECORD,), True, -1.0, (), "the journal of gte-api.service was not read in time"),
    ],
)
def test_a_journal_that_was_not_read_in_time_is_not_taken_for_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    records: tuple[JournalRecord, ...],
    is_whole: bool,
    seconds: float,
    references: tuple[str, ...],
    unread: str,
) -> None:
    monkeypatch.setattr(collector, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(collector, "show_units", lambda *_: "LoadState=not-found\nActiveState=inactive\n")
    monkeypatch.setattr("ops.collect.logs.journal.unit_records", lambda *_, **__: (list(records), is_whole))
    seen = units("gte-api.service", (None, None), (), time.monotonic() + seconds)
    assert isinstance(seen, Units)
    assert (seen.units[0].references, seen.units[0].unread) == (references, unread)


def test_the_conditions_of_a_unit_s_files_that_are_not_met(
    ask: Callable[[str], Unit], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, drop_in, flag = tmp_path / "gte-api.service", tmp_path / "more.conf", tmp_path / "enabled"
    file.write_text(f"[Unit]\nConditionPathExists={flag}\nConditionACPower=true\n")
    drop_in.write_text(f"[Unit]\nConditionFileNotEmpty={flag}\n")
    printed = f"FragmentPath={file}\nDropInPaths={drop_in}\n"
    assert ask(printed).unmet == (f"ConditionPathExists={flag}", f"ConditionFileNotEmpty={flag}")
    flag.touch()
    assert ask(printed).unmet == (f"ConditionFileNotEmpty={flag}",)
    flag.write_text("1")
    assert ask(printed).unmet == ()
    skipped = f"{printed}ConditionResult=no\nConditionTimestamp=@1796046968\n"
    analyze = tmp_path / "systemd-analyze"
    monkeypatch.setattr(collector, "trusted_program", lambda _: str(analyze))
    for answer, unmet in (("succeeded; exit 0", ()), ("failed; exit 1", ("ConditionACPower=true",))):
        analyze.write_text(
            f'#!/bin/sh\n[ "$2" = ConditionACPower=true ] || exit 9\necho Conditions {answer}\n'
        )
        analyze.chmod(0o755)
        assert ask(skipped).unmet == unmet, "systemd alone knows which of them it was"
    analyze.unlink()
    assert ask(skipped).unmet == (), "nobody says which of them it was"
    never = f"{printed}ConditionResult=no\nConditionTimestamp=\n"
    assert ask(never).unmet == (), "systemd has not tried yet"


@pytest.mark.parametrize(("state", "are_unmet"), [("active", False), ("inactive", True)])
def test_what_a_unit_that_runs_has_made_itself_is_no_condition_that_fails(
    ask: Callable[[str], Unit], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, are_unmet: bool
) -> None:
    file, pidfile = tmp_path / "gte-api.service", tmp_path / "gte.pid"
    pidfile.touch()
    line = f"ConditionPathExists=!{pidfile}"
    file.write_text(f"[Unit]\n{line}\nConditionPathExists={tmp_path}\n")
    ask("")
    printed = f"LoadState=loaded\nActiveState={state}\nFragmentPath={file}\n"
    monkeypatch.setattr(collector, "show_units", lambda *_: printed)
    seen = units("gte-api.service", (None, None), (), 0.0)
    assert isinstance(seen, Units)
    assert seen.units[0].unmet == ((line,) if are_unmet else ())


def test_where_the_unit_s_program_may_not_write(ask: Callable[[str], Unit], tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (tmp_path / "link").symlink_to(logs)
    printed = f"ProtectSystem=strict\nEnvironment=GTE_ERROR_LOG={logs}/error.log GTE_PROGRESS_DIR={tmp_path}/progress\n"
    denied = [
        (place.path, place.setting, place.stops_the_start, place.is_directory)
        for place in ask(printed).unwritable
    ]
    assert denied == [
        (f"{logs}/error.log", "ProtectSystem=strict", True, False),
        (f"{tmp_path}/progress", "ProtectSystem=strict", False, True),
    ]
    for allowed in (logs, tmp_path / "link", f"-{tmp_path}", f"+{logs}"):
        opened = ask(f"{printed}ReadWritePaths={allowed}\n")
        assert f"{logs}/error.log" not in [place.path for place in opened.unwritable]
    through_a_link = printed.replace(f"{logs}/", f"{tmp_path}/link/") + f"ReadWritePaths={logs}\n"
    assert [place.path for place in ask(through_a_link).unwritable] == [f"{tmp_path}/progress"]
    assert ask(f"{printed}RootDirectory=/srv/image\n").unwritable == ()


def test_a_sandbox_s_paths_that_are_not_there(ask: Callable[[str], Unit], tmp_path: Path) -> None:
    gone = f"{tmp_path}/gone"
    assert ask(f"ReadWritePaths={gone} {tmp_path}\n").sandbox.missing == (gone,)
    assert ask(f"BindPaths={gone}:/srv/data:rbind\n").sandbox.missing == (gone,)
    assert ask(f"ReadWritePaths=-{gone}\nInaccessiblePaths=-{gone}\n").sandbox.missing == ()
    assert ask("StateDirectory=gte-not-made\nReadWritePaths=/var/lib/gte-not-made\n").sandbox.missing == ()


def test_a_place_that_a_safeguard_s_unit_may_not_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(collector, "SYSTEMD_RUNS", tmp_path)
    blocks = "LoadState=loaded\nActiveState=inactive\nProtectSystem=strict\n\n" * 20
    monkeypatch.setattr(collector, "show_units", lambda *_: blocks)
    written = {"gte-ops-backup.service": (str(tmp_path),)}
    seen = units("gte-api.service", (None, None), (), 0.0, written)
    assert isinstance(seen, Units)
    assert [(unit.name, place.path) for unit in seen.units for place in unit.unwritable] == [
        ("gte-ops-backup.service", str(tmp_path))
    ]


def test_what_keeps_a_unit_that_is_down_from_being_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def show(names: tuple[str, ...], *_: object) -> str:
        if "data.service" in names:
            states = ("loaded", "failed"), ("not-found", "inactive"), ("loaded", "active")
            return "\n".join(f"LoadState={load}\nActiveState={active}\n" for load, active in states)
        return "LoadState=loaded\nActiveState=inactive\nRequires=data.service system.slice gone.service on.target\n"

    monkeypatch.setattr(collector, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(collector, "show_units", show)
    seen = units("gte-api.service", (None, None), (), 0.0)
    assert isinstance(seen, Units)
    assert [(other.name, other.state) for other in seen.units[0].obstacles] == [
        ("data.service", "failed"),
        ("gone.service", "not-found"),
    ]
