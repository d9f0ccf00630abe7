"""A proxy that lets nothing through and keeps what it was asked."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.system.peer import peer, request_of

NAMES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass
class RecordingProxy:
    """``requests`` holds whole requests, a connection without one as b""."""

    url: str
    answer: bytes = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    requests: list[bytes] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return [request.split(b"\r\n", 1)[0].decode() for request in self.requests]


@contextmanager
def recording_proxy() -> Iterator[RecordingProxy]:
    proxy = RecordingProxy("")

    def manners(sock: socket.socket) -> None:
        proxy.requests.append(request_of(sock))
        sock.sendall(proxy.answer)

    with peer(manners) as address:
        proxy.url = f"http://{address}"
        yield proxy


def set_proxies(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], url: str, no_proxy: str | None
) -> None:
    """Make ``names`` the environment's only proxies."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in names:
        monkeypatch.setenv(name, url)
    if no_proxy is not None:
        monkeypatch.setenv("NO_PROXY", no_proxy)
