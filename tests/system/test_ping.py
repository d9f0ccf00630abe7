"""The dead man's switch: what goes over the wire, and that no answer or missing answer harms or delays the work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

import ops.notifications.ping
from ops.notifications.ping import PingFailure, WatchdogPing, around
from ops.settings import NotifySettings, PingSettings, Settings
from tests.system.peer import peer
from tests.system.recording_proxy import NAMES, recording_proxy, set_proxies

ROOT = Path(__file__).parent.parent.parent
UUID = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"


class Switch(ThreadingHTTPServer):
    """A service of the switch: the paths requested of it, and what it answers."""

    daemon_threads = True

    def __init__(self, status: int, location: str) -> None:
        self.status, self.location = status, location
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Switch

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"OK")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def switch(status: int = 200, location: str = "") -> Iterator[Switch]:
    with Switch(status, location) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


def settings(url: str, task: str = "backup") -> Settings:
    ping = msgspec.structs.replace(PingSettings(), **{task: url})
    return Settings(notify=NotifySettings(ping=ping))


def run(url: str, exit_code: int = 0, task: str = "backup") -> list[PingFailure]:
    """A task that ends with ``exit_code``; the failures of its last request."""
    failures: list[PingFailure] = []
    with pytest.raises(SystemExit) as end, around(settings(url, task), task, failures.append):
        sys.exit(exit_code)
    assert end.value.code == exit_code
    return failures


@pytest.mark.parametrize(("exit_code", "last"), [(0, ""), (2, "/fail")])
def test_healthchecks_is_sent_the_start_and_then_the_end(exit_code: int, last: str) -> None:
    with switch() as running:
        assert run(f"{running.url}/ping/{UUID}", exit_code) == []
    assert running.paths == [f"/ping/{UUID}/start", f"/ping/{UUID}{last}"]


def test_uptime_kuma_is_sent_the_end_alone_with_a_state_and_words() -> None:
    with switch() as running:
        url = f"{running.url}/api/push/Ab3dE6gh9J?status=up&msg=OK&ping="
        assert run(url) == []
        assert run(url, 2) == []
    assert running.paths == [
        "/api/push/Ab3dE6gh9J?status=up&msg=backup%3A+exit+code+0",
        "/api/push/Ab3dE6gh9J?status=down&msg=backup%3A+exit+code+2",
    ]


def test_work_that_ends_with_an_exception_is_a_failure_and_the_exception_is_kept() -> None:
    failures: list[PingFailure] = []
    with (
        switch() as running,
        pytest.raises(KeyError),
        around(settings(f"{running.url}/{UUID}"), "backup", failures.append),
    ):
        raise KeyError("work")
    assert failures == []
    assert running.paths[-1] == f"/{UUID}/fail"


def test_an_error_and_a_redirect_are_reported_without_the_secret_and_not_followed() -> None:
    with switch(500) as broken, switch() as elsewhere, switch(302, f"{elsewhere.url}/stolen") as moved:
        (error,) = run(f"{broken.url}/{UUID}")
        (redirect,) = run(f"{moved.url}/{UUID}")
    assert error.reason.en == "HTTP 500"
    assert "302" in redirect.reason.en
    assert elsewhere.paths == []
    for failure in (error, redirect):
        assert UUID not in repr(failure)
        assert failure.destination.endswith("/***")


def test_a_refused_connection_is_reported() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        (failure,) = run(f"http://127.0.0.1:{unused.getsockname()[1]}/{UUID}")
    assert "refused" in failure.reason.en


def silent(sock: socket.socket) -> None:
    """Take the request, and never answer."""
    while sock.recv(65536):
        pass


def dripping(sock: socket.socket) -> None:
    """A head that never ends, a byte at a time: each read succeeds in time."""
    sock.recv(65536)
    while True:
        sock.sendall(b"H")
        threading.Event().wait(0.2)


@pytest.mark.parametrize("manners", [silent, dripping])
def test_a_peer_that_hangs_neither_delays_the_work_nor_holds_its_end(
    manners: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops.notifications.ping, "WITHIN_S", 0.7)
    with peer(manners) as address:
        failures: list[PingFailure] = []
        began = time.monotonic()
        with around(settings(f"http://{address}/{UUID}"), "backup", failures.append):
            entered = time.monotonic() - began
        elapsed = time.monotonic() - began
    assert entered < 0.5, "the work waited for the start's request"
    # Two requests, and the start of two processes.
    assert elapsed < 2 * (0.7 + 3.5)
    assert failures[0].reason.en


def test_this_host_is_not_reached_through_a_proxy_and_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with switch() as running, recording_proxy() as proxy:
        set_proxies(monkeypatch, NAMES, proxy.url, None)
        assert run(f"{running.url}/{UUID}") == []
        assert proxy.requests == []
        run(f"http://198.51.100.7/{UUID}")
        assert any("198.51.100.7" in line for line in proxy.lines)


def test_the_watchdog_pings_once_a_minute_and_at_once_on_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("ops.notifications.ping.time.monotonic", lambda: now)
    with switch() as running:
        ping = WatchdogPing(settings(f"{running.url}/{UUID}", "watchdog"))
        sent = []
        for now, exit_code in (
            (1000.0, 0),
            (1010.0, 0),
            (1059.8, 0),  # the cycle began a little early
            (1100.0, 0),
            (1120.0, 0),
            (1125.0, 2),
            (1130.0, 2),
            (1131.0, 3),
            (1135.0, 0),
        ):
            if ping.after_cycle(exit_code):
                sent.append((now, exit_code))
                assert ping.wait() is None
    assert sent == [(1000.0, 0), (1059.8, 0), (1120.0, 0), (1125.0, 2), (1135.0, 0)]
    assert running.paths == [f"/{UUID}", f"/{UUID}", f"/{UUID}", f"/{UUID}/fail", f"/{UUID}"]


def command(tmp_path: Path, ping: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`gte-ops` with these URLs."""
    config = tmp_path / "gte-ops.toml"
    table = "".join(f"{name} = {json.dumps(value)}\n" for name, value in ping.items())
    config.write_text(
        f"[target]\ndomain = 'localhost'\n[backup]\ndir = '{tmp_path}/backups'\n"
        f"[nginx]\nconfig_file = '{tmp_path}/nginx.conf'\n"  # not that of a host that another test imitates
        f"[watchdog]\nstate_file = '{tmp_path}/state/watchdog.json'\n[notify.ping]\n{table}"
    )
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments, "--config", str(config)],
        env={**clean, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("doctor", ("doctor", "--budget", "3s")),
        ("cert", ("cert", "check")),
        pytest.param("drill", ("backup", "drill"), marks=pytest.mark.long),
        pytest.param("backup", ("backup", "create", "--to", "nonsense"), marks=pytest.mark.long),
    ],
)
def test_a_command_pings_its_own_url_and_nothing_else_does(
    tmp_path: Path, task: str, arguments: Sequence[str]
) -> None:
    with switch() as running:
        done = command(tmp_path, {task: f"{running.url}/{task}/"}, *arguments)
    suffix = "" if done.returncode in (0, 1) else "/fail"
    assert running.paths == [f"/{task}/start", f"/{task}{suffix}"], done.stderr


