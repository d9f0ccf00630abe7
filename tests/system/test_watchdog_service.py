"""The resident watchdog as systemd runs it: a real datagram socket, signals, and what the process costs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(20)
        yield sock


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A service that is not there, and nothing to start it with."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "gte-ops.toml"
    file.write_text(
        f'[gunicorn]\nbind = "127.0.0.1:{port}"\npidfile = "{tmp_path}/none.pid"\nunit = ""\n'
        f'[watchdog]\ninterval = "1s"\nstate_file = "{tmp_path}/state/watchdog.json"\n'
    )
    return file


@contextlib.contextmanager
def resident(config: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The watchdog as a service."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "watchdog", "--lang", "en", "--config", str(config)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


def received(listener: socket.socket, wanted: str, *, within: float = 20.0) -> list[str]:
    """Messages up to the first that begins with ``wanted``."""
    messages = []
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        messages.append(listener.recv(4096).decode())
        if messages[-1].startswith(wanted):
            return messages
    raise AssertionError(messages)


def test_systemd_is_told_when_it_is_up_alive_and_ending(
    listener: socket.socket, config: Path, tmp_path: Path
) -> None:
    with resident(config, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="4000000") as process:
        assert received(listener, "READY=1") == ["READY=1"]
        assert received(listener, "STATUS=")[-1].startswith("STATUS=failing; gunicorn's master is gone")
        received(listener, "WATCHDOG=1")
        began = time.monotonic()
        received(listener, "WATCHDOG=1")
        assert time.monotonic() - began < 4.0
        process.send_signal(signal.SIGHUP)
        assert "RELOADING=1" in received(listener, "READY=1")
        process.terminate()
        received(listener, "STOPPING=1")
        assert process.wait(10) == 0


def test_a_stopped_watchdog_gives_no_sign_of_life(
    listener: socket.socket, config: Path, tmp_path: Path
) -> None:
    with resident(config, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="2000000") as process:
        received(listener, "WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        listener.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                listener.recv(4096)
        listener.settimeout(2.5)
        with pytest.raises(TimeoutError):
            listener.recv(4096)


def test_it_costs_little(config: Path) -> None:
    with resident(config) as process:
        time.sleep(3.0)
        facts = psutil.Process(process.pid)
        assert facts.memory_info().rss < 45 * 1024 * 1024
        heavy = ("cryptography", "dns/", "apprise", "rich/", "crossplane")
        mapped = [m.path for m in facts.memory_maps() if any(f"/{name}" in m.path for name in heavy)]
        assert mapped == []


def test_transitions_are_json_lines_and_a_failure_is_one(config: Path) -> None:
    with resident(config) as process:
        time.sleep(4.0)
        process.terminate()
        out, _ = process.communicate(timeout=10)
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["event"] for e in events].count("state") == 1
    assert {e["event"] for e in events} <= {"started", "state", "holding", "stopped"}
