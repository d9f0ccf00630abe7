"""A client as users are: it knows the name, trusts the lab's root, and says what it met instead of raising."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers and body, or in ``error`` why nothing did.

    ``error`` is one of ``refused``, ``timeout``, ``closed`` (without an answer), ``permission``, or
    ``tls: REASON`` with OpenSSL's own words.
    """

    status: int | None = None
    headers: Message = field(default_factory=Message)
    body: bytes = b""
    error: str | None = None

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def content_type(self) -> str:
        """The media type without its parameters, empty without an answer."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The body, parsed. Raises ValueError when it is not JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Requests to one address, under one name."""

    domain: str
    ca_file: str

    def request(
        self,
        where: tuple[str, int] | str,
        method: str,
        path: str,
        *,
        tls: bool,
        body: bytes | str | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        host: str | None = None,
        source: str | None = None,
        timeout: float = 10.0,
        verify: bool = True,
        preface: bytes = b"",
    ) -> Answer:
        """One request on a connection of its own, to ``where`` (address and port, or a unix socket's path).

        ``host`` is the name asked for, in TLS and in the Host header; ``source`` the address to come from; ``preface``
        is sent before anything else.
        """
        name = host or self.domain
        sent = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body, ensure_ascii=False).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(name, timeout=timeout)
        try:
            connection.sock = connect(where, timeout, source=source)
            if preface:
                connection.sock.sendall(preface)
            if tls:
                connection.sock = self._context(verify).wrap_socket(connection.sock, server_hostname=name)
            connection.request(
                method, path, body=body.encode() if isinstance(body, str) else body, headers=sent
            )
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except ConnectionRefusedError:
            return Answer(error="refused")
        except FileNotFoundError:
            return Answer(error="refused")
        except PermissionError:
            return Answer(error="permission")
        except TimeoutError:
            return Answer(error="timeout")
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or str(error)
            return Answer(error=f"tls: {reason}")
        except (http.client.HTTPException, OSError):
            return Answer(error="closed")
        finally:
            connection.close()

    def _context(self, verify: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def connect(where: tuple[str, int] | str, timeout: float, *, source: str | None = None) -> socket.socket:
    """A connection to an address and port, or to a unix socket's path. Raises OSError."""
    if isinstance(where, tuple):
        return socket.create_connection(where, timeout, (source, 0) if source else None)
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(timeout)
    try:
        connected.connect(where)
    except OSError:
        connected.close()
        raise
    return connected
