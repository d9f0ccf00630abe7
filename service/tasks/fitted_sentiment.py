"""Sentiment by a linear model over the encoder's vector and the words of praise, complaint and request.

Comparing a text with a few sentences of praise and complaint ("zero_shot") decides by the topic as much as by the
opinion: "第三天轮子就掉了一个" complains without a word of complaint. A multinomial logistic regression finds the
directions in the vector that tell opinions apart. Its coefficients (``sentiment_weights.json``) are those of one
encoder; ``scripts/fit_sentiment.py`` fits them and says on what.
"""

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from pathlib import Path

from service.engines.interface import Encoder
from service.tasks.rules.opinion import Opinion

WEIGHTS = Path(__file__).parent / "sentiment_weights.json"
ENCODER = "multilingual-e5-small"
_MOST_WORDS = 3


@dataclass(frozen=True)
class SentimentWeights:
    """Of each label a constant, and one coefficient for each number of the vector and of ``word_features``."""

    labels: tuple[str, ...]
    constants: tuple[float, ...]
    vector: tuple[tuple[float, ...], ...]
    words: tuple[tuple[float, ...], ...]

    def scores(self, vector: Sequence[float], opinion: Opinion) -> dict[str, float]:
        """The probability of each label, adding up to 1, rounded to six digits."""
        words = word_features(opinion)
        sums = [
            constant + sum(map(mul, of_vector, vector)) + sum(map(mul, of_words, words))
            for constant, of_vector, of_words in zip(self.constants, self.vector, self.words, strict=True)
        ]
        highest = max(sums)
        odds = [math.exp(one - highest) for one in sums]
        total = sum(odds)
        return {label: round(one / total, 6) for label, one in zip(self.labels, odds, strict=True)}


def word_features(opinion: Opinion) -> tuple[float, ...]:
    """What the words say, as numbers: praise and complaint (at most three words each), a request, none of the words."""
    return (
        float(min(_MOST_WORDS, opinion.praise)),
        float(min(_MOST_WORDS, opinion.complaint)),
        float(opinion.is_request),
        float(not opinion.praise and not opinion.complaint),
    )


def weights_for(encoder: Encoder) -> SentimentWeights | None:
    """The coefficients, if they were fitted to ``encoder``."""
    return _weights() if encoder.name.startswith(ENCODER) else None


@functools.cache
def _weights() -> SentimentWeights:
    read = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return SentimentWeights(
        tuple(read["labels"]),
        tuple(read["constants"]),
        tuple(map(tuple, read["vector"])),
        tuple(map(tuple, read["words"])),
    )
