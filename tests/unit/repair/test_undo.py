"""Every remedy says how it is undone, and for each there is a test of that: the table is complete, or this fails."""

from __future__ import annotations

import importlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, get_args

import psutil
import pytest

from ops.interpret.process_ref import ProcessRef
from ops.repair.apply.files import apply_to_files, change_mode
from ops.repair.apply.gunicorn import GunicornApplier
from ops.repair.apply.session import RepairSession
from ops.repair.audit_log import AuditLog
from ops.repair.model import (
    Action,
    ChangeMode,
    Continue,
    CreateBackup,
    EditGunicorn,
    EditNginx,
    EndWorker,
    ExchangeFiles,
    FileEdit,
    InstallRotation,
    MendPidfile,
    NewFile,
    ReloadGunicorn,
    ReloadNginx,
    Remedy,
    ReopenLogs,
    RestartGunicorn,
    Safety,
    StartGunicorn,
    StartNginx,
)
from ops.repair.undo import Undo, UndoKind, undo
from ops.settings import Settings
from ops.text.language import Text
from tests.lab import test_undo as lab
from tests.unit.repair.test_outcome import cause

HERE, LAB = "tests.unit.repair.test_undo", "tests.lab.test_undo"
FIX, BACK = "tests.lab.test_fix", "tests.lab.test_way_back"
# The tests that undo each action, or show that what did not work left everything as it was.
TESTS: dict[type[Action], tuple[tuple[str, str], ...]] = {
    StartGunicorn: (
        (LAB, "test_a_service_that_was_started_is_stopped_again_by_the_printed_command"),
        (LAB, "test_a_start_that_fails_changes_no_file"),
    ),
    RestartGunicorn: ((LAB, "test_a_restart_says_that_nothing_brings_the_ended_processes_back"),),
    ReloadGunicorn: ((LAB, "test_a_reload_that_gunicorn_refuses_leaves_workers_and_files"),),
    EndWorker: ((FIX, "test_a_stuck_worker_is_ended_alone_with_its_evidence_kept"),),
    Continue: ((HERE, "test_a_continued_process_is_suspended_again_by_the_printed_command"),),
    StartNginx: ((LAB, "test_nginx_that_was_started_is_stopped_again_by_the_printed_command"),),
    # A reload is not taken back: what it would break is mended before it.
    ReloadNginx: ((BACK, "test_an_upstream_that_is_not_loaded_yet_is_mended_before_it_is"),),
    EditNginx: ((FIX, "test_an_edit_that_nginx_refuses_leaves_the_file_byte_for_byte"),),
    EditGunicorn: ((FIX, "test_a_gunicorn_setting_that_keeps_the_service_down_is_put_back"),),
    ReopenLogs: ((HERE, "test_what_leaves_nothing_behind_says_so"),),
    MendPidfile: ((HERE, "test_a_pidfile_gets_its_former_number_by_the_printed_command"),),
    ChangeMode: ((HERE, "test_a_mode_is_given_back_by_the_printed_command"),),
    InstallRotation: ((HERE, "test_a_rule_is_taken_back_by_the_printed_commands"),),
    CreateBackup: ((HERE, "test_what_leaves_nothing_behind_says_so"),),
    ExchangeFiles: (
        (LAB, "test_what_does_not_help_leaves_the_tree_as_it_was"),
        (LAB, "test_a_package_that_does_not_help_is_taken_back"),
    ),
}
# What ExchangeFiles exchanges, each with a case in the lab.
EXCHANGED = {"unit", "drop_in", "new_drop_in", "environment_file", "environment_file_of_another_mode", "mode",
             "owner", "cron", "settings", "certificate_pair"}  # fmt: skip

REF = ProcessRef(7, 1)
EDIT = FileEdit("/etc/nginx/a.conf", b"a", b"b")
ACTIONS: tuple[Action, ...] = (
    StartGunicorn(),
    RestartGunicorn(REF),
    ReloadGunicorn(REF, (8,)),
    EndWorker(8),
    Continue((REF,)),
    StartNginx("nginx.service"),
    ReloadNginx((REF,), (8,)),
    EditNginx((EDIT,), (REF,)),
    EditGunicorn(EDIT, REF),
    ReopenLogs((REF,), ()),
    MendPidfile("/run/gte.pid", 5, REF, keeps=True),
    ChangeMode("/etc/key.pem", 0o644, 0o600),
    InstallRotation((NewFile("/etc/logrotate.d/gte", "x", 0o644, None),)),
    CreateBackup(),
    ExchangeFiles((), nginx=True, gunicorn=False),
)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[RepairSession]:
    """A run of --fix whose log is in a directory of its own."""
    with AuditLog(tmp_path / "log" / "fix.jsonl") as log:
        yield RepairSession(Settings(), None, log, _never, lambda _text: None, _never, [])


