"""Relations and events by rule, on sentences as LAC segments them."""

from __future__ import annotations

import time

import pytest

from service.engines.interface import Token
from service.engines.lac import with_offsets
from service.tasks.masked_text import mask
from service.tasks.rules.event import _MEASURES, events_of
from service.tasks.rules.relation import relations_of
from service.tasks.schema import schema_of
from service.tasks.task import TaskInput, TaskInputError


def segmented(recorded: str) -> tuple[str, list[Token]]:
    tokens = with_offsets([tuple(word.rsplit("/", 1)) for word in recorded.split(" ")])  # type: ignore[misc]
    return "".join(token.text for token in tokens), tokens


def relations(recorded: str) -> list[tuple[str, str, str]]:
    text, tokens = segmented(recorded)
    matches = relations_of(mask(text, tokens))
    for one in matches:
        for entity in (one.subject, one.object):
            assert text[entity.start : entity.end] == entity.text
    return [(one.subject.text, one.predicate, one.object.text) for one in matches]


def events(recorded: str) -> list[tuple[str, str, dict[str, str]]]:
    text, tokens = segmented(recorded)
    matches = events_of(text, tokens, mask(text, tokens))
    for event in matches:
        for span in event.arguments:
            assert text[span.start : span.end] == span.text
        assert text[event.start : event.end] == event.trigger
    return [(e.type, e.trigger, {one.role: one.text for one in e.arguments}) for e in matches]


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (
            "马云/PER 1964年/TIME 出生于/v 浙江省/LOC 杭州市/LOC 。/w",
            [("马云", "出生日期", "1964年"), ("马云", "出生地", "浙江省杭州市")],
        ),
        ("法国/LOC 的/u 首都/n 是/v 巴黎/LOC 。/w", [("法国", "首都", "巴黎")]),
        ("巴黎/LOC 是/v 法国/LOC 的/u 首都/n 。/w", [("法国", "首都", "巴黎")]),
        ("《/w 呐喊/n 》/w 的/u 作者/n 是/v 鲁迅/PER 。/w", [("呐喊", "作者", "鲁迅")]),
        (
            "姚明/PER 的/u 妻子/n 是/v 叶莉/PER ，/w 叶莉/PER 的/u 父亲/n 是/v 叶东/PER",
            [("姚明", "配偶", "叶莉"), ("叶莉", "父亲", "叶东")],
        ),
    ],
)
def test_a_relation_names_subject_predicate_and_object(
    recorded: str, expected: list[tuple[str, str, str]]
) -> None:
    assert relations(recorded) == expected


@pytest.mark.parametrize(
    "recorded",
    [
        # The two stand in different sentences.
        "姚明/PER 退役/v 。/w 妻子/n 是/v 叶莉/PER",
        "他/r 出生于/v 杭州/LOC 。/w",
        "这/r 部/q 小说/n 的/u 作者/n 没有/v 露面/v",
    ],
)
def test_what_no_single_sentence_says_is_no_relation(recorded: str) -> None:
    assert relations(recorded) == []


def test_agent_and_patient_change_places_in_the_passive() -> None:
    bought = {"收购方": "微软公司", "被收购方": "领英公司"}
    assert events("微软公司/ORG 收购/v 了/u 领英公司/ORG 。/w") == [("收购", "收购", bought)]
    assert events("领英公司/ORG 被/p 微软公司/ORG 收购/v 。/w") == [("收购", "收购", bought)]
    assert events("微软公司/ORG 完成/v 对/p 领英公司/ORG 的/u 收购/vn 。/w") == [("收购", "收购", bought)]


def test_measures_and_times_are_taken_from_the_sentence() -> None:
    (event,) = events("2016年/TIME ，/w 甲公司/ORG 以/p 262亿美元/m 收购/v 乙公司/ORG 。/w")
    assert event[2] == {"收购方": "甲公司", "被收购方": "乙公司", "金额": "262亿美元", "时间": "2016年"}


def test_a_verb_and_its_complement_are_one_trigger() -> None:
    bought = {"收购方": "甲公司", "被收购方": "乙公司"}
    assert events("甲公司/ORG 买/v 下/v 了/u 乙公司/ORG 。/w") == [("收购", "买下", bought)]
    assert events("甲公司/ORG 买下/v 乙公司/ORG 。/w") == [("收购", "买下", bought)]
    assert events("甲公司/ORG 买/v 下/v 了/u 一/m 栋/q 楼/n 。/w") == []
    # A preposition behind a verb that is a trigger alone.
    founded = {"机构": "甲公司", "时间": "1998年"}
    assert events("甲公司/ORG 成立/v 于/p 1998年/TIME 。/w") == [("成立", "成立", founded)]


