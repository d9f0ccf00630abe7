"""Signals reach exactly the process that was meant; a restart starts nothing where something is in the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.collect.process.start_time import start_ticks
from ops.control.restart import RestartError, Supervisor, find_supervisor, restart, start
from ops.control.signals import GoneError, end, is_alive, kill, send
from ops.interpret.process_ref import ProcessRef
from ops.settings import GunicornSettings, Settings


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that must come to no harm unless it is meant."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_reused_pid_is_left_alone(bystander: subprocess.Popen[bytes]) -> None:
    meant = ProcessRef(bystander.pid, start_ticks(bystander.pid) - 1)
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGCONT):
        with pytest.raises(GoneError):
            send(meant, number)
    assert kill([meant]) == ()
    assert end([meant], 0.1) == ()
    assert bystander.poll() is None


def test_the_process_that_is_meant(bystander: subprocess.Popen[bytes]) -> None:
    meant = ProcessRef(bystander.pid, start_ticks(bystander.pid))
    assert is_alive(meant)
    assert kill([meant]) == ()
    assert bystander.wait(5) == -signal.SIGKILL
    with pytest.raises(GoneError):
        send(meant, signal.SIGTERM)


def test_one_that_ignores_the_request_is_killed() -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert end([ProcessRef(process.pid, start_ticks(process.pid))], 0.2) == ()
        assert process.wait(5) == -signal.SIGKILL


def supervisor(tmp_path: Path, *argv: str) -> Supervisor:
    return Supervisor(None, argv, str(tmp_path), tmp_path / "output.log")


def test_a_start_command_in_the_foreground_lives_in_its_own_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    program = "import os, time; print(os.getsid(0) == os.getpid(), os.environ.get('NOTIFY_SOCKET'), flush=True); time.sleep(60)"  # noqa: E501
    process = start(supervisor(tmp_path, sys.executable, "-c", program))
    assert process is not None
    try:
        assert (tmp_path / "output.log").read_text() == "True None\n"
        assert os.getsid(process.pid) == process.pid
    finally:
        process.kill()
        process.wait()


def test_a_start_command_that_daemonises_and_one_that_fails(tmp_path: Path) -> None:
    assert start(supervisor(tmp_path, sys.executable, "-c", "pass")) is None
    with pytest.raises(RestartError, match="exit code 7"):
        start(supervisor(tmp_path, sys.executable, "-c", "raise SystemExit(7)"))
    with pytest.raises(RestartError, match="No such file"):
        start(supervisor(tmp_path, "/no/such/program"))


def test_nothing_is_started_while_the_port_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.control.restart.PORT_FREE_WITHIN", 0.1)
    marker = tmp_path / "started"
    command = supervisor(tmp_path, sys.executable, "-c", f"open({str(marker)!r}, 'w')")

    def again(is_free: Callable[[], bool]) -> None:
        restart(
            command, Settings(), master=None, workers=(), reacts=False, is_free=is_free, tell=lambda _: None
        )

    with pytest.raises(RestartError, match="still held"):
        again(lambda: False)
    assert not marker.exists()
    began = time.monotonic()
    again(lambda: time.monotonic() > began + 0.05)
    assert marker.exists()


@pytest.mark.parametrize(
    ("given", "argv"),
    [
        ("gunicorn -c 'a b.py' app:app", ("gunicorn", "-c", "a b.py", "app:app")),
        (["gunicorn", "$HOME; rm"], ("gunicorn", "$HOME; rm")),
        ("", None),
        ("'unclosed", None),
    ],
)
def test_the_start_command_meets_no_shell(
    tmp_path: Path, given: str | list[str], argv: tuple[str, ...] | None
) -> None:
    settings = Settings(gunicorn=GunicornSettings(unit="", start_command=given))
    service_supervisor = find_supervisor(settings, tmp_path / "o")
    assert (service_supervisor.argv if service_supervisor else None) == argv
