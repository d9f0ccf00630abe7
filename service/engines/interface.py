"""What a task may ask of a model, whichever family it is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Slot = Literal["lexical", "encoder"]
Role = Literal["query", "passage"]
Reason = Literal["loading", "model_missing", "load_failed"]


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

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:
        """One vector of ``dimension`` numbers and length 1 per text, so that a dot product is the cosine."""

    def count_tokens(self, text: str) -> int:
        """Tokens that the model reads for ``text``."""


@dataclass
class EngineUnavailableError(Exception):
    """A slot has no engine: why, what to do, and whether waiting helps (only while ``loading``)."""

    slot: Slot
    reason: Reason
    detail: str