def _never(*_arguments: object) -> NoReturn:
    raise AssertionError


def way(action: Action, *commands: str, copies: tuple[str, ...] = ()) -> Undo:
    """How ``action`` is undone, as the report shows it."""
    words = Text(en="do", zh="做")
    shown = undo(Remedy(cause("GUN001"), Safety.SAFE, words, action, commands=commands), copies)
    assert shown is not None
    return shown


def typed(shown: Undo) -> None:
    """A person types what was printed."""
    assert shown.kind is UndoKind.BY_HAND
    assert shown.commands
    for command in shown.commands:
        subprocess.run(["sh", "-ec", command], check=True)


def test_every_action_has_a_test_of_its_undo_that_exists() -> None:
    assert set(TESTS) == set(get_args(Action)) == {type(action) for action in ACTIONS}
    for tests in TESTS.values():
        for module, name in tests:
            assert callable(getattr(importlib.import_module(module), name))
    assert {case.name for case in lab.CASES} == EXCHANGED


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_every_remedy_says_in_both_languages_how_it_is_undone(action: Action) -> None:
    shown = way(action, "systemctl start nginx.service")
    assert shown.words.en
    assert shown.words.zh
    assert not shown.commands or shown.kind is UndoKind.BY_HAND
    assert ("cannot be undone" in shown.words.en) == (shown.kind is UndoKind.IMPOSSIBLE)


def test_what_leaves_nothing_behind_says_so() -> None:
    for action in (ReopenLogs((REF,), ()), CreateBackup()):
        assert way(action).kind is UndoKind.NOTHING
        assert "nothing to undo" in way(action).words.en


def test_a_mode_is_given_back_by_the_printed_command(tmp_path: Path) -> None:
    key = tmp_path / "a key.pem"
    key.touch()
    key.chmod(0o644)
    action = ChangeMode(str(key), 0o644, 0o600)
    change_mode(action)
    assert key.stat().st_mode & 0o777 == 0o600
    typed(way(action))
    assert key.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("keeps", [True, False])
def test_a_pidfile_gets_its_former_number_by_the_printed_command(
    tmp_path: Path, session: RepairSession, *, keeps: bool
) -> None:
    path, former = tmp_path / "gunicorn.pid", 2**22 - 1
    path.write_text(f"{former}\n")
    myself = psutil.Process()
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    action = MendPidfile(str(path), former, ProcessRef(myself.pid, ticks), keeps=keeps)
    apply_to_files(action, session)
    assert path.exists() == keeps
    typed(way(action))
    assert path.read_text() == f"{former}\n"


def test_root_writes_to_no_pidfile_that_another_user_named() -> None:
    assert way(MendPidfile("/home/shop/gte.pid", 5, REF, keeps=True, namer=1000)).commands == ()


def test_a_rule_is_taken_back_by_the_printed_commands(tmp_path: Path, session: RepairSession) -> None:
    new, replaced = tmp_path / "gte-nginx", tmp_path / "gte-api"
    (tmp_path / "gte.log").touch()
    replaced.write_text("/var/log/old.log {\n}\n")
    text = f"{tmp_path}/gte.log {{\n    daily\n}}\n"
    action = InstallRotation(
        (NewFile(str(new), text, 0o644, None), NewFile(str(replaced), text, 0o644, replaced.read_text()))
    )
    change = apply_to_files(action, session)
    assert new.read_text() == replaced.read_text() == text
    typed(way(action, copies=change.copies))
    assert not new.exists()
    assert replaced.read_text() == "/var/log/old.log {\n}\n"


@pytest.fixture
def sleeping() -> Iterator[psutil.Popen]:
    process = psutil.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_continued_process_is_suspended_again_by_the_printed_command(
    sleeping: psutil.Popen, session: RepairSession
) -> None:
    ticks = int(Path(f"/proc/{sleeping.pid}/stat").read_text().rpartition(")")[2].split()[19])
    sleeping.send_signal(signal.SIGSTOP)
    while sleeping.status() != psutil.STATUS_STOPPED:
        pass
    action = Continue((ProcessRef(sleeping.pid, ticks),))
    GunicornApplier(session).apply(action)
    assert sleeping.status() != psutil.STATUS_STOPPED
    typed(way(action))
    while sleeping.status() != psutil.STATUS_STOPPED:
        pass
