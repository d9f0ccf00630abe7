"""The interface between tasks and models, whatever the family of the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

Role = Literal["query", "passage"]


class EngineKind(StrEnum):
    """What an engine does; a deployment has at most one of each kind."""

    LEXICAL = "lexical"
    ENCODER = "encoder"
    EXTRACTOR = "extractor"


class UnavailableReason(StrEnum):
    """Why no prediction would be served, in the words of ``/ready``."""

    LOADING = "loading"
    MODEL_MISSING = "model_missing"
    LOAD_FAILED = "load_failed"
    SATURATED = "saturated"  # of the whole service, never of one engine


@dataclass(frozen=True)
class Token:
    """A word of a text: ``text == input_text[start:end]``, offsets in Unicode characters, and its LAC tag."""

    text: str
    tag: str
    start: int
    end: int


class Lexical(Protocol):
    """Segmentation, parts of speech and names."""

    name: str

    def tokens(self, text: str) -> list[Token]:
        """The words of ``text``, in order, covering it without gaps."""


class Encoder(Protocol):
    """Sentence embedding."""

    name: str
    dimension: int
    # Tokens that the model reads of a text, including special ones; None: unlimited.
    window: int | None

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:
        """One vector of ``dimension`` numbers per text; its length depends on the model (1 for E5)."""

    def count_tokens(self, text: str) -> int:
        """Tokens that the model reads for ``text``."""


@dataclass(frozen=True)
class TextSpan:
    """A span of type ``type`` that an extractor found: ``text == input_text[start:end]``, offsets in Unicode
    characters."""

    type: str
    text: str
    start: int
    end: int


class Extractor(Protocol):
    """Extraction of what a schema names. Each method may raise ``EngineTimeoutError``, and ``WindowExceededError`` if
    the model would not read the whole request."""

    name: str

    def paths(self, text: str, schema: dict[str, Any], *, every_prefix: bool = False) -> list[list[TextSpan]]:
        """The results of a schema: for every combination a list of spans, from the schema's first level to its last;
        with ``every_prefix`` also every shorter beginning of such a list."""

    def choose(self, text: str, labels: Sequence[str], question: str) -> dict[str, float]:
        """A score per label, adding up to 1: how well each answers ``question`` about ``text``."""

    def find(self, text: str, question: str) -> tuple[TextSpan, float]:
        """The span of ``text`` that answers best and its score from 0 to 1; an empty span if none does."""


@dataclass
class WindowExceededError(Exception):
    """``part`` of a request has ``tokens`` tokens; the model reads ``window`` at once. ``kept``: the characters of
    the text that it would read; 0: cutting the text does not help."""

    part: Literal["text", "labels", "question"]
    tokens: int
    window: int
    kept: int


@runtime_checkable
class Restarting(Protocol):
    """An engine that may be unavailable for a while and recovers by itself."""

    def failure(self) -> "EngineUnavailableError | None":
        """Why it computes nothing now, or None."""


@runtime_checkable
class Queued(Protocol):
    """An engine with a queue in front of it."""

    def require_room(self, client: str) -> None:
        """Check that even the shortest request of ``client`` would begin in time.

        Raises:
            OverloadedError: it would not.
        """


def not_installed(error: ImportError, extra: str) -> str:
    """The message for a missing package of one of this project's extras."""
    return f"{error.name or 'a package'} is not installed: pip install 'gte-ops[{extra}]'"


@dataclass
class EngineUnavailableError(Exception):
    """There is no engine of this kind: why, and what to do. Waiting helps only while it is loading."""

    kind: EngineKind
    reason: UnavailableReason
    detail: str
