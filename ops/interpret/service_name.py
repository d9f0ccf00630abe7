"""Whose answer it is: the service's, or another program's."""

from __future__ import annotations

from ops.facts.probes import Backend, Exchange
from ops.facts.target import Target


def identity(answer: Exchange) -> str | None:
    """What a health answer calls itself: its ``service``, else its ``status`` word; None where it is no health answer.

    Problem details (RFC 9457) carry a status too, but as a number."""
    body = answer.json()
    if answer.status is None or not isinstance(body, dict):
        return None
    named = body.get("service", body.get("status"))
    return named if isinstance(named, str) else None


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
    """Whether a service refuses for want of a key: 401 in JSON, with the challenge that RFC 9110 (15.5.2) asks for.

    A page is what nginx's own `auth_basic` answers."""
    return (
        answer.status == 401 and bool(answer.header("www-authenticate")) and isinstance(answer.json(), dict)
    )


def reaches_service(answer: Exchange, target: Target) -> bool:
    """Whether a question for a prediction arrives at the service: it predicts, or asks who wants to know."""
    return is_prediction(answer, target) or asks_for_key(answer)


def serves(backend: Backend, target: Target) -> bool:
    """Whether the service itself predicts."""
    return isinstance(backend.predict, Exchange) and is_prediction(backend.predict, target)
