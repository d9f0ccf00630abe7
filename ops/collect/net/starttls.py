"""STARTTLS in mail protocols, by Python's own clients (RFC 3207, RFC 2595)."""

from __future__ import annotations

import contextlib
import imaplib
import poplib
import smtplib
import ssl
from typing import Any

PORTS = {"smtp": 25, "imap": 143, "pop3": 110}


def secured(protocol: str, host: str, port: int, context: ssl.SSLContext, timeout: float) -> ssl.SSLSocket:
    """Connect, ask the server to start TLS, and return the TLS socket. ``timeout`` bounds each step, in seconds.

    Raises OSError (ssl.SSLError included); if the server refuses, OSError in the server's words."""
    client: Any = None
    try:
        if protocol == "smtp":
            client = smtplib.SMTP(host, port, timeout=timeout)
            client.ehlo()
            client.starttls(context=context)
        elif protocol == "imap":
            client = imaplib.IMAP4(host, port, timeout=timeout)
            client.starttls(ssl_context=context)
        else:
            client = poplib.POP3(host, port, timeout=timeout)
            client.stls(context=context)
    except (smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto) as error:
        _close(client)
        if isinstance(error, OSError) and error.errno:
            raise
        raise OSError(f"{protocol} begins no TLS: {_words(error)}") from None
    except BaseException:
        _close(client)
        raise
    sock = client.sock
    assert isinstance(sock, ssl.SSLSocket)  # noqa: S101  each client puts it there
    return sock


def _words(error: Exception) -> str:
    parts = [part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in error.args]
    return " ".join(parts) or type(error).__name__


def _close(client: Any) -> None:
    sock = getattr(client, "sock", None)
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.close()
