"""API keys for predictions, if the settings name a file of keys.

A client sends its key as ``Authorization: Bearer KEY`` (RFC 6750, section 2.1), as OpenAI's clients do. The other
routes need no key: ``/health`` and ``/ready``, which monitoring asks, ``/metrics``, which nginx does not pass to the
public, and the pages that describe the API. A new route needs a key until it is listed here.
"""

from collections.abc import Callable

from flask import Flask, g, request

from service.http.problems import Problem
from service.keys.keyring import Keyring

# Key in the WSGI environment for gunicorn's access log: the name of the key, never the key.
LOG_KEY = "gte.key"

_OPEN_RULES = frozenset(
    {
        "/",
        "/health",
        "/ready",
        "/metrics",
        "/tasks",
        "/openapi.json",
        "/docs",
        "/docs/errors",
        "/static/<path:filename>",
    }
)
_OPEN_BLUEPRINTS = frozenset({"swagger"})
_CHALLENGE = 'Bearer realm="gte"'


def needs_key(rule: str) -> bool:
    """Whether the route with this rule needs a key, if keys are in use."""
    return rule not in _OPEN_RULES


def register(app: Flask, keyring: Keyring, count_refused: Callable[[], None]) -> None:
    """Refuse a request without an accepted key to any route of ``app`` that is not open, before its body is read.

    ``count_refused`` is called first: it may raise another problem, for a client that tries too often.
    """

    def require_key() -> None:
        rule = request.url_rule
        # No rule: 404 or 405, which reveal no more than the public description of the API. A browser sends no key with
        # its question before a request (Fetch, CORS-preflight fetch), and the answer does nothing.
        if (
            rule is None
            or request.method == "OPTIONS"
            or not needs_key(rule.rule)
            or request.blueprint in _OPEN_BLUEPRINTS
        ):
            return
        scheme, _, key = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            count_refused()
            # RFC 6750, section 3.1: no error code for a request without credentials.
            raise Problem(
                "unauthorized", "send an API key as Authorization: Bearer KEY", challenge=_CHALLENGE
            )
        name = keyring.name_of(key.strip())
        if name is None:
            count_refused()
            raise Problem(
                "unauthorized",
                "the API key is not one that is accepted",
                challenge=f'{_CHALLENGE}, error="invalid_token", error_description="the key is not accepted"',
            )
        g.key_name = request.environ[LOG_KEY] = name

    app.before_request(require_key)
