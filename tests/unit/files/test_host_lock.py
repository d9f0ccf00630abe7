"""Of two commands that change the host, the second waits or is told who is at work; it never acts meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli.main import commands
from ops.errors import OpsError
from ops.files.host_lock import VARIABLE, HostLockedError, only_change
from ops.installation.store import InstallStore
from ops.service import ServiceAction, control
from ops.settings import Settings

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


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": 1}', b'{"pid": 1, "command": "x", "since": 1e300}'])
def test_what_the_file_says_is_never_needed(content: bytes) -> None:
    with only_change():
        Path(os.environ[VARIABLE]).write_bytes(content)
        words = "another gte-ops command is changing this host"
        with pytest.raises(HostLockedError, match=words), only_change():
            pass


def test_without_a_place_for_it_a_host_can_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nonexistent/lock")
    with only_change():
        pass


def locked_store() -> None:
    with InstallStore(Path("/")).locked():
        pytest.fail("it acts")


def render(*options: str) -> None:
    ran = CliRunner().invoke(commands, ["render", "cron", *options], catch_exceptions=True)
    if isinstance(ran.exception, OpsError):
        raise ran.exception
    pytest.fail(f"it acts: {ran.output}")


COMMANDS: dict[str, Callable[[], object]] = {
    "install, uninstall, adopt, upgrade": locked_store,
    "service": lambda: control(ServiceAction.RELOAD, Settings(), 1.0),
    "render --install": lambda: render("--install"),
    "render --remove": lambda: render("--remove"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_acts_while_another_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ops.service.LOCK_SECONDS", "ops.files.host_lock.SHORT_CHANGE_SECONDS"):
        monkeypatch.setattr(module, 0.0)
    with only_change(), pytest.raises(HostLockedError):
        COMMANDS[name]()
