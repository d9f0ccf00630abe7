"""Write responses: JSON in UTF-8, timestamps, common headers."""

import json
from datetime import datetime
from typing import Any

from flask import Response

NO_STORE = {"Cache-Control": "no-store"}


def json_answer(members: dict[str, Any], status: int = 200) -> Response:
    """``members`` as an ``application/json`` response."""
    body = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    return Response(body, status, headers=NO_STORE, mimetype="application/json")


def timestamp() -> str:
    """Now, in ISO 8601 with milliseconds and the host's offset."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
