"""Of two commands that change the host, the second waits or is told who is at work; it never acts meanwhile."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import msgspec
import pytest
from click.testing import CliRunner

import ops.doctor
import ops.drain
from ops.cli.main import commands
from ops.drain import DrainAction, drain
from ops.errors import OpsError
from ops.files import host_lock
from ops.files.host_lock import VARIABLE, HostLockedError, only_change
from ops.files.start_ticks import start_ticks
from ops.installation.store import InstallStore
from ops.service import ServiceAction, control
from ops.settings import Settings
from tests.unit.made_snapshot import KEY_FILE, but

HOLDER = """
import sys
from ops.files.host_lock import only_change
sys.argv[1:] = ["upgrade", "9.9"]
with only_change():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "lock"))


def hold() -> subprocess.Popen[str]:
    """Another process that holds the lock until it is ended."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_is_told_who_holds_it_since_when_and_what_to_do() -> None:
    with hold() as holder:
        with pytest.raises(HostLockedError) as refused, only_change():
            pass
        words = refused.value.words
        assert f"gte-ops upgrade 9.9 (process {holder.pid}, since 20" in words.en
        assert "nothing was changed" in words.en
        assert f"kill {holder.pid}" in words.en
        assert f"gte-ops upgrade 9.9（进程 {holder.pid}" in words.zh
        holder.communicate("")


def test_a_holder_that_is_killed_holds_nothing() -> None:
    with hold() as holder:
        holder.kill()
        holder.wait()
    with only_change():
        pass


def test_a_short_wait_is_worth_it() -> None:
    with hold() as holder:
        assert holder.stdin is not None
        holder.stdin.close()
        with only_change(30.0):
            pass


RECORD = '{"pid": %s, "start": %s, "command": "gte-ops x", "since": %s}'
OTHER = start_ticks(os.getppid())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[" * 5000,
        '{"a":' * 1000,
        "\x00\xff",
        '{"pid": 1}',
        RECORD % (1, start_ticks(1), 5),
        RECORD % (0, OTHER, 5),
        RECORD % (-1, OTHER, 5),
        RECORD % (os.getppid(), OTHER + 1, 5),
        RECORD % (os.getppid(), 0, 5),
        RECORD % (2**22 + 1, 0, 5),
        RECORD % (10**40, 1, 5),
        RECORD % (os.getppid(), OTHER, "1e300"),
        RECORD % (os.getppid(), f'"{OTHER}"', 5),
    ],
)
def test_no_process_is_to_be_killed_that_is_not_surely_the_holder(content: str) -> None:
    with only_change():
        Path(os.environ[VARIABLE]).write_bytes(content.encode("latin-1"))
        with pytest.raises(HostLockedError, match="held by an unknown process") as refused, only_change():
            pass
    assert "kill" not in refused.value.words.en
    assert "kill" not in refused.value.words.zh


def test_an_earlier_holder_is_not_named() -> None:
    with only_change():
        pass
    with Path(os.environ[VARIABLE]).open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(HostLockedError, match="unknown process"), only_change():
            pass


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "socket", "writable by others"])
def test_a_file_that_gte_ops_did_not_make_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "lock"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to(tmp_path / "elsewhere")
    elif kind == "directory":
        place.mkdir()
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(place))
    else:
        place.touch()
        place.chmod(0o666)
    with pytest.raises(HostLockedError, match="lock is no lock that gte-ops made"), only_change():
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").touch(0o600)
    os.chown(tmp_path / "lock", 12345, 12345)
    with pytest.raises(HostLockedError, match="no lock that gte-ops made"), only_change():
        pass


@pytest.mark.parametrize("language", ["C.UTF-8", "zh_CN.UTF-8"])
def test_without_a_place_for_it_a_host_can_be_mended(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host_lock._tell_unlocked.cache_clear()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing" / "lock"))
    monkeypatch.setenv("LC_ALL", language)
    for _ in range(2):
        with only_change() as lock:
            assert lock.agreed(lambda: True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gte-ops: {tmp_path}/missing/lock")
    assert ("not kept from" in line) == (language == "C.UTF-8")


@pytest.mark.parametrize(("mode", "is_used"), [(0o700, True), (0o755, False), (0o1777, False)])
def test_another_user_locks_where_nobody_else_makes_a_file(
    mode: int, is_used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    runtime, home = tmp_path / "runtime", tmp_path / "home"
    for directory in (runtime, home):
        directory.mkdir()
    runtime.chmod(mode)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    account = pwd.struct_passwd(("a", "x", 12345, 12345, "", str(home), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: account)
    # What lies there is of the user who runs the tests.
    real = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: _owned(real(path), 12345))
    place = host_lock._place()
    assert place == (runtime / "gte-ops.lock" if is_used else home / ".local/state/gte-ops/host.lock")
    monkeypatch.setattr(Path, "lstat", lambda path: _owned(real(path), 12346))
    with pytest.raises(PermissionError):
        host_lock._place()


def _owned(status: os.stat_result, uid: int) -> os.stat_result:
    fields = list(status)
    fields[4] = uid
    return os.stat_result(fields)


def test_while_a_person_is_asked_another_command_acts() -> None:
    def answer() -> bool:
        with hold() as holder:
            holder.communicate("")
        return True

    with only_change() as lock:
        assert lock.agreed(lambda: True)
        assert not lock.was_taken
        assert lock.agreed(answer)
        assert lock.was_taken
        with pytest.raises(HostLockedError), only_change():
            pass
        assert not lock.agreed(lambda: False)
        assert not lock.was_taken


def test_after_a_yes_a_command_at_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lock, "SHORT_CHANGE_SECONDS", 0.0)
    holders: list[subprocess.Popen[str]] = []

    def answer(agrees: bool) -> bool:
        holders.append(hold())
        return agrees

    for agrees in (False, True):
        with only_change() as lock:
            if agrees:
                with pytest.raises(HostLockedError, match="gte-ops upgrade"):
                    lock.agreed(lambda: answer(True))
            else:
                assert not lock.agreed(lambda: answer(False))
        holders.pop().communicate("")


def locked_store() -> None:
    with InstallStore(Path("/")).locked():
        pytest.fail("it acts")


def run(*words: str) -> None:
    ran = CliRunner().invoke(commands, words, catch_exceptions=True)
    if isinstance(ran.exception, OpsError):
        raise ran.exception
    pytest.fail(f"it acts: {ran.output}")


COMMANDS: dict[str, Callable[[Path], object]] = {
    "install, uninstall, adopt, upgrade": lambda _: locked_store(),
    "service": lambda _: control(ServiceAction.RELOAD, Settings(), 1.0),
    "render --install": lambda _: run("render", "cron", "--install"),
    "render --remove": lambda _: run("render", "cron", "--remove"),
    "drain": lambda _: drain(Settings(), None, "a:1", DrainAction.DRAIN),
    "undrain": lambda _: drain(Settings(), None, "a:1", DrainAction.UNDRAIN),
    "restore": lambda config: run("backup", "restore", "--yes", "--config", str(config)),
    "doctor --fix": lambda config: run("doctor", "--fix", "--yes", "--config", str(config)),
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of a host with one trouble that `doctor --fix` mends, and an upstream to drain."""
    key = tmp_path / "privkey1.pem"
    key.write_text("not a key\n")
    key.chmod(0o644)
    seen = but(certificates__key=msgspec.structs.replace(KEY_FILE, resolved=str(key), mode=0o644))
    monkeypatch.setattr(ops.doctor, "collect", lambda *_, **__: seen)
    for name in ("ops.repair.run.end_in_order", "ops.files.signals.end_in_order"):  # the signals are pytest's
        monkeypatch.setattr(name, lambda: None)
    for name in ("look_around", "deployment_from", "_plan", "_refuse_unread", "_masters"):
        monkeypatch.setattr(ops.drain, name, MagicMock())
    monkeypatch.setattr(ops.drain, "Path", lambda *_: tmp_path / "upstream.conf")
    file = tmp_path / "gte-ops.toml"
    file.write_text(
        f'[watchdog]\nstate_file = "{tmp_path}/state/watchdog.json"\n[backup]\ndir = "{tmp_path}/backups"\n'
    )
    return file


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_acts_while_another_does(name: str, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ("ops.service.LOCK_SECONDS", "ops.drain.SHORT_CHANGE_SECONDS")
    for place in (*places, "ops.files.host_lock.SHORT_CHANGE_SECONDS"):
        monkeypatch.setattr(place, 0.0)
    with only_change(), pytest.raises(HostLockedError):
        COMMANDS[name](config)
    assert (config.parent / "privkey1.pem").stat().st_mode & 0o777 == 0o644
