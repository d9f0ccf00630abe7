"""What a call returns, and how it is read from the members of an answer."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import BadAnswerError


@dataclass(frozen=True)
class Span:
    """A part of the text: ``text == input_text[start:end]``, in Unicode characters. ``type`` may be empty."""

    text: str
    start: int
    end: int
    type: str = ""


@dataclass(frozen=True)
class Relation:
    """The relation ``predicate`` between ``subject`` and ``object``."""

    subject: Span
    predicate: str
    object: Span


@dataclass(frozen=True)
class Argument:
    """The participant in ``role`` of an event."""

    role: str
    span: Span


@dataclass(frozen=True)
class Event:
    """An event: the word that expresses it, and its participants."""

    type: str
    trigger: Span
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Choice:
    """The label with the best score, and the score of each."""

    label: str
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Answer:
    """A slice of the context that answers the question."""

    answer: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Prediction:
    """An unprocessed answer of ``/predict``. ``model`` names the engine that answered."""

    result: Mapping[str, Any]
    task_type: str
    model: str
    version: str
    timestamp: str
    request_id: str


@dataclass(frozen=True)
class State:
    """An answer of ``/health`` or ``/ready``. ``reason`` and ``detail`` explain a negative answer."""

    ok: bool
    reason: str | None
    detail: str
    members: Mapping[str, Any]


@contextlib.contextmanager
def understood(request_id: str) -> Iterator[None]:
    """Turn the errors of an answer of another form into BadAnswerError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswerError(
            f"the answer has not the form that it should: {type(error).__name__}: {error}", request_id
        ) from error


def span(members: Mapping[str, Any]) -> Span:
    """An entity, a participant or a trigger."""
    return Span(
        str(members["text"]), int(members["start"]), int(members["end"]), str(members.get("type") or "")
    )


def choice(result: Mapping[str, Any]) -> Choice:
    """The result of sentiment or classification."""
    scores = {str(label): float(score) for label, score in result["scores"].items()}
    return Choice(str(result["label"]), float(result["score"]), scores)


def event(members: Mapping[str, Any]) -> Event:
    """One of the events."""
    return Event(
        str(members["type"]),
        span(members["trigger"]),
        tuple(Argument(str(one["role"]), span(one)) for one in members["arguments"]),
    )
