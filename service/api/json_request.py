"""The request class of the application: a body is strict JSON, or the request is refused saying why."""

from typing import Any

from flask import Request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from service.http.problems import Problem
from service.http.strict_json import JsonError, parse

_MOST_ERRORS = 1000


class JsonRequest(Request):
    """Flask's request, whose ``get_json`` never guesses and never returns what is not a JSON object."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002
        """The object in the body. The arguments are Flask's and change nothing: errors are always told.

        Raises:
            Problem: ``unsupported_media_type``, ``bad_json``, or ``bad_request`` where it is JSON but no
            object. werkzeug.exceptions.RequestEntityTooLarge: the body is longer than the application takes.
        """
        if not self.is_json:
            raise Problem("unsupported_media_type", "send the body with Content-Type: application/json")
        if self.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Problem("unsupported_media_type", "send the body without Content-Encoding")
        body = self._bounded_body()
        try:
            value = parse(body)
        except JsonError as error:
            raise Problem("bad_json", str(error)) from None
        if not isinstance(value, dict):
            raise Problem("bad_request", "the body must be a JSON object")
        return value

    def _bounded_body(self) -> bytes:
        most = self.max_content_length
        if most is not None and self.content_length is None:
            # Without an announced length werkzeug cuts the body off at the limit and says nothing; one byte more
            # tells a body that ends there from one that goes on.
            self.max_content_length = most + 1
        try:
            body = self.get_data(cache=True)
        except HTTPException:
            raise
        except Exception as error:
            # gunicorn's own exceptions of a broken chunk or a client that went away; no common base but this.
            if isinstance(error, OSError) or type(error).__module__.startswith("gunicorn."):
                raise Problem("bad_request", "the body broke off or is not chunked correctly") from None
            raise
        if most is not None and len(body) > most:
            raise Problem("payload_too_large", f"the body is larger than {most} bytes")
        return body


def invalid_fields(error: ValidationError) -> Problem:
    """The problem for a body that pydantic refused: the field, and what is wrong with it."""
    if error.error_count() > _MOST_ERRORS:
        # To describe each takes more time and memory than a whole prediction; the first ones say no more than this.
        return Problem("bad_request", f"body: {error.error_count()} of its values are not what is expected")
    errors = error.errors(include_url=False, include_input=False)
    # A union reports each of its branches; the one that got furthest is the one that was meant.
    worst = max(errors, key=lambda one: len(one["loc"]))
    # Names of union branches ("str", "list[str]") stand in the location beside names of fields.
    field = ".".join(
        str(part) for part in worst["loc"] if part not in ("str", "int") and "[" not in str(part)
    )
    union = any(one["loc"][:1] == worst["loc"][:1] and one is not worst for one in errors)
    message = worst["msg"]
    if union and len(worst["loc"]) == 2 and field in ("input_text", "input"):
        message = "Input should be a string or a list of strings"
    return Problem("bad_request", f"{field or 'body'}: {message}", field=field or None)
