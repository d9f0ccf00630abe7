"""Bounds on the texts of one request."""

from dataclasses import replace

import pytest

from service.limits import check_texts
from service.problems import Problem
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
