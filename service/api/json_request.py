"""The request class of the application, which refuses a body that is not strict JSON and says why."""

from typing import Any

from flask import Request
from pydantic import BeforeValidator, ValidationError
from werkzeug.exceptions import HTTPException

from service.http.problems import Problem
from service.http.strict_json import JsonError, parse

_MOST_ERRORS = 1000
_LONGEST_NAME = 64  # characters of a key that an error quotes
_UNION_BRANCHES = ("str", "int", "Document")


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Of an integer: in JSON Schema 2.0 is one; pydantic, strict, refuses it.
WHOLE = BeforeValidator(_whole)


class JsonRequest(Request):
    """Flask's request, whose ``get_json`` never guesses and returns only JSON objects."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002
        """The object in the body. The arguments are Flask's and change nothing: errors are always raised.

        Raises:
            Problem: ``unsupported_media_type``, ``bad_json``, or ``bad_request`` if it is JSON but no
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
            # Without Content-Length werkzeug truncates the body at the limit silently; one byte more distinguishes a
            # body that ends there from a longer one.
            self.max_content_length = most + 1
        try:
            body = self.get_data(cache=True)
        except HTTPException:
            raise
        except Exception as error:
            # gunicorn's exceptions for a broken chunk or a lost client have no common base class.
            if isinstance(error, OSError) or type(error).__module__.startswith("gunicorn."):
                raise Problem("bad_request", "the body broke off or is not chunked correctly") from None
            raise
        if most is not None and len(body) > most:
            raise Problem("payload_too_large", f"the body is larger than {most} bytes")
        return body


def invalid_fields(error: ValidationError) -> Problem:
    """The problem for a body that pydantic refused: the field and its error."""
    if error.error_count() > _MOST_ERRORS:
        # Describing each takes more time and memory than a prediction.
        return Problem("bad_request", f"body: {error.error_count()} of its values are not what is expected")
    errors = error.errors(include_url=False, include_input=False)
    # pydantic reports each branch of a union; the client meant the one that got furthest.
    worst = max(errors, key=lambda one: len(one["loc"]))
    # The location has names of union branches ("str", "list[str]") among the names of fields.
    field = ".".join(
        part if len(part) <= _LONGEST_NAME else f"{part[:_LONGEST_NAME]}..."
        for part in map(str, worst["loc"])
        if part not in _UNION_BRANCHES and "[" not in part
    )
    union = any(one["loc"][:1] == worst["loc"][:1] and one is not worst for one in errors)
    message = worst["msg"]
    if union and len(worst["loc"]) == 2 and field in ("input_text", "input"):
        message = "Input should be a string or a list of strings"
    return Problem("bad_request", f"{field or 'body'}: {message}", field=field or None)
