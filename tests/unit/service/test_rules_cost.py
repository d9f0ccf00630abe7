"""What the rules cost: time per character does not grow with the text, whatever is repeated in it.

``re`` keeps the interpreter lock for the whole of a match, so one text that a pattern tries in too many ways stops
every thread of a worker, ``/health`` included. The shapes come from a generator, which takes its words from the rules'
own source: a rule that is added is tried too.
"""

import functools
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engines.interface import Token
from service.engines.lac import Lac
from service.tasks import masked_text, qa, rules
from service.tasks.masked_text import MaskedText, mask
from service.tasks.rules.entities import Entity, entities_of
from service.tasks.rules.event import events_of
from service.tasks.rules.relation import relations_of

LONGEST = 4800  # characters; the service takes 5,000
SHORT = LONGEST // 8
SHAPES = 40
# A quadratic rule takes eight times as long a character at the longest, a linear one as long.
MOST_GROWTH = 3.5
# What no text may take in all: far below what delays other threads. 0.4 s of processor time where a yardstick takes
# 4 ms, and as many yardsticks on a machine that is slower.
MOST_YARDSTICKS = 100
NOISE = 0.004  # seconds

SOURCES = [*Path(rules.__file__).parent.glob("*.py"), Path(masked_text.__file__), Path(qa.__file__)]
WORDS = sorted(
    {word for path in SOURCES for word in re.findall("[\u4e00-\u9fff]{1,4}", path.read_text("utf-8"))}
)
LETTERS = [
    masked_text.PERSON,
    masked_text.ORG,
    masked_text.PLACE,
    masked_text.TIME,
    masked_text.WORK,
    masked_text.EVENT,
]
OTHERS = [
    "百",
    "千百",
    "9亿",
    "1,",
    "，",
    "、",
    "的",
    "》",
    "《",
    "(",
    "a",
    " ",
    "\ue000",
    "\u0301",
    "\U0001f600",
    "。",
    # Numbers that begin again at each of their parts, brackets and quotes in the wrong order, scripts in turn, and
    # characters of several code points.
    "0.",
    "1,,",
    "１，２",
    "三点",
    "3公里",
    "100㎡",
    "）（",
    "“‘",
    "』「",
    "A1б",
    "かな",
    "的的地",
    "臺灣",
    "\U0001f468\u200d\U0001f469",
    "\U0001f1e8\U0001f1f3",
    "e\u0301\u0332",
    "\u202e",
    "\U00020bb7",
]


def shapes(pieces: list[str]) -> list[tuple[str, str]]:
    """What is repeated, and what stands before it."""
    choose = random.Random(17)
    return [
        (
            "".join(choose.choices(pieces, k=choose.randint(1, 4))),
            "".join(choose.choices(pieces, k=choose.randint(0, 3))),
        )
        for _ in range(SHAPES)
    ]


def shaped(shape: tuple[str, str], length: int) -> str:
    unit, before = shape
    return (before + unit * length)[:length]


@functools.cache
def lac() -> Lac:
    return Lac()


def masked(letters: str) -> MaskedText:
    entities = [
        Entity(str(at), "X", at, at + 1) if one in LETTERS else None for at, one in enumerate(letters)
    ]
    return MaskedText(letters, tuple(entities), tuple(range(len(letters))))


def of_words(text: str) -> Callable[[], object]:
    """Every rule on a text as LAC reads it."""
    tokens = lac().tokens(text)

    def work() -> None:
        entities_of(tokens)
        both = mask(text, tokens)
        relations_of(both)
        events_of(text, tokens, both)
        sentences = list(qa.pieces(text, qa.AnswerSpan(text, 0, len(text)), qa._SENTENCE))
        list(qa.pieces(text, sentences[0] if sentences else qa.AnswerSpan(text, 0, 0), qa._CLAUSE))
        asked = qa.kinds_asked(text)
        for kinds in (asked[1] if asked else frozenset(), frozenset({qa.QUANTITY})):
            qa.with_measure(qa.spans_of(kinds, tokens, 0), text[:100])

    return work


def of_letters(text: str) -> Callable[[], object]:
    """The rules over entities, with entities where no model would see any."""
    both = masked(text)
    tokens = [Token(word, "v", at, at + len(word)) for at, word in enumerate(text) if word not in LETTERS]

    def work() -> None:
        relations_of(both)
        events_of(text, tokens, both)

    return work


def seconds(work: Callable[[], object]) -> float:
    """Processor time of this thread: another process's work does not count."""
    best = float("inf")
    for _ in range(2):
        began = time.thread_time()
        work()
        best = min(best, time.thread_time() - began)
    return best


def yardstick() -> float:
    """Processor time of work like the rules': matches, slices and small objects, as often as a long text has places."""
    pattern = re.compile("[a-z]+|[\u4e00-\u9fff]")
    text = shaped(("ab百的", ""), LONGEST)
    return seconds(lambda: [Token(match[0], "v", *match.span()) for match in pattern.finditer(text)])


@pytest.mark.parametrize(
    ("prepared", "shape"),
    [(of_words, shape) for shape in shapes(WORDS + OTHERS)]
    + [(of_letters, shape) for shape in shapes(LETTERS * 20 + WORDS + OTHERS)]
    + [(of_letters, shape) for shape in shapes(LETTERS + OTHERS)]
    + [(of_letters, (unit, "")) for unit in OTHERS],
)
def test_no_shape_costs_more_a_character_when_it_is_long(
    prepared: Callable[[str], Callable[[], object]], shape: tuple[str, str]
) -> None:
    long = seconds(prepared(shaped(shape, LONGEST)))
    # Measured after it: a machine that slows down slows down both.
    assert long < MOST_YARDSTICKS * yardstick()
    if long > NOISE:
        short = max(seconds(prepared(shaped(shape, SHORT))), NOISE / 8)
        assert long / LONGEST < MOST_GROWTH * short / SHORT


def test_a_quadratic_rule_would_be_noticed() -> None:
    """The measure itself: a pattern that tries every end of every run."""
    pattern = re.compile("百+元")
    times = [seconds(lambda length=length: pattern.findall("百" * length)) for length in (SHORT, LONGEST)]  # type: ignore[misc]
    assert times[1] / LONGEST > MOST_GROWTH * times[0] / SHORT
