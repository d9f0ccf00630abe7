"""What goes to this machine itself goes through no proxy, whatever the environment says; what goes elsewhere does."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.attacks.host import CONFIG, gte_ops
from tests.attacks.namespaces import REPOSITORY, on_a_host_of_its_own

TOKEN = "t0ken-of-the-webhook"
VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class Listener(ThreadingHTTPServer):
    """Writes down every request line, answers 200 to all."""

    daemon_threads = True

    def __init__(self, host: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.requests: list[str] = []
        super().__init__((host, 0), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        assert isinstance(self.server, Listener)
        self.server.requests.append(self.requestline)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b'{"status": "ok", "service": "x", "errcode": 0, "code": 0, "result": {}}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_CONNECT = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[Listener]:
    """A server that only listens."""
    server = Listener(host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def by_proxy(port: int) -> dict[str, str]:
    """An environment in which everything goes by the proxy."""
    return dict.fromkeys(VARIABLES, f"http://127.0.0.1:{port}")


HOSTS = {
    "127.0.0.1": "127.0.0.1",
    "localhost": "127.0.0.1",
    "127.8.7.6": "127.8.7.6",
    "[::1]": "::1",
    "relay.internal": "127.0.0.1",
}


@pytest.mark.parametrize("host", HOSTS)
@on_a_host_of_its_own
def test_a_notification_to_this_machine_is_not_shown_to_a_proxy(host: str) -> None:
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write("\n127.0.0.1 localhost relay.internal\n")
    CONFIG.parent.mkdir()
    with listening() as proxy, listening(HOSTS[host]) as webhook:
        CONFIG.write_text(f'[notify]\nurls = ["json://{host}:{webhook.port}/{TOKEN}"]\n')
        ran = gte_ops("notify", "test", environment=by_proxy(proxy.port))
        assert proxy.requests == []
        assert [line for line in webhook.requests if TOKEN in line], ran.stdout + ran.stderr
        assert ran.returncode == 0, ran.stdout + ran.stderr


@on_a_host_of_its_own
def test_an_encrypted_notification_to_this_machine_is_not_announced_to_a_proxy() -> None:
    CONFIG.parent.mkdir()
    with listening() as proxy, listening() as webhook:
        CONFIG.write_text(f'[notify]\nurls = ["jsons://127.0.0.1:{webhook.port}/{TOKEN}"]\n')
        gte_ops("notify", "test", environment=by_proxy(proxy.port))
        assert proxy.requests == []


@on_a_host_of_its_own
def test_a_notification_to_elsewhere_goes_by_the_proxy() -> None:
    CONFIG.parent.mkdir()
    with listening() as proxy:
        CONFIG.write_text('[notify]\nurls = ["json://hooks.example.com/there"]\n')
        gte_ops("notify", "test", environment=by_proxy(proxy.port))
        assert [line for line in proxy.requests if "hooks.example.com" in line], proxy.requests


CALL = """
import sys
from service.client import GteClient
with GteClient(sys.argv[1], api_key="k") as client:
    client.ner("text")
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "relay.internal"])
@on_a_host_of_its_own
def test_a_client_on_this_machine_asks_the_service_itself(host: str) -> None:
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write("\n127.0.0.1 localhost relay.internal\n")
    with listening() as proxy, listening(HOSTS[host]) as service:
        call(f"http://{host}:{service.port}", by_proxy(proxy.port))
        assert proxy.requests == []
        assert [line for line in service.requests if line.startswith("POST /predict")], service.requests


@on_a_host_of_its_own
def test_a_client_of_another_machine_asks_by_the_proxy() -> None:
    with listening() as proxy:
        call("http://gte-api.example.com", by_proxy(proxy.port))
        assert [line for line in proxy.requests if "gte-api.example.com" in line], proxy.requests


def call(url: str, environment: dict[str, str]) -> None:
    """One prediction by the SDK; what it makes of the answer is not asked."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-c", CALL, url],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
            capture_output=True,
            timeout=15,
            check=False,
        )


@on_a_host_of_its_own
def test_the_doctor_asks_the_service_itself() -> None:
    CONFIG.parent.mkdir()
    with listening() as proxy, listening() as service:
        CONFIG.write_text(
            f'[target]\nurl = "http://localhost:{service.port}"\nconnect_to = "127.0.0.1:{service.port}"\n'
            f'[gunicorn]\nbind = "127.0.0.1:{service.port}"\n'
        )
        gte_ops("doctor", environment=by_proxy(proxy.port))
        assert proxy.requests == []
        assert service.requests
