"""Write responses: JSON in UTF-8, timestamps, common headers."""

import json
from datetime import datetime
from typing import Any

from flask import Response

NO_STORE = {"Cache-Control": "no-store"}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_answer(members: dict[str, Any], status: int = 200) -> Response:
    """``members`` as an ``application/json`` response."""
    return Response(encoded(members), status, headers=NO_STORE, mimetype="application/json")


def encoded(value: Any) -> str:
    """``value`` in JSON, the elements of a list one by one.

    The encoder keeps the interpreter lock for the whole of a call: for two thousand vectors at once, more than a second
    in which no other thread answers."""
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{_encode(str(name))}:{encoded(member)}" for name, member in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(_encode, value)) + "]"
    return _encode(value)


def timestamp() -> str:
    """Now, in ISO 8601 with milliseconds and the host's offset."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
