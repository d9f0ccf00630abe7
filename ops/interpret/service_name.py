"""Decide whether an answer is the service's or another program's."""

from __future__ import annotations

import re

from ops.facts.probes import Backend, Exchange
from ops.facts.target import Target

_SPEAKS_OF_A_KEY = re.compile(r"authenticat|api[ _-]?key|credential|\btoken\b", re.IGNORECASE)

# The name in the health answers of the toolkit's own service.
OWN = "gte"
_NO_SUCH_PATH = (404, 405)
# The status for a body that an application does not expect: 400 and 415 of Flask and Django, 422 of FastAPI.
_ANOTHER_BODY = (400, 415, 422)


def identity(answer: Exchange) -> str | None:
    """Return the ``service`` of a health answer, else its ``status`` word; None if it is no health answer.

    Problem details (RFC 9457) have a status too, but as a number."""
    body = answer.json()
    if answer.status is None or not isinstance(body, dict):
        return None
    name = body.get("service", body.get("status"))
    return name if isinstance(name, str) else None


def is_own(backend: Backend) -> bool:
    """Whether the toolkit's own service answers, by the name in its health answer (contract, service.md)."""
    return isinstance(backend.health, Exchange) and identity(backend.health) == OWN


def refuses_guessed_prediction(backend: Backend, target: Target) -> bool:
    """Whether an application of another kind refuses the test prediction: it has no such path, or expects another body,
    and that path or body was not configured. Such an answer is no evidence about its users' requests."""
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
    """Whether an answer is a prediction: 200 and JSON with the expected key (anywhere in a body that was cut)."""
    if answer.status != 200 or answer.is_html:
        return False
    body = answer.json()
    if body is None:
        return f'"{target.expect_key}"' in answer.body
    return isinstance(body, dict) and target.expect_key in body


def asks_for_key(answer: Exchange) -> bool:
    """Whether a service refuses a request without a key: 401 in JSON, with or without the challenge that RFC 9110
    (15.5.2) requires, or 403 in JSON that mentions a key or authentication.

    nginx's own `auth_basic` answers with a page, not with JSON."""
    if answer.status not in (401, 403) or not isinstance(answer.json(), dict):
        return False
    return answer.status == 401 or _SPEAKS_OF_A_KEY.search(answer.body) is not None


def reaches_service(answer: Exchange, target: Target) -> bool:
    """Whether a prediction request reaches the service: it predicts, or asks for a key."""
    return is_prediction(answer, target) or asks_for_key(answer)


def serves(backend: Backend, target: Target) -> bool:
    """Whether the backend answers with a prediction."""
    return isinstance(backend.predict, Exchange) and is_prediction(backend.predict, target)
