"""Detect that the client of a request has closed its connection."""

import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any


def checker(connection: Any) -> Callable[[], bool]:
    """A function that tells, in any thread, whether the other end of ``connection`` is closed.

    gunicorn passes the socket in the WSGI environment; nginx closes its connection when its own client disconnects
    (proxy_ignore_client_abort is off). Without a socket the client counts as connected.
    """
    # An SSL socket does not support MSG_PEEK.
    if not isinstance(connection, socket.socket) or isinstance(connection, ssl.SSLSocket):
        return bool
    return partial(_is_closed, connection)


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True  # reset
