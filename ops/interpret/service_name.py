"""Whose answer it is: the service's, or another program's."""

from __future__ import annotations

import re

from ops.facts.probes import Backend, Exchange
from ops.facts.target import Target

_SPEAKS_OF_A_KEY = re.compile(r"authenticat|api[ _-]?key|credential|\btoken\b", re.IGNORECASE)

# How the toolkit's own service calls itself.
OWN = "gte"
_NO_SUCH_PATH = (404, 405)
# What frameworks answer to a body that is not theirs: Flask and Django 400 and 415, FastAPI 422.
_ANOTHER_BODY = (400, 415, 422)


def identity(answer: Exchange) -> str | None:
    """What a health answer calls itself: its ``service``, else its ``status`` word; None where it is no health answer.

    Problem details (RFC 9457) carry a status too, but as a number."""
    body = answer.json()
    if answer.status is None or not isinstance(body, dict):
        return None
    named = body.get("service", body.get("status"))
    return named if isinstance(named, str) else None


def is_own(backend: Backend) -> bool:
    """Whether the toolkit's own service answers, by what its health answer calls itself (contract, service.md)."""
    return isinstance(backend.health, Exchange) and identity(backend.health) == OWN


def refuses_guessed_prediction(backend: Backend, target: Target) -> bool:
    """Whether the application itself turns the test prediction down as another kind of application would: it has no
    such path, or wants another body, and neither was configured. It proves nothing of what its users ask."""
    answer = backend.predict
    if not isinstance(answer, Exchange) or is_own(backend):
        return False
    path_is_guessed, body_is_guessed = (
        target.origin.get(name, "default") == "default" for name in ("predict_path", "predict_body")
    )
    return (path_is_guessed and answer.status in _NO_SUCH_PATH) or (
        body_is_guessed and answer.status in _ANOTHER_BODY
    )


def is_service(answer: Exchange) -> bool:
    """Whether a health answer identifies a service of this kind, whatever the status code."""
    return identity(answer) is not None


def is_prediction(answer: Exchange, target: Target) -> bool:
    """Whether an answer is a prediction: 200 and JSON that carries the expected key (a long body: it begins so)."""
    if answer.status != 200 or answer.is_html:
        return False
    body = answer.json()
    if body is None:
        return f'"{target.expect_key}"' in answer.body
    return isinstance(body, dict) and target.expect_key in body


def asks_for_key(answer: Exchange) -> bool:
    """Whether a service refuses for want of a key: 401 in JSON, with or without the challenge that RFC 9110 (15.5.2)
    asks for, or 403 in JSON that speaks of a key or of who is asking.

    A page is what nginx's own `auth_basic` answers."""
    if answer.status not in (401, 403) or not isinstance(answer.json(), dict):
        return False
    return answer.status == 401 or _SPEAKS_OF_A_KEY.search(answer.body) is not None


def reaches_service(answer: Exchange, target: Target) -> bool:
    """Whether a question for a prediction arrives at the service: it predicts, or asks who wants to know."""
    return is_prediction(answer, target) or asks_for_key(answer)


def serves(backend: Backend, target: Target) -> bool:
    """Whether the service itself predicts."""
    return isinstance(backend.predict, Exchange) and is_prediction(backend.predict, target)
