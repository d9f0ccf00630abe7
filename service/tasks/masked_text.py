"""A text in which every entity is one character, so that a rule can be a regular expression over the words around
entities: ``马云1964年出生于杭州`` reads as ``{P}{T}出生于{L}``.

Adjacent places are merged ("浙江省" "杭州市"), as are adjacent times; a text between title marks 《》 is a work,
whatever its tag; a place followed by "队" is a team; a name between "在" and what happens there is a place.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.engines.interface import Token
from service.tasks.rules.entities import Entity, entities_of

# From the private use area: such characters are rare in texts, and are masked themselves.
PERSON, ORG, PLACE, TIME, WORK, EVENT = (chr(0xE000 + number) for number in range(6))
_FOREIGN = "\N{REPLACEMENT CHARACTER}"
_LETTER_OF_TYPE = {
    "PERSON": PERSON,
    "ORG": ORG,
    "GPE": PLACE,
    "LOC": PLACE,
    "TIME": TIME,
    "WORK_OF_ART": WORK,
    "EVENT": EVENT,
}
SENTENCE_ENDS = "。！？!?；;\n"

_WORK = re.compile("(?<=《)[^《》\n]{1,40}(?=》)")
# What happens at a place; LAC takes foreign places for persons: "在罗萨里奥举行婚礼".
_HAPPENS = frozenset(
    [
        "举行",
        "举办",
        "召开",
        "开幕",
        "闭幕",
        "揭幕",
        "开赛",
        "结婚",
        "完婚",
        "成婚",
        "去世",
        "逝世",
        "病逝",
        "辞世",
        "出生",
        "会见",
        "会晤",
        "发布",
        "成立",
    ]
)
_TEAM = re.compile("(?:国家|代表)?[男女]?[篮足排]?(?:球)?队$")


@dataclass(frozen=True)
class MaskedText:
    """``letters[i]`` stands for ``entities[i]``, or for one character of the text if that is None;
    ``starts[i]`` is its place in the text."""

    letters: str
    entities: tuple[Entity | None, ...]
    starts: tuple[int, ...]


def mask(text: str, tokens: Sequence[Token]) -> MaskedText:
    """``text``, segmented by LAC into ``tokens``, with its entities masked."""
    letters: list[str] = []
    entities: list[Entity | None] = []
    starts: list[int] = []
    by_start = {entity.start: entity for entity in _entities(text, tokens)}
    at = 0
    while at < len(text):
        entity = by_start.get(at)
        starts.append(at)
        entities.append(entity)
        if entity is None:
            letters.append(_FOREIGN if "\ue000" <= text[at] <= "\uf8ff" else text[at])
            at += 1
        else:
            letters.append(_LETTER_OF_TYPE[entity.type])
            at = entity.end
    return MaskedText("".join(letters), tuple(entities), tuple(starts))


def _entities(text: str, tokens: Sequence[Token]) -> list[Entity]:
    works = [Entity(match.group(), "WORK_OF_ART", *match.span()) for match in _WORK.finditer(text)]
    inside = {position for work in works for position in range(work.start, work.end)}
    team_words = {token.start: token for token in tokens if token.tag == "n" and _TEAM.match(token.text)}
    starts = {token.start: index for index, token in enumerate(tokens)}
    merged: list[Entity] = []
    for entity in entities_of(tokens):
        if entity.type not in _LETTER_OF_TYPE or entity.start in inside:
            continue
        if entity.type == "PERSON" and _is_where(tokens, starts[entity.start]):
            entity = Entity(entity.text, "GPE", entity.start, entity.end)
        last = merged[-1] if merged else None
        if last is not None and last.end == entity.start and _merge(last, entity):
            entity = Entity(last.text + entity.text, entity.type, last.start, entity.end)
            merged.pop()
        team = team_words.get(entity.end)
        if entity.type == "GPE" and team is not None:
            entity = Entity(entity.text + team.text, "ORG", entity.start, team.end)
        merged.append(entity)
    return merged + works


def _is_where(tokens: Sequence[Token], index: int) -> bool:
    return (
        0 < index < len(tokens) - 1
        and tokens[index - 1].text in ("在", "于")
        and tokens[index + 1].text in _HAPPENS
    )


def _merge(left: Entity, right: Entity) -> bool:
    places = ("GPE", "LOC")
    return (left.type in places and right.type in places) or left.type == right.type == "TIME"
