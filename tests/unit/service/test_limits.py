"""Bounds on the texts of one request."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from service.api.embeddings import EmbeddingsRequest
from service.api.predict import PredictRequest
from service.http.problems import Problem
from service.prediction.limits import check_texts
from service.settings import read_settings

SETTINGS = replace(read_settings({}), max_text_chars=10, max_batch=3, max_batch_chars=20)


@pytest.mark.parametrize("texts", [["a"], ["字" * 10], ["a", "b", "c"], ["字" * 10, "字" * 10], ["😀" * 10]])
def test_what_is_within_the_bounds_passes(texts: list[str]) -> None:
    check_texts(SETTINGS, "input_text", texts)


@pytest.mark.parametrize(
    ("texts", "code", "field"),
    [
        ([], "bad_request", "input_text"),
        ([""], "bad_request", "input_text"),
        (["a", "\u3000"], "bad_request", "input_text.1"),
        (["字" * 11], "text_too_long", "input_text"),
        (["a", "字" * 11], "text_too_long", "input_text.1"),
        (["a"] * 4, "batch_too_large", "input_text"),
        (["字" * 7] * 3, "batch_too_large", "input_text"),
    ],
)
def test_what_is_not_is_named(texts: list[str], code: str, field: str) -> None:
    with pytest.raises(Problem) as refused:
        check_texts(SETTINGS, "input_text", texts)
    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.parametrize(
    ("model", "members"),
    [
        (PredictRequest, {"task_type": "embedding", "input_text": [0] * 1000}),
        (PredictRequest, {"task_type": "a", "input_text": "b", "parameters": {"labels": [0] * 1000}}),
        (PredictRequest, {"task_type": "a", "input_text": "b", "parameters": {"candidates": [0] * 1000}}),
        (EmbeddingsRequest, {"input": [[]] * 1000}),
        (EmbeddingsRequest, {"input": ["a", *[0] * 1000]}),
    ],
)
def test_a_list_of_what_is_no_text_is_not_looked_through_to_its_end(
    model: type[BaseModel], members: dict[str, Any]
) -> None:
    """A body of 1 MiB holds half a million numbers; an error for each took 0.5 GB and 3 s."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(members)
    assert refused.value.error_count() <= 2, "one for each branch of the union"
