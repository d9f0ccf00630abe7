"""Requests to one address of this host, whatever its name resolves to: host:port, or unix:/path."""

from __future__ import annotations

import http.client
import socket
import ssl


class _Connection(http.client.HTTPConnection):
    """A connection to host:port or unix:/path; ``domain``: over TLS, with whatever certificate. Whether clients trust
    it is the doctor's question."""

    def __init__(self, address: str, domain: str | None) -> None:
        super().__init__(domain or "localhost", timeout=5.0)
        self._address, self._domain = address, domain

    def connect(self) -> None:
        if self._address.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._address.removeprefix("unix:"))
            return
        host, _, port = self._address.rpartition(":")
        self.sock = socket.create_connection((host.strip("[]"), int(port)), self.timeout)
        if self._domain is not None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock, server_hostname=self._domain)


def status_at(address: str, path: str, domain: str | None = None, payload: str | None = None) -> int:
    """The status of the answer there: to JSON that is posted, if there is a ``payload``. Raises OSError,
    http.client.HTTPException."""
    connection = _Connection(address, domain)
    try:
        if payload is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, payload.encode(), {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def body_at(address: str, path: str, domain: str) -> bytes:
    """The beginning of the answer for ``domain`` there, over plain HTTP. Raises as `status_at` does."""
    connection = _Connection(address, None)
    try:
        connection.request("GET", path, headers={"Host": domain})
        return connection.getresponse().read(4096)
    finally:
        connection.close()
