"""The doctor's benchmark beside other tools has words for every cause, new ones included."""

from __future__ import annotations

import re

import pytest

from benchmarks.doctor_comparison import WORDS, words
from ops.diagnosis.catalogue import catalogue

UNWRITTEN = [code for code in catalogue().codes if code not in WORDS]


@pytest.mark.parametrize("code", catalogue().codes)
def test_every_cause_has_words_that_do_not_match_everything(code: str) -> None:
    assert not re.search(words(code), "OK")
    assert not re.search(words(code), "")


@pytest.mark.parametrize("code", UNWRITTEN)
def test_without_words_of_its_own_a_cause_goes_by_its_title(code: str) -> None:
    assert re.search(words(code), catalogue().entry(code).title.en, re.IGNORECASE)


def test_words_are_written_for_causes_that_exist() -> None:
    assert set(WORDS) <= set(catalogue().codes)
