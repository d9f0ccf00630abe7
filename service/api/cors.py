"""Cross-origin requests: which pages may call the API from a browser (Fetch, CORS protocol). Off unless set."""

import re
from collections.abc import Sequence

from flask import Flask

from service.http.request_id import HEADER

_SECONDS = 600  # for which a browser may keep the answer to its preflight request


def register(app: Flask, origins: Sequence[str]) -> None:
    """Answer pages of ``origins`` (``*``: of all) with the headers that let them read the answer.

    Credentials are never allowed: a key is sent as ``Authorization`` by the page itself, no cookie is in use."""
    from flask_cors import CORS

    CORS(
        app,
        origins=[_pattern(origin) if "[" in origin else origin for origin in origins],
        methods=["GET", "POST", "OPTIONS"],
        expose_headers=[HEADER, "Retry-After"],
        max_age=_SECONDS,
    )


def _pattern(origin: str) -> re.Pattern[str]:
    """``origin`` and no other. Flask-CORS takes a text with brackets, as an IPv6 address has, for a regular
    expression, which fits other origins and not this one."""
    return re.compile(re.escape(origin) + r"\Z", re.IGNORECASE)
