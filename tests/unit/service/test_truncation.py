"""Texts longer than what is read of them: refused, or cut and said so."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engines.interface import EngineKind
from service.http.problems import Problem
from service.prediction.truncation import fit_window
from tests.unit.service.test_app import SETTINGS, NounLexical, client_with
from tests.unit.service.test_tasks import LetterEncoder


class WindowedEncoder(LetterEncoder):
    """Reads twelve tokens: one a character, and the two special ones. Keeps what it was given."""

    window: int | None = 12

    def __init__(self) -> None:
        self.read: list[str] = []

    def count_tokens(self, text: str) -> int:
        return len(text) + 2

    def encode(self, texts: Sequence[str], role: Any = "query") -> list[list[float]]:
        self.read += texts
        return super().encode(texts, role)


def test_without_a_window_nothing_is_cut() -> None:
    assert fit_window(LetterEncoder(), "f", ["a" * 10_000], truncate=False) == (["a" * 10_000], [])


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_with_one_each_text_keeps_the_longest_beginning_that_fits(texts: list[str]) -> None:
    beginnings, cuts = fit_window(WindowedEncoder(), "f", texts, truncate=True)
    assert beginnings == [text[:10] for text in texts]
    assert [(cut.kept, cut.length) for cut in cuts] == [(10, len(text)) for text in texts if len(text) > 10]


def test_unless_it_is_asked_for_a_text_beyond_the_window_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        fit_window(WindowedEncoder(), "f", ["a" * 10, "a" * 11], truncate=False)
    assert (refused.value.code, refused.value.field) == ("text_too_long", "f.1")
    assert "parameters.truncate" in refused.value.detail


def asked(encoder: LetterEncoder, task: str, text: str | list[str], **parameters: Any) -> Any:
    client = client_with({EngineKind.ENCODER: lambda: encoder, EngineKind.LEXICAL: NounLexical})
    body = {"task_type": task, "input_text": text, "parameters": parameters}
    return client.post("/predict", json=body)


def test_the_answer_says_what_was_cut_and_to_what() -> None:
    encoder = WindowedEncoder()
    texts = ["短", "长" * 60, "中" * 11]
    assert asked(encoder, "embedding", texts).json["field"] == "input_text.1"
    answer = asked(encoder, "embedding", texts, truncate=True)
    assert answer.status_code == 200
    assert answer.json["truncated"] == [
        {"field": "input_text.1", "kept": 10, "length": 60},
        {"field": "input_text.2", "kept": 10, "length": 11},
    ]
    assert encoder.read == ["短", "长" * 10, "中" * 10]


def test_an_answer_of_which_nothing_was_cut_says_nothing_of_it() -> None:
    assert "truncated" not in asked(LetterEncoder(), "embedding", "a", truncate=True).json


def test_candidates_are_cut_too() -> None:
    answer = asked(LetterEncoder(), "similarity", "a", candidates=["b", "c" * 51], truncate=True)
    assert answer.json["truncated"] == [{"field": "parameters.candidates.1", "kept": 50, "length": 51}]
    assert len(answer.json["result"]["scores"]) == 2


def test_a_question_at_the_end_of_the_text_is_never_what_is_cut() -> None:
    assert asked(LetterEncoder(), "qa", "甲" * 60 + "|谁？", truncate=True).json["code"] == "text_too_long"
    answer = asked(LetterEncoder(), "qa", "甲" * 60, question="谁？", truncate=True)
    assert answer.json["truncated"] == [{"field": "input_text", "kept": 50, "length": 60}]


def test_what_is_too_much_in_all_stays_refused() -> None:
    settings = replace(SETTINGS, max_batch_chars=90)
    client = client_with({EngineKind.ENCODER: LetterEncoder}, settings=settings)
    body = {"task_type": "embedding", "input_text": ["a" * 60, "b" * 60], "parameters": {"truncate": True}}
    assert client.post("/predict", json=body).json["code"] == "batch_too_large"


def test_texts_that_are_the_same_are_encoded_once_and_come_back_each_in_its_place() -> None:
    encoder = WindowedEncoder()
    vectors = asked(encoder, "embedding", ["甲", "乙", "甲"]).json["result"]["embeddings"]
    assert encoder.read == ["甲", "乙"]
    assert vectors[0] == vectors[2] != vectors[1]
    scores = asked(encoder, "similarity", "甲", candidates=["甲", "乙", "乙"]).json["result"]["scores"]
    assert encoder.read == ["甲", "乙"] * 2
    assert scores[0] == 1
    assert scores[1] == scores[2]
