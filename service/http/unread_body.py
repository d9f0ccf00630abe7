"""Read the rest of an unread request body before the answer is sent.

Gunicorn closes a connection that has unread data, the kernel then resets it (RFC 9112, 9.6), and the answer is lost:
behind nginx a 404 to a large POST arrives as 502.
"""

from flask import Flask, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

_CHUNK = 65536  # bytes


def register(app: Flask) -> None:
    """Make every answer of ``app`` wait for the rest of its request, up to ``MAX_CONTENT_LENGTH`` bytes."""
    app.after_request(_discard)


def _discard(response: Response) -> Response:
    if response.status_code >= 400:
        try:
            stream = request.stream
            while stream.read(_CHUNK):
                pass
        except (RequestEntityTooLarge, ClientDisconnected, OSError):
            # Longer than any request may be, or the client is gone: let gunicorn close the connection.
            response.headers["Connection"] = "close"
    return response
