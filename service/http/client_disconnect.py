"""Detect that the client of the current request has closed its connection."""

import socket
import ssl
from typing import Any

from flask import has_request_context, request


def client_is_gone() -> bool:
    """Whether the other end of the connection is closed, as far as a worker thread can see.

    gunicorn passes the socket in the WSGI environment; nginx closes its connection when its own client disconnects
    (proxy_ignore_client_abort is off). Without a socket the client counts as connected.
    """
    if not has_request_context():
        return False
    connection: Any = request.environ.get("gunicorn.socket")
    # An SSL socket does not support MSG_PEEK.
    if not isinstance(connection, socket.socket) or isinstance(connection, ssl.SSLSocket):
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True  # reset
