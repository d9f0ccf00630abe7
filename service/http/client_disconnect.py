"""Whether the client of the request in hand has closed its connection."""

import socket
import ssl
from typing import Any

from flask import has_request_context, request


def client_is_gone() -> bool:
    """Whether the connection's other end is closed, as far as a worker thread can see it.

    gunicorn passes the socket in the WSGI environment; nginx closes its connection when its own client goes away
    (proxy_ignore_client_abort is off). Where there is no such socket the client counts as there.
    """
    if not has_request_context():
        return False
    connection: Any = request.environ.get("gunicorn.socket")
    # An SSL socket cannot be looked into without reading from it.
    if not isinstance(connection, socket.socket) or isinstance(connection, ssl.SSLSocket):
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True  # reset
