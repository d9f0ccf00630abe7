"""`gte-ops notify serve`: Alertmanager's webhooks, delivered on the wire to loopback robots."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops.notifications.alertmanager import MAX_BODY_BYTES
from ops.notifications.outbox import Outbox
from ops.notifications.receiver import MAX_CONNECTIONS, Receiver
from tests.system.conftest import ROOT, eventually, free_port
from tests.system.robot_endpoint import SECRET, Endpoint, robot_endpoint

TOKEN = "t0ken-of-the-alerts-receiver"
PATIENCE = 40.0
# Interpreter, settings, bind; on a busy machine.
START_SECONDS = 30.0


@dataclass
class Served:
    """A running receiver. ``robots``: the destinations."""

    port: int
    robots: Endpoint
    process: subprocess.Popen[str]

    def post(self, body: bytes, token: str | None = TOKEN, **headers: str) -> tuple[int, Any]:
        fields = {"Content-Type": "application/json", **headers}
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as link:
            link.request("POST", "/", body, fields)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())


def receiver_command(config: Path, port: int, *options: str) -> list[str]:
    arguments = ["notify", "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}", *options]
    return [sys.executable, "-m", "ops.cli", *arguments]


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def robots_of(endpoint: Endpoint) -> list[str]:
    """One of each: DingTalk and Feishu signed."""
    return [
        f"dingtalk://{SECRET}@signed1?endpoint={endpoint.url}",
        f"feishu://{SECRET}@signed2?endpoint={endpoint.url}",
        f"wecombot://fine3?endpoint={endpoint.url}",
    ]


ROBOTS = ("signed1", "signed2", "fine3")


@contextlib.contextmanager
def receiver(directory: Path, endpoint: Endpoint, *options: str) -> Iterator[Served]:
    """The receiver, delivering to three robots at ``endpoint``."""
    config, port = directory / "gte-ops.toml", free_port()
    config.write_text(
        f"[notify]\nurls = {json.dumps(robots_of(endpoint))}\n"
        f"[watchdog]\nstate_file = {json.dumps(str(directory / 'watchdog.json'))}\n"
    )
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    process = subprocess.Popen(
        receiver_command(config, port, "--lang", "zh", *options),
        env={**clean, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: listens(port) or process.poll() is not None, START_SECONDS)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield Served(port, endpoint, process)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("receiver")
    token = directory / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with (
        robot_endpoint() as endpoint,
        receiver(directory, endpoint, "--token-file", str(token)) as running,
    ):
        yield running


def webhook(status: str, name: str, **annotations: str) -> bytes:
    alert = {
        "status": status,
        "labels": {"alertname": name, "instance": "web1.example.com", "severity": "critical"},
        "annotations": {"summary": f"web1.example.com: {name}", **annotations},
        "startsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return json.dumps({"version": "4", "groupKey": "g", "status": status, "alerts": [alert]}).encode()


def test_an_alert_and_its_end_reach_each_robot_once(served: Served) -> None:
    assert served.post(webhook("firing", "GteSiteDown", summary_zh="站点不可用")) == (200, {"queued": 1})
    eventually(lambda: all(served.robots.texts(robot) for robot in ROBOTS), PATIENCE)
    # Alertmanager repeats what lasts: nobody is told again.
    assert served.post(webhook("firing", "GteSiteDown")) == (200, {"queued": 0})
    assert served.post(webhook("resolved", "GteSiteDown", summary_zh="站点不可用")) == (200, {"queued": 1})
    eventually(lambda: all(len(served.robots.texts(robot)) == 2 for robot in ROBOTS), PATIENCE)
    for robot in ROBOTS:
        begin, end = served.robots.texts(robot)
        assert begin.startswith("[gte-ops] 站点不可用")
        assert "instance=web1.example.com" in begin
        assert end.startswith("[gte-ops] 已恢复：站点不可用")


def test_only_who_has_the_token_may_post(served: Served) -> None:
    before = len(served.robots.posts)
    for token in (None, "", "wrong", TOKEN[:-1]):
        assert served.post(webhook("firing", "GteFaked"), token)[0] == 401
    assert len(served.robots.posts) == before


def test_hostile_requests_are_refused_and_the_next_one_served(served: Served) -> None:
    assert served.post(b"{" * 1000)[0] == 400
    assert served.post(b'{"alerts": []}', **{"Content-Length": str(MAX_BODY_BYTES + 1)})[0] == 413
    assert served.post(b"", **{"Content-Length": "-1"})[0] == 411
    evil = '\x1b[2J<at user_id="all">all</at>\u202e' + "长" * 30_000
    assert served.post(webhook("firing", "GteEvil", summary=evil, description=evil)) == (200, {"queued": 1})
    (text,) = eventually(
        lambda: [text for text in served.robots.texts("signed2") if "GteEvil" in text], PATIENCE
    )
    assert not {"\x1b", "\u202e"} & set(text)
    assert "<at" not in text
    assert len(text) < 5000
    garbage = (
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST " + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    )
    for request in garbage:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", served.port), 5) as link:
            link.sendall(request)
            answer = link.recv(4096)
            assert b"aaaa" not in answer
    assert served.post(webhook("resolved", "GteNever")) == (200, {"queued": 0})


def test_silent_clients_keep_nobody_else_waiting_for_ever(served: Served) -> None:
    silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(40)]
    try:
        eventually(lambda: _is_served(served), PATIENCE)
    finally:
        for link in silent:
            link.close()


def _is_served(served: Served) -> bool:
    try:
        return served.post(webhook("resolved", "GteNever"))[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def held(path: Path, host: str = "127.0.0.1") -> Receiver:
    return Receiver((host, 0), Outbox(path / "outbox.json", (), "en"), report=lambda _words: None)


@contextlib.contextmanager
def serving(receiver: Receiver) -> Iterator[None]:
    serving_thread = threading.Thread(target=receiver.serve)
    serving_thread.start()
    try:
        yield
    finally:
        receiver.stop()
        serving_thread.join()


def ask(port: int, host: str = "127.0.0.1") -> int:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=20)) as link:
        link.request("POST", "/", webhook("resolved", "GteNever"))
        return link.getresponse().status


def test_it_listens_on_the_loopback_of_ipv6(tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this host has no ::1")
    receiver = held(tmp_path, "::1")
    with serving(receiver):
        assert ask(receiver.port, "::1") == 200


@pytest.mark.parametrize("kind", [threading.Thread, threading.Timer])
def test_who_gets_no_thread_takes_no_place(
    kind: type[threading.Thread], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if type(thread) is kind:
            raise RuntimeError("can't start new thread")
        start(thread)

    receiver = held(tmp_path)
    with serving(receiver):
        eventually(lambda: ask(receiver.port) == 200)
        with monkeypatch.context() as scarce:
            scarce.setattr(threading.Thread, "start", refuse)
            for _ in range(MAX_CONNECTIONS + 1):
                with pytest.raises((OSError, http.client.HTTPException)):
                    ask(receiver.port)
        eventually(lambda: ask(receiver.port) == 200)


def test_it_ends_in_order_and_starts_for_nobody(tmp_path: Path) -> None:
    with robot_endpoint() as endpoint, receiver(tmp_path, endpoint) as running:
        taken = subprocess.run(
            receiver_command(tmp_path / "gte-ops.toml", running.port),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert taken.returncode == 3
        assert taken.stderr.count("\n") == 1
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0
    (tmp_path / "gte-ops.toml").write_text("")
    for options in ([], ["--listen", "0.0.0.0:9095"]):
        nobody = subprocess.run(
            receiver_command(tmp_path / "gte-ops.toml", free_port(), *options),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert nobody.returncode == 3
        assert nobody.stderr.count("\n") == 1


def test_amtool_takes_the_sample() -> None:
    sample = ROOT / "deploy" / "prometheus" / "gte-ops.alertmanager.yml"
    ran = subprocess.run(["amtool", "check-config", str(sample)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
