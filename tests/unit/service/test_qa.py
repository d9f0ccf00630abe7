"""Which words of a sentence can answer a question."""

from __future__ import annotations

import pytest

from service.tasks.qa import AnswerSpan, kinds_asked, of_kind_named


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("谁击败了甲队？", {"PERSON", "ORG"}),
        ("沃尔沃被谁收购了？", {"PERSON", "ORG"}),
        ("谁是这本书的作者？", {"PERSON"}),
        ("他在哪个部门工作？", {"ORG"}),
        ("他在哪个城市工作？", {"GPE", "LOC"}),
    ],
)
def test_the_question_word_and_the_verb_say_what_is_asked_for(question: str, kinds: set[str]) -> None:
    asked = kinds_asked(question)
    assert asked is not None
    assert asked[1] == kinds


@pytest.mark.parametrize(
    ("question", "fitting"),
    [
        ("他毕业于哪所大学？", ["东南大学"]),
        ("他在哪家医院看病？", ["同济医院"]),
        ("哪支球队赢了？", ["上海海港队"]),
        ("他在哪家公司工作？", []),
        ("大学在哪里？", []),
    ],
)
def test_a_school_is_sought_among_schools(question: str, fitting: list[str]) -> None:
    names = ("联发科技", "东南大学", "同济医院", "上海海港队")
    spans = [AnswerSpan(name, 0, len(name)) for name in names]
    assert [span.text for span in of_kind_named(spans, question)] == fitting
