"""Entities from LAC's words: which tags are names of which type, and which words together name an event.

LAC marks names of persons (PER), places (LOC), organisations (ORG) and times (TIME) itself, works as ``nw``
and other proper names as ``nz``; it has no tag for events and does not distinguish countries and cities from rivers.
The rules below do. The types are those of OntoNotes 5 (PERSON, GPE, LOC, ORG, EVENT, WORK_OF_ART), with
TIME for both its dates and times, and MISC for proper names that LAC does not class.

Events. A word that ends in an event noun ("冬奥会", "博览会", "地震") is the head. Words that qualify it are
joined from the left as long as they are adjacent: places, organisations, proper names, ordinals ("第29届"),
seasons ("夏季"), and plain nouns ("国际", "进口"). The result must name the event, not merely
describe it:
  - a head that is itself a name of a recurring event ("冬奥会", "世界杯") needs no qualifier;
  - any other head needs a name or an ordinal among its qualifiers, or two plain nouns ("世界人工智能大会");
    so "参加了会议" and "发生8.0级地震" name no event.
Plain nouns before the first name or ordinal are left out ("记者北京奥运会" -> "北京奥运会"). A date is an
entity of its own, even before an event ("2022年" "北京冬奥会"), unless it is a bare number that serves as a
name ("五四运动", "九一八事变"). An organisation whose name ends in an event noun is an event only with an
ordinal ("第二十次全国代表大会"): without one it is the organisation, not a meeting of it.

Places. A place is geopolitical (GPE) unless its name ends in a natural or built feature ("江", "广场");
provinces, countries and cities whose names happen to end in one ("浙江", "冰岛", "旧金山") are in ``places.txt``
(``scripts/place_names.py`` says from where). One that both a mountain and a district have is the mountain's if more is
said of the mountain ("泰山").

Organisations. LAC tags many firms as other proper names ("携程"), some as persons ("小马智行"). Such a name is an
organisation where only organisations stand: before what they do or have ("斥资", "总部"), after what is done to them
("收购了"), or after a word for their kind ("企业").
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.engines.interface import Token


@dataclass(frozen=True)
class Entity:
    """``text == input_text[start:end]``, offsets in Unicode characters, half open."""

    text: str
    type: str
    start: int
    end: int


_TYPE_OF_TAG = {
    "PER": "PERSON",
    "ORG": "ORG",
    "TIME": "TIME",
    "t": "TIME",
    "nw": "WORK_OF_ART",
    "nz": "MISC",
}

# Names of recurring events: these need no qualifier.
_EVENT_NAMES = [
    "奥运会",
    "冬奥会",
    "残奥会",
    "冬残奥会",
    "青奥会",
    "亚运会",
    "亚冬会",
    "全运会",
    "大运会",
    "世运会",
    "奥林匹克运动会",
    "世界杯",
    "欧洲杯",
    "美洲杯",
    "亚洲杯",
    "世锦赛",
    "世乒赛",
    "世博会",
    "进博会",
    "广交会",
    "服贸会",
    "双十一",
    "世界大战",
]
# Nouns that are heads of events.
_EVENT_NOUNS = [
    "运动会",
    "锦标赛",
    "联赛",
    "公开赛",
    "大奖赛",
    "邀请赛",
    "挑战赛",
    "巡回赛",
    "马拉松",
    "决赛",
    "博览会",
    "展览会",
    "交易会",
    "洽谈会",
    "展销会",
    "峰会",
    "论坛",
    "大会",
    "会议",
    "年会",
    "研讨会",
    "座谈会",
    "发布会",
    "电影节",
    "音乐节",
    "艺术节",
    "文化节",
    "颁奖典礼",
    "开幕式",
    "闭幕式",
    "阅兵",
    "大战",
    "战争",
    "战役",
    "会战",
    "起义",
    "革命",
    "运动",
    "事变",
    "事件",
    "政变",
    "地震",
    "海啸",
    "洪灾",
    "空难",
    "疫情",
    "危机",
]
_EVENT_NAME = re.compile(f"(?:{'|'.join(_EVENT_NAMES)})$")
_EVENT_NOUN = re.compile(f"(?:{'|'.join(_EVENT_NOUNS)})$")

# Words before the head of an event that are looked at; with no bound each of many heads looks at all words before it.
_MOST_QUALIFIERS = 32

_NUMBER = "0-9０-９一二三四五六七八九十百千零〇两"
_ORDINAL = re.compile(f"第[{_NUMBER}]+[届次个回期]?$")
_SEASON = re.compile("[春夏秋冬]季$")
_NUMBER_AS_NAME = re.compile("[一二三四五六七八九十]{2,4}$")

FEATURE = re.compile(
    "(?:江|河|湖|海|洋|山|峰|岭|岛|湾|峡|峡谷|谷|溪|泉|盆地|平原|高原|草原|沙漠|山脉|海峡|瀑布|群岛|半岛|大陆|大洲|"
    "洲|广场|公园|机场|车站|火车站|高铁站|码头|大桥|桥|街|大街|街道|路|大道|胡同|高速|隧道|大厦|大楼|寺|塔|宫|庙|陵|"
    "体育馆|体育场|体育中心|大会堂|博物馆|图书馆|故宫|长城)$"
)
# Mountains, lakes and seas that are spoken of more than the division that is named after each.
FEATURES_FIRST = frozenset(
    [
        *(
            "泰山",
            "恒山",
            "嵩山",
            "华山",
            "庐山",
            "天山",
            "崂山",
            "千山",
            "香山",
            "峨眉山",
            "武夷山",
            "井冈山",
            "五指山",
        ),
        *(
            "普陀山",
            "大兴安岭",
            "西湖",
            "太湖",
            "东湖",
            "南湖",
            "洪泽湖",
            "大明湖",
            "东海",
            "南海",
            "渤海",
            "黄海",
        ),
        *("长江", "黄河", "珠江", "三峡", "运河", "故宫", "天桥", "南极洲"),
    ]
)
PLACES = Path(__file__).parent / "places.txt"
_LONGEST_NAME = 8  # of those that scripts/place_names.py writes


# What organisations do and have, behind their name, and what is done to them, before it.
_OF_BODIES = frozenset(
    [
        "收购",
        "并购",
        "兼并",
        "斥资",
        "融资",
        "完成",
        "宣布",
        "获得",
        "获",
        "发布",
        "推出",
        "公布",
        "上市",
        "退市",
        "裁员",
        "回应",
        "投资",
        "入股",
        "成立",
        "创立",
        "起诉",
        "停牌",
        "总部",
        "创始人",
        "联合创始人",
        "创办人",
        "董事长",
        "总裁",
        "首席执行官",
        "CEO",
        "ceo",
        "总经理",
        "高管",
        "股价",
        "市值",
        "营收",
        "财报",
        "股票",
        "股份",
        "旗下",
        "员工",
    ]
)
_DONE_TO_BODIES = frozenset(
    [
        "收购",
        "并购",
        "兼并",
        "吞并",
        "买下",
        "购入",
        "入股",
        "注资",
        "加盟",
        "入职",
        "创办",
        "创立",
        "就职",
        "任职",
        "供职",
    ]
)
_KINDS_OF_BODIES = frozenset(
    ["企业", "平台", "品牌", "厂商", "巨头", "开发商", "运营商", "供应商", "制造商", "券商", "车企", "药企"]
)
_BODY_SUFFIXES = frozenset(
    [
        "科技",
        "集团",
        "资本",
        "控股",
        "传媒",
        "影业",
        "速递",
        "证券",
        "汽车",
        "电器",
        "医药",
        "生物",
        "智能",
        "网络",
    ]
)
# And those that as often say what a body deals in: they belong to a name that LAC knows in part.
_BODY_ENDS = _BODY_SUFFIXES | {"工业", "电子", "电脑", "电气", "重工", "实业", "股份", "食品", "能源"}
_SHORT_NAME = 3  # "鸿海", not "教育部" nor "北京大学"
_OF_SEVERAL = frozenset(("、", "和", "与", "及", "在", "从"))
_BETWEEN = frozenset(("TIME", "t", "d", "m", "p", "xc"))  # between a name and what it does
_MOST_BETWEEN = 4
# One letter before a name: "前谷歌工程师" is no organisation "前".
_PREFIXES = frozenset("前原该某")


@functools.cache
def _administrative() -> frozenset[str]:
    """Divisions, countries and cities whose names end like a feature."""
    lines = PLACES.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def is_geopolitical(place: str) -> bool:
    """Whether a place that LAC marked has a government, judged by its name.

    "福建晋江" and "浙江省台州温岭" are judged by the last of the places that they name.
    """
    if not FEATURE.search(place):
        return True
    names = _administrative()
    if place in names:
        return True
    # A name in front of which others stand, each of two characters or more.
    first = max(2, len(place) - _LONGEST_NAME)
    return any(place[start:] in names for start in range(first, len(place) - 1)) and not any(
        place.endswith(feature) for feature in FEATURES_FIRST
    )


def entities_of(tokens: Sequence[Token]) -> list[Entity]:
    """The entities in a text segmented by LAC, in order, without overlaps."""
    entities = []
    index = len(tokens) - 1
    # From the right, so that the last head gets all its qualifiers: "第十四届全国人民代表大会第一次会议"
    # is one event.
    while index >= 0:
        first = _event_from(tokens, index)
        if first is not None:
            entities.append(_joined(tokens[first : index + 1], "EVENT"))
            index = first - 1
            continue
        token = tokens[index]
        if index and _is_named_by_suffix(tokens, index):
            entities.append(_joined(tokens[index - 1 : index + 1], "ORG"))
            index -= 2
            continue
        first = _name_from(tokens, index)
        if first < index:
            entities.append(
                _joined(tokens[first : index + 1], "ORG" if tokens[first].tag == "ORG" else "PERSON")
            )
            index = first - 1
            continue
        kind = _type_of(tokens, index)
        if kind is not None:
            entities.append(Entity(token.text, kind, token.start, token.end))
        index -= 1
    entities.reverse()
    return entities


def _type_of(tokens: Sequence[Token], index: int) -> str | None:
    token = tokens[index]
    if not token.text.strip() or (token.tag == "ORG" and token.text in _PREFIXES):
        return None
    if token.tag == "LOC":
        return "GPE" if is_geopolitical(token.text) else "LOC"
    if token.tag in ("nz", "PER") and _is_body(tokens, index):
        return "ORG"
    return _TYPE_OF_TAG.get(token.tag)


def _is_body(tokens: Sequence[Token], index: int) -> bool:
    """Whether the name at ``index`` stands where only organisations do. A person founds and announces too."""
    before = index - 1
    if before >= 0 and tokens[before].text in _KINDS_OF_BODIES:
        return True
    if tokens[index].tag == "PER":
        return False
    if before > 0 and tokens[before].text in ("了", "于"):
        before -= 1
    if before >= 0 and tokens[before].text in _DONE_TO_BODIES:
        return True
    return _acts_as_body(tokens, index + 1)


def _acts_as_body(tokens: Sequence[Token], index: int) -> bool:
    """Whether what follows is what organisations do or have."""
    for token in tokens[index : index + _MOST_BETWEEN]:
        if token.text in _OF_BODIES:
            return True
        if token.tag not in _BETWEEN and token.text != "的":
            return False
    return False


def _is_named_by_suffix(tokens: Sequence[Token], index: int) -> bool:
    """Whether a word and the suffix at ``index`` name an organisation: "快手" "科技", before "总部"."""
    name = tokens[index - 1]
    return (
        tokens[index].text in _BODY_SUFFIXES
        and tokens[index].tag == "n"
        and name.tag in ("n", "nz", "PER", "LOC", "nw")
        and 2 <= len(name.text) <= 4
        and (index == 1 or tokens[index - 2].tag in ("w", "p", "TIME", "c"))
        and _acts_as_body(tokens, index + 1)
    )


def _name_from(tokens: Sequence[Token], index: int) -> int:
    """The first word of the name that ends with ``tokens[index]``, of which LAC knows only the beginning; ``index`` if
    it is no such name: "王伟" "中" at the end of a clause, "鸿海" "精密" "工业" before what organisations do."""
    token = tokens[index]
    if token.text == "中" and token.tag == "f" and index:
        name = tokens[index - 1]
        is_last = index + 1 == len(tokens) or tokens[index + 1].tag == "w"
        # "在李明、王伟中": of several.
        is_of_several = index > 1 and tokens[index - 2].text in _OF_SEVERAL
        if name.tag == "PER" and len(name.text) == 2 and is_last and not is_of_several:
            return index - 1
    if token.text in _BODY_ENDS and token.tag == "n" and _acts_as_body(tokens, index + 1):
        for first in (index - 1, index - 2):
            if first >= 0 and tokens[first].tag == "ORG" and len(tokens[first].text) <= _SHORT_NAME:
                return first
            if first < 0 or tokens[first].tag not in ("a", "n", "vn") or len(tokens[first].text) != 2:
                break
    return index


def _event_from(tokens: Sequence[Token], head: int) -> int | None:
    """Index of the first word of the event whose head is ``tokens[head]``, or None if there is no event."""
    word = tokens[head]
    if word.tag not in ("n", "nz", "vn", "ORG", "nw"):
        return None
    has_name = bool(_EVENT_NAME.search(word.text))
    if not has_name and not _EVENT_NOUN.search(word.text):
        return None
    first = head
    while first > max(0, head - _MOST_QUALIFIERS) and _qualifies(tokens[first - 1]):
        first -= 1
    qualifiers = tokens[first:head]
    anchors = [offset for offset, token in enumerate(qualifiers) if not _is_plain_noun(token)]
    if word.tag == "ORG":
        return first + anchors[0] if any(_ORDINAL.match(token.text) for token in qualifiers) else None
    if anchors:
        return first + anchors[0]
    if has_name or len(qualifiers) >= 2:
        return first if len(qualifiers) >= 2 else head
    # A single word can contain its own qualifier: "G20杭州峰会" is one proper name to LAC.
    own_name = word.tag == "nz" and _EVENT_NOUN.sub("", word.text)
    return head if own_name else None


def _qualifies(token: Token) -> bool:
    if token.tag in ("LOC", "ORG", "nz"):
        return True
    if token.tag == "m":
        return bool(_ORDINAL.match(token.text))
    if token.tag in ("TIME", "t"):
        return bool(_SEASON.match(token.text) or _NUMBER_AS_NAME.match(token.text))
    return _is_plain_noun(token)


def _is_plain_noun(token: Token) -> bool:
    return token.tag in ("n", "vn", "an")


def _joined(tokens: Sequence[Token], kind: str) -> Entity:
    return Entity("".join(token.text for token in tokens), kind, tokens[0].start, tokens[-1].end)
