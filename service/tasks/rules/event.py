"""Events by rule: a trigger word that LAC marks as a verb, a verbal noun or a noun, and arguments by their kind
and their place beside it.

One sentence at a time. A role takes the nearest entity of its kind on its side of the trigger; "被" before an
entity makes that entity the agent and the one before "被" the patient; a patient may also precede the trigger, after
"对". An event needs its core roles: "打算收购一些二手设备" names neither buyer nor seller. ``docs/tasks.md`` has the
types, and the accuracy of the rules on sentences that were not used to write them.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from service.engines.interface import Token
from service.tasks.masked_text import EVENT, ORG, PERSON, PLACE, SENTENCE_ENDS, TIME, MaskedText


@dataclass(frozen=True)
class EventArgument:
    """The participant in ``role`` of an event; ``text == input_text[start:end]``."""

    role: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class EventMatch:
    """A trigger, ``text == input_text[start:end]``, of an event of type ``type``, and its arguments in order."""

    type: str
    trigger: str
    start: int
    end: int
    arguments: tuple[EventArgument, ...]


Side = Literal["agent", "patient", "partner", "before", "around", "place", "sold"]


@dataclass(frozen=True)
class _Role:
    """``side``: where to look for it. ``agent`` before the trigger, or after "被"; ``patient`` after it, or before
    "被", or after "对"; ``partner`` after the trigger, else after "同" or "与"; ``before``, ``around`` the nearest,
    before first; ``place`` the same, after "在" or "于"; ``sold`` after "把" or "将", else the nearest before."""

    name: str
    kinds: str
    side: Side


@dataclass(frozen=True)
class _Type:
    name: str
    triggers: str
    roles: tuple[_Role, ...]
    core: tuple[str, ...]  # the event counts if all of these roles are filled
    after: str = ""  # and if one of these characters stands in the clause before the trigger
    follows: str = ""  # and if this pattern is found in the sentence not far behind the trigger


_MONEY = "\N{CURRENCY SIGN}"  # not an entity: found in the text itself
_MAGNITUDE = "\N{WAVY DASH}"
# Every loop is possessive and none begins inside a run of its own letters, so no part of a text is matched in two ways;
# 百 and 千 would otherwise match both as a number and as a magnitude. With plain loops 1,800 such letters took half a
# minute, and `re` holds the interpreter lock.
_NUMBER = (
    r"(?:(?<![0-9０-９])(?<![0-9０-９][.,，．])[0-9０-９]++(?:[.,，．][0-9０-９]++)*+"
    r"|(?<![一二三四五六七八九十百千两])[一二三四五六七八九十百千两]++(?:点[一二三四五六七八九]++)?+)"
)
_MEASURES = {
    _MONEY: re.compile(
        f"{_NUMBER}[余多]?+[万亿千百]*+[余多]?+(?:元人民币|人民币|美元|欧元|英镑|日元|港元|韩元|元)"
    ),
    # The intensity at a place ("震度四级", "烈度为八级") is another scale.
    _MAGNITUDE: re.compile(
        f"(?<!震度)(?<!烈度)(?<!震度为)(?<!烈度为)(?<!烈度达)(?:{_NUMBER}级|(?<=规模){_NUMBER})"
    ),
}
# Parts of a sentence, on each side of a trigger, among which its arguments are sought.
_NEAR = 20
# Characters behind a trigger in which ``_Type.follows`` is sought.
_FOLLOWS = 32
# "同哈桑", "同马来西亚外长哈桑": before a partner, with his country or body and his title; not "同意", "同时".
_WITH = re.compile(f"[同与和跟](?:[{PLACE}{ORG}][^{PERSON}，。、对在]{{0,8}})?$")
_TITLE = 12
# Between a body and somebody who is not of it: "会见了宝马集团代表团和王刚".
_PARTED = re.compile("[，。、；和与及同跟等并的在]|代表团")
_CLAUSES = re.compile("[，,：:]")
_WHEN = _Role("时间", TIME, "around")
_WHERE = _Role("地点", PLACE + ORG, "place")

_TYPES = (
    _Type(
        "收购",
        "收购|并购|兼并|买下|购入|吞并",
        (
            _Role("收购方", ORG + PERSON, "agent"),
            _Role("被收购方", ORG, "patient"),
            _Role("金额", _MONEY, "around"),
            _WHEN,
        ),
        ("收购方", "被收购方"),
    ),
    _Type(
        "收购",
        "卖给|(?:出售|转让|转手|售予|卖|转)给|售予",
        (
            _Role("收购方", ORG + PERSON, "patient"),
            _Role("被收购方", ORG, "sold"),
            _Role("金额", _MONEY, "around"),
            _WHEN,
        ),
        ("收购方",),
    ),
    _Type(
        "融资",
        "投资|注资",
        (_Role("融资方", ORG, "before"), _Role("金额", _MONEY, "around"), _WHEN),
        ("融资方", "金额"),
        after="获得",
    ),
    _Type(
        "融资",
        "融资",
        (_Role("融资方", ORG, "before"), _Role("金额", _MONEY, "around"), _WHEN),
        ("融资方",),
    ),
    _Type(
        "地震",
        "地震|强震|余震",
        (_Role("地点", PLACE, "before"), _Role("震级", _MAGNITUDE, "around"), _WHEN),
        ("地点", "震级"),
    ),
    _Type(
        "去世",
        "去世|逝世|病逝|辞世|离世|病故|逝去|身亡|遇难|殉职",
        (_Role("人物", PERSON, "before"), _WHEN, _WHERE),
        ("人物",),
    ),
    _Type(
        "结婚",
        "结婚|成婚|完婚|婚礼|领证",
        (_Role("人物", PERSON, "before"), _Role("人物", PERSON, "before"), _WHEN, _WHERE),
        ("人物",),
    ),
    _Type(
        "会见",
        "会见|会晤|接见",
        (_Role("主体", PERSON, "agent"), _Role("对象", PERSON + ORG, "partner"), _WHEN, _WHERE),
        ("主体",),
    ),
    _Type(
        "会见",
        "会谈|会面|见面|晤谈",
        (_Role("主体", PERSON, "agent"), _Role("对象", PERSON + ORG, "partner"), _WHEN, _WHERE),
        ("主体", "对象"),
    ),
    _Type(
        "访问",
        "访问|出访|到访|造访|回访|访",
        (_Role("来访者", PERSON, "agent"), _Role("目的地", PLACE + ORG, "patient"), _WHEN),
        ("来访者", "目的地"),
    ),
    # "抵达印度，展开两天的访问", "启程前往"; what is visited is said by "对" or behind "访问" else.
    _Type(
        "访问",
        "抵达|飞抵|到达|前往|飞往|飞赴|赶赴|赴",
        (_Role("来访者", PERSON, "agent"), _Role("目的地", PLACE, "patient"), _WHEN),
        ("来访者", "目的地"),
        follows=f"^[{PLACE}](?:，[^对{PERSON}]{{0,2}}(?:展开|开始|开启|进行|作|做))?[^，对{PERSON}]{{0,14}}?"
        f"(?:访问|出访)(?![{PLACE}{ORG}了过团量者])",
    ),
    _Type(
        "访问",
        "访[华美日俄英法德韩印欧朝越]",
        (_Role("来访者", PERSON, "agent"), _WHEN),
        ("来访者",),
    ),
    _Type(
        "胜负",
        "战胜|击败|大胜|完胜|险胜|力克|打败|淘汰|横扫|轻取|逆转|击溃|力擒|击退",
        (
            _Role("胜者", ORG + PERSON, "agent"),
            _Role("败者", ORG + PERSON, "patient"),
            _Role("赛事名称", EVENT, "around"),
            _WHEN,
        ),
        ("胜者", "败者"),
    ),
    _Type(
        "胜负",
        "负于|不敌|输给|惜败|惨败|败给|惨败给|惜败给",
        (
            _Role("败者", ORG + PERSON, "agent"),
            _Role("胜者", ORG + PERSON, "patient"),
            _Role("赛事名称", EVENT, "around"),
            _WHEN,
        ),
        ("胜者", "败者"),
    ),
    _Type(
        "举办",
        "举行|举办|召开|开幕|闭幕|揭幕|落幕|开赛|收官",
        (_Role("名称", EVENT, "around"), _WHEN, _WHERE),
        ("名称",),
    ),
    _Type(
        "成立",
        "成立|创立|创办|创建|组建|设立",
        (_Role("机构", ORG, "around"), _WHEN, _WHERE),
        ("机构",),
    ),
    _Type(
        "发布",
        "发布|推出|公布",
        (_Role("发布方", ORG, "agent"), _WHEN, _WHERE),
        ("发布方",),
    ),
)

# The roles of each type, for schemas.
ROLES = {
    name: frozenset(role.name for kind in _TYPES if kind.name == name for role in kind.roles)
    for name in dict.fromkeys(kind.name for kind in _TYPES)
}
# LAC often makes one word of a verb and the preposition or complement behind it, and often two.
_TO = frozenset("给于下")
# Characters before a trigger in which a word that belongs to it is looked for.
_CLAUSE = 24
# "乙公司领投": it invests, and is not invested in.
_INVESTS = re.compile("领投|跟投|参投|等?的?投资者|等机构")


# Two verbs of one letter that LAC parts: "到" "访", "买" "下".
_WORDS_OF_TWO = frozenset(("到访", "出访", "造访", "买下", "购入"))


def _is_one_word(word: str, following: str) -> bool:
    return following in _TO or word + following in _WORDS_OF_TWO


@dataclass(frozen=True)
class _Part:
    """An entity or a measure: its kind, and its position in the masked text and in the text."""

    kind: str
    at: int
    text: str
    start: int
    end: int


def events_of(text: str, tokens: Sequence[Token], masked: MaskedText) -> list[EventMatch]:
    """The events that the rules find, in the order of their triggers."""
    position = {start: index for index, start in enumerate(masked.starts)}
    parts = _parts(text, masked)
    places = [part.at for part in parts]
    ends = [at for at, letter in enumerate(masked.letters) if letter in SENTENCE_ENDS]
    events = []
    for index, token in enumerate(tokens):
        at = position.get(token.start)
        # A trigger inside an entity ("长江会见厅") is part of a name and no event.
        if at is None or masked.entities[at] is not None or token.tag not in ("v", "vn", "vd", "n"):
            continue
        if index and tokens[index - 1].text + token.text in _WORDS_OF_TWO:
            continue
        following_word = tokens[index + 1].text if index + 1 < len(tokens) else ""
        together = token.text + following_word if _is_one_word(token.text, following_word) else token.text
        for kind in _TYPES:
            trigger = next(
                (word for word in (together, token.text) if re.fullmatch(kind.triggers, word)), None
            )
            if trigger is None:
                continue
            following = bisect_left(ends, at)
            start = ends[following - 1] + 1 if following else 0
            end = ends[following] if following < len(ends) else len(masked.letters)
            beside = bisect_left(places, at)
            first = max(bisect_left(places, start), beside - _NEAR)
            last = min(bisect_left(places, end), beside + _NEAR)
            near = parts[first:last]
            if kind.after and not set(kind.after).intersection(masked.letters[max(start, at - _CLAUSE) : at]):
                continue
            behind = at + len(trigger)
            if kind.follows and not re.search(
                kind.follows, masked.letters[behind : min(end, behind + _FOLLOWS)]
            ):
                continue
            arguments = _arguments(kind, near, masked.letters, at, at + len(trigger))
            if trigger == token.text and re.fullmatch(kind.triggers, following_word):
                continue  # "逆转战胜": it only says how
            if {argument.role for argument in arguments} >= set(kind.core):
                length = len(trigger)
                events.append(EventMatch(kind.name, trigger, token.start, token.start + length, arguments))
    return events


def _parts(text: str, masked: MaskedText) -> list[_Part]:
    parts = [
        _Part(masked.letters[at], at, entity.text, entity.start, entity.end)
        for at, entity in enumerate(masked.entities)
        if entity is not None
    ]
    position = {start: index for index, start in enumerate(masked.starts)}
    for kind, pattern in _MEASURES.items():
        for match in pattern.finditer(text):
            at = position.get(match.start())
            if at is not None:
                parts.append(_Part(kind, at, match.group(), *match.span()))
    return sorted(parts, key=lambda part: part.at)


def _arguments(
    kind: _Type, near: Sequence[_Part], letters: str, begin: int, end: int
) -> tuple[EventArgument, ...]:
    candidates = list(near)
    arguments: dict[int, EventArgument] = {}
    # "被" directly before an entity; elsewhere it does not concern the two.
    passive = next((one.at - 1 for one in near if 0 < one.at < begin and letters[one.at - 1] == "被"), None)
    # A partner stands nearer than the agent: "甲与乙会面".
    for index, role in sorted(enumerate(kind.roles), key=lambda one: one[1].side != "partner"):
        fitting = [part for part in candidates if part.kind in role.kinds]
        part = _choose(role.side, fitting, letters, begin, end, passive)
        if part is not None:
            candidates.remove(part)
            arguments[index] = EventArgument(role.name, part.text, part.start, part.end)
    return tuple(arguments[index] for index in sorted(arguments))


def _choose(
    side: Side, fitting: Sequence[_Part], letters: str, begin: int, end: int, passive: int | None
) -> _Part | None:
    before = [part for part in reversed(fitting) if part.at < begin]
    after = [part for part in fitting if part.at >= end]
    if side == "place":
        # Behind a comma something else is said: "创立，总部设在深圳".
        near = [part for part in after if not _CLAUSES.search(letters, end, part.at)]
        return next((part for part in before + near if part.at and letters[part.at - 1] in "在于到"), None)
    if side == "around":
        return next(iter(before + after), None)
    if side == "partner":
        partner = next(
            (part for part in before if _WITH.search(letters[max(0, part.at - _TITLE) : part.at])), None
        )
        # "甲和乙会见丙": both are agents, and what follows is met.
        return _met(after, letters) or partner
    if side == "sold":
        taken = next((part for part in before if part.at and letters[part.at - 1] in "把将"), None)
        if taken is not None or {"把", "将"}.intersection(letters[max(0, begin - _CLAUSE) : begin]):
            return taken
        return next(iter(before), None)
    if side == "before":
        return next((part for part in before if _is_subject(part, letters, begin)), None)
    if side == "agent" and passive is not None:
        return next((part for part in before if part.at == passive + 1), None)
    if side == "patient":
        if passive is not None:
            return next((part for part in before if part.at < passive), None)
        aimed_at = next((part for part in before if part.at and letters[part.at - 1] == "对"), None)
        # "对印度进行正式访问，随行的还有西门子公司": in one clause what follows is not the patient.
        if aimed_at is not None and not {"，", ","}.intersection(letters[aimed_at.at : begin]):
            return aimed_at
        return next(iter(after), None) or aimed_at
    # The agent of "甲对乙的收购" does not follow "对", nor does "在" precede one.
    return next((part for part in before if not (part.at and letters[part.at - 1] in "对由在从")), None)


def _is_subject(part: _Part, letters: str, begin: int) -> bool:
    """Whether the trigger can be said of ``part``: it does not invest, and is not only whose somebody is."""
    if _INVESTS.match(letters, part.at + 1):
        return False
    return part.kind != PERSON or letters[part.at + 1] != "的" or part.at + 2 >= begin


def _met(after: Sequence[_Part], letters: str) -> _Part | None:
    """The first of ``after``, or the person whose body it is: "会见了宝马集团总裁齐普策"."""
    if len(after) > 1 and after[1].kind == PERSON:
        between = letters[after[0].at + 1 : after[1].at]
        if after[0].kind == ORG and 1 < len(between) <= _TITLE and not _PARTED.search(between):
            return after[1]
    return next(iter(after), None)
