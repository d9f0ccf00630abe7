"""The doctor, the watchdog and the certificate check ask the host itself: no probe goes through a proxy."""

import ast
import socket
import time
from pathlib import Path

import pytest

from ops.collect.net.connection import Deadline
from ops.collect.net.http_probe import connect, exchange
from ops.facts.probe_failure import ProbeFailure
from tests.system.conftest import ROOT
from tests.system.peer import peer
from tests.system.recording_proxy import NAMES, recording_proxy, set_proxies

HONOUR_PROXIES = {"aiohttp", "httpx", "requests", "urllib.request", "urllib3"}


@pytest.mark.parametrize("names", [NAMES, tuple(name.upper() for name in NAMES)])
@pytest.mark.parametrize("host", ["127.0.0.1", "gte-api.example.invalid"])
def test_no_probe_goes_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], host: str
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

    def answers_anything(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)

    with recording_proxy() as proxy, peer(answers_anything) as address:
        set_proxies(monkeypatch, names, proxy.url, None)
        assert connect(address, time.monotonic() + 5).failure is None
        seen = exchange("GET", f"http://{host}/health", address, Deadline(time.monotonic() + 5))
        assert (seen.status, seen.failure) == (200, None)
        over_tls = exchange("GET", f"https://{host}/health", address, Deadline(time.monotonic() + 5))
        assert over_tls.failure is ProbeFailure.TLS
        assert proxy.requests == []


def imported(source: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {library for library in HONOUR_PROXIES for name in names if f"{name}.".startswith(f"{library}.")}


def test_nothing_of_the_toolkit_but_the_messages_uses_a_library_that_honours_proxies() -> None:
    users = {
        source.relative_to(ROOT).as_posix() for source in (ROOT / "ops").rglob("*.py") if imported(source)
    }
    assert users == {f"ops/notifications/{name}.py" for name in ("ping_sender", "plugin", "proxy_bypass")}
