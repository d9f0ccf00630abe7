"""A request body that nobody read, taken off the connection before the answer goes out.

Gunicorn closes a connection with unread data on it, the kernel then resets it (RFC 9112, 9.6), and the answer is lost
on the way: behind nginx a 404 to a large POST arrives as 502.
"""

from flask import Flask, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

_CHUNK = 65536  # bytes


def register(app: Flask) -> None:
    """Have every answer of ``app`` wait for the rest of its request, up to ``MAX_CONTENT_LENGTH`` bytes."""
    app.after_request(_discard)


def _discard(response: Response) -> Response:
    if response.status_code >= 400:
        try:
            stream = request.stream
            while stream.read(_CHUNK):
                pass
        except (RequestEntityTooLarge, ClientDisconnected, OSError):
            # Longer than any request may be, or the client is gone: closing is all that is left.
            response.headers["Connection"] = "close"
    return response