def test_the_exit_code_is_the_works_where_the_switch_is_broken(tmp_path: Path) -> None:
    before = command(tmp_path, {}, "cert", "check")
    with switch(500) as running:
        after = command(tmp_path, {"cert": f"{running.url}/{UUID}"}, "cert", "check")
    assert (after.returncode, after.stdout) == (before.returncode, before.stdout)
    assert "notify.ping.cert" in after.stderr
    assert UUID not in after.stderr + after.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("doctor", "--only", "tls", "--budget", "3s"), marks=pytest.mark.long),
        pytest.param(("cert", "check", "127.0.0.1:9"), marks=pytest.mark.long),
        ("backup", "--dry-run"),
    ],
)
def test_a_run_that_is_not_the_scheduled_one_sends_nothing(tmp_path: Path, arguments: Sequence[str]) -> None:
    with switch() as running:
        url = f"{running.url}/{UUID}"
        command(tmp_path, {"doctor": url, "cert": url, "backup": url}, *arguments)
    assert running.paths == []


def test_config_show_hides_the_urls(tmp_path: Path) -> None:
    done = command(tmp_path, {"backup": f"https://hc.example.com/{UUID}"}, "config", "show")
    assert "https://hc.example.com/***" in done.stdout
    assert UUID not in done.stdout
