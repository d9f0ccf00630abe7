"""Errors as the client sees them: problem details (RFC 9457), and OpenAI's error object under ``/v1/``.

Every error of the service, from whichever layer, becomes a ``Problem``. A problem never contains a traceback or a
path of the host: those are in the log, under the same ``request_id``.
"""

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

PROBLEM_JSON = "application/problem+json"
OPENAI_PREFIX = "/v1/"

# code -> (HTTP status, title). The codes are part of the API.
CODES: dict[str, tuple[int, str]] = {
    "bad_json": (400, "The body is not valid JSON"),
    "bad_request": (400, "The request is not valid"),
    "unknown_task": (400, "There is no such task"),
    "text_too_long": (400, "A text is too long"),
    "batch_too_large": (400, "There are too many texts in one request"),
    "unauthorized": (401, "Authentication is required"),
    "not_found": (404, "There is nothing at this path"),
    "method_not_allowed": (405, "The path does not take this method"),
    "payload_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body is of an unsupported media type"),
    "rate_limited": (429, "The rate limit for this client is reached"),
    "internal": (500, "The service failed on this request"),
    "model_unavailable": (503, "The model behind this task is not available"),
    "overloaded": (503, "The service has more work than it can take"),
    "timeout": (504, "The prediction took too long"),
}


@dataclass
class Problem(Exception):  # noqa: N818  the term of RFC 9457
    """An error answer: a code of ``CODES``, the exact error, and the field or the delay if one applies.

    ``field`` names the offending part of the request (``input_text``, ``parameters.labels.0``);
    ``retry_after`` is in seconds and becomes the ``Retry-After`` header.
    """

    code: str
    detail: str
    field: str | None = None
    retry_after: int | None = None
    allow: str | None = None  # the methods a 405 must list
    challenge: str | None = None  # WWW-Authenticate, which a 401 must have (RFC 9110, 15.5.2)
    status_override: int | None = None

    @property
    def status(self) -> int:
        """HTTP status code."""
        return self.status_override or CODES[self.code][0]

    def headers(self) -> dict[str, str]:
        """The headers of this error."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.allow is not None:
            headers["Allow"] = self.allow
        if self.challenge is not None:
            headers["WWW-Authenticate"] = self.challenge
        return headers

    def details(self, request_id: str) -> dict[str, Any]:
        """The members of the problem details object (RFC 9457, section 3.1), with our ``code`` and
        ``request_id``."""
        title = CODES[self.code][1] if self.status_override is None else HTTPStatus(self.status).phrase
        members: dict[str, Any] = {
            "type": f"/docs/errors#{self.code}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        }
        if self.field is not None:
            members["field"] = self.field
        return members

    def openai(self) -> dict[str, Any]:
        """The error object that OpenAI's clients read."""
        kind = {401: "authentication_error"}.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )
        return {"error": {"message": self.detail, "type": kind, "param": self.field, "code": self.code}}

    def body(self, path: str, request_id: str) -> tuple[bytes, str]:
        """The answer to a request for ``path``: its body and its media type."""
        if path.startswith(OPENAI_PREFIX):
            return _encode(self.openai()), "application/json"
        return _encode(self.details(request_id)), PROBLEM_JSON


def from_http_status(status: int, detail: str, allow: str | None = None) -> Problem:
    """The problem for an HTTP error raised by the framework."""
    by_status = {
        404: "not_found",
        405: "method_not_allowed",
        413: "payload_too_large",
        415: "unsupported_media_type",
    }
    code = by_status.get(status)
    if code is not None:
        return Problem(code, detail, allow=allow)
    # Statuses without a code of their own (417, 431, ...) keep their status and get the nearest code. 501 is about what
    # the request asks for (RFC 9110, 15.6.2).
    is_requests = status < 500 or status == HTTPStatus.NOT_IMPLEMENTED
    return Problem("bad_request" if is_requests else "internal", detail, status_override=status)


# What JSON may hold as it is: DEL and C1, of which a terminal makes commands.
_CONTROLS = re.compile(r"[\x7f-\x9f]")


def _encode(members: dict[str, Any]) -> bytes:
    # A detail may quote what the client sent; backslashreplace keeps a lone surrogate from failing the
    # answer.
    text = json.dumps(members, ensure_ascii=False)
    return _CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text).encode(
        "utf-8", "backslashreplace"
    )