@pytest.mark.parametrize(
    ("recorded", "met"),
    [
        ("王刚/PER 会见/v 了/u 宝马集团/ORG 总裁/n 齐普策/PER 。/w", "齐普策"),
        ("王刚/PER 会见/v 了/u 宝马集团/ORG 代表团/n ，/w 李明/PER 在/p 座/n 。/w", "宝马集团"),
        ("王刚/PER 会见/v 了/u 宝马集团/ORG 和/c 李明/PER 。/w", "宝马集团"),
    ],
)
def test_who_is_met_is_the_person_rather_than_his_body(recorded: str, met: str) -> None:
    ((_, _, roles),) = events(recorded)
    assert roles["对象"] == met


def test_a_body_may_be_where_it_happens() -> None:
    ((_, _, roles),) = events("老/a 演员/n 王刚/PER 昨天/TIME 在/p 协和医院/ORG 去世/v 。/w")
    assert roles == {"人物": "王刚", "时间": "昨天", "地点": "协和医院"}
    ((_, _, roles),) = events("协和医院/ORG 医生/n 王刚/PER 昨天/TIME 去世/v 。/w")
    assert "地点" not in roles


@pytest.mark.parametrize(
    "recorded",
    [
        "这/r 家/q 公司/n 打算/v 收购/v 一些/m 设备/n",
        "地震/n 的/u 预报/vn 是/v 难题/n",
        "收购/ORG 了/u 乙公司/ORG",
    ],
)
def test_a_trigger_without_its_core_roles_is_no_event(recorded: str) -> None:
    assert events(recorded) == []


def test_characters_that_stand_for_entities_in_the_rules_are_only_characters_in_a_text() -> None:
    assert relations("\ue000出生于\ue002/n") == []


def test_a_hostile_text_of_the_longest_length_takes_no_more_than_a_moment() -> None:
    recorded = " ".join(["王伟/PER 和/c 李伟/PER 之/u 公司/n 甲公司/ORG 由/p 1999年/TIME 北京/LOC"] * 280)
    started = time.process_time()
    relations(recorded)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "unit",
    [
        "百",
        "千",
        "百万",
        "百余",
        "余多",
        "一点",
        "三点五",
        "1",
        "１",
        "1,",
        "1.百",
        "十级",
        "万亿",
        "百元",
        "点点",
    ],
)
def test_no_run_of_letters_of_numbers_stops_the_service(unit: str) -> None:
    # A message of 1,800 such letters took 31 s, in which the interpreter answered nobody.
    recorded = "甲公司/ORG 收购/v " + unit * (5000 // len(unit)) + "/m"
    started = time.process_time()
    events(recorded)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("unit", ["0.", "1,,", "１，", "1.,", "一点", "百"])
def test_a_number_is_not_begun_again_at_each_of_its_parts(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        best = 9.0
        for _ in range(3):
            began = time.thread_time()
            for pattern in _MEASURES.values():
                assert pattern.search(text) is None
            best = min(best, time.thread_time() - began)
        return best

    # Sixteen times as long a text, twice for the machine's noise; begun at each part it takes 256 times as long.
    assert seconds(40_000) < 2 * 16 * max(seconds(2_500), 0.0002)


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("三百万元", "三百万元"),
        ("三万百元", "三万百元"),
        ("一千余万元", "一千余万元"),
        ("三点五亿多美元", "三点五亿多美元"),
        ("1,234.5万元", "1,234.5万元"),
        ("，3亿元", "3亿元"),
        ("3,,5亿元", "5亿元"),
        ("三点五五元", "三点五五元"),
    ],
)
def test_an_amount_is_the_number_its_magnitude_and_the_currency(written: str, amount: str) -> None:
    ((_, _, roles),) = events(f"甲公司/ORG 收购/v 乙公司/ORG {written}/m")
    assert roles["金额"] == amount


@pytest.mark.parametrize(
    ("schema", "levels", "field"),
    [
        ([], 1, "parameters.schema"),
        ({}, 1, "parameters.schema"),
        ({"人物": 1}, 1, "parameters.schema.人物"),
        ({"人物": {}}, 2, "parameters.schema.人物"),
        ({"人物": {"国籍": {"首都": None}}}, 2, "parameters.schema.人物.国籍"),
        ({" ": None}, 1, "parameters.schema"),
        ({"x" * 65: None}, 1, "parameters.schema"),
        ({str(number): None for number in range(65)}, 1, "parameters.schema"),
        ({"甲": {str(number): None for number in range(64)}}, 2, "parameters.schema"),
    ],
)
def test_a_schema_of_another_shape_or_size_is_refused(schema: object, levels: int, field: str) -> None:
    with pytest.raises(TaskInputError) as refused:
        schema_of(TaskInput(("a",), {"schema": schema}), levels)
    assert refused.value.field == field
