"""What the expressions cost that read files and logs: time per character does not grow with the text.

Anybody may have written what they read, and ``re`` keeps the interpreter lock for the whole of a match, so no deadline
of the doctor ends one that tries a text in too many ways. The expressions are found in the modules, and the texts are
made of each expression's own parts: one that is added is tried too.
"""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
import pkgutil
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from re import _constants as sre  # the parts of an expression have no public name
from re import _parser as parser
from typing import Any

import pytest

import ops.collect
import ops.text.sanitize

LONGEST = 4000
SHORT = LONGEST // 8
# A quadratic expression takes eight times as long a character at the longest, a linear one as long.
MOST_GROWTH = 3.5
# From short to long, and the seconds that no text may take.
LENGTHS = (24, 48, 72, 96, 120, 240, 800, LONGEST)
MOST_SECONDS = 0.5
# Seconds of the processor below which nothing is judged: a linear expression takes under a millisecond.
NOISE = 0.005
SHAPES = 30
_ANCHORED = {"match", "fullmatch"}


def modules() -> list[str]:
    return [
        module.name
        for module in pkgutil.walk_packages(ops.collect.__path__, "ops.collect.")
        if not module.ispkg
    ]


def patterns_in(value: object) -> Iterator[re.Pattern[str] | re.Pattern[bytes]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from patterns_in(tuple(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from patterns_in(item)


def methods_of(name: str, text: str) -> set[str]:
    return set(re.findall(rf"\b{re.escape(name)}(?:\[[^\]]*\])?\.(\w+)", text)) & {
        "search",
        "match",
        "fullmatch",
        "findall",
        "finditer",
        "sub",
        "subn",
        "split",
    }


def _compiled(words: str | bytes, flags: int) -> re.Pattern[str] | re.Pattern[bytes]:
    if isinstance(words, str):
        return re.compile(words, flags)
    return re.compile(words, flags)


@functools.cache
def expressions() -> dict[str, tuple[re.Pattern[str] | re.Pattern[bytes], bool]]:
    """Every expression of the modules by its place, and whether it is asked about a text's beginning alone."""
    found: dict[str, tuple[re.Pattern[str] | re.Pattern[bytes], bool]] = {}
    for name in modules():
        module = importlib.import_module(name)
        text = Path(module.__file__ or "").read_text("utf-8")
        for variable, value in vars(module).items():
            for number, pattern in enumerate(patterns_in(value)):
                used = methods_of(variable, text)
                found[f"{name}.{variable}[{number}]"] = pattern, bool(used) and used <= _ANCHORED
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr != "compile"
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and isinstance(words := node.args[0].value, str | bytes)
            ):
                multiline = re.MULTILINE if "MULTILINE" in ast.unparse(node) else 0
                found[f"{name}:{node.lineno}"] = _compiled(words, multiline), node.func.attr in _ANCHORED
    return found


def a_character(items: Any) -> str:
    """One character of a set."""
    taken: set[str] = set()
    for kind, value in items:
        if kind is sre.LITERAL:
            taken.add(chr(value))
        elif kind is sre.RANGE:
            taken.add(chr(value[0]))
        elif kind is sre.CATEGORY:
            taken.add(_OF_CATEGORY.get(value, "a"))
    if items and items[0][0] is sre.NEGATE:
        # One that matches as much as possible of what else there is.
        return next(letter for letter in 'a <"=x/-:.0\n!' if letter not in taken)
    return min(taken, default="a")


_OF_CATEGORY = {
    sre.CATEGORY_SPACE: " ",
    sre.CATEGORY_DIGIT: "0",
    sre.CATEGORY_WORD: "a",
    sre.CATEGORY_NOT_SPACE: "a",
    sre.CATEGORY_NOT_DIGIT: "a",
    sre.CATEGORY_NOT_WORD: "-",
}


def sample(tree: Any) -> str:
    """A text that matches a part of an expression, or nearly."""
    return "".join(sample_of(kind, value) for kind, value in tree)


def sample_of(kind: object, value: Any) -> str:
    if kind is sre.LITERAL:
        return chr(value)
    if kind is sre.NOT_LITERAL:
        return "b" if value == ord("a") else "a"
    if kind is sre.ANY:
        return "a"
    if kind is sre.IN:
        return a_character(value)
    if kind in _REPEATS:
        least, most, inner = value
        return sample(inner) * max(1 if most else 0, min(least, 60))
    if kind is sre.SUBPATTERN:
        return sample(value[-1])
    if kind is sre.ATOMIC_GROUP:
        return sample(value)
    if kind is sre.BRANCH:
        return sample(value[1][0])
    return ""


_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)


def parts(tree: Any, before: str = "") -> Iterator[str]:
    """Texts of an expression's parts, and of its beginnings up to them."""
    written = ""
    for kind, value in tree:
        so_far = before + written
        written += sample_of(kind, value)
        yield before + written
        yield sample_of(kind, value)
        if kind is sre.BRANCH:
            for arm in value[1]:
                yield from parts(arm, so_far)
        elif kind is sre.SUBPATTERN:
            yield from parts(value[-1], so_far)
        elif kind in _REPEATS:
            yield from parts(value[2], so_far)
        elif kind is sre.ATOMIC_GROUP:
            yield from parts(value, so_far)
        elif kind is sre.IN:
            yield from (chr(inner) for kind, inner in value if kind is sre.LITERAL)


def shapes(pattern: re.Pattern[str] | re.Pattern[bytes]) -> list[tuple[str, str]]:
    """What is repeated, and what stands before it: the expression's parts one by one, then mixed."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = parser.parse(text, pattern.flags & ~re.UNICODE & ~re.ASCII)
    pieces = sorted({piece for piece in parts(tree) if piece} | {" ", "\n", "a", "0", "a "})
    choose = random.Random(17)
    beginnings = sorted(set(itertools.accumulate(sample_of(*item) for item in tree)) | {""})
    plain = [(unit, "") for unit in pieces]
    after = [(unit, before) for unit in pieces for before in beginnings if before]
    mixed = [
        (
            "".join(choose.choices(pieces, k=choose.randint(2, 3))),
            "".join(choose.choices(pieces, k=choose.randint(0, 2))),
        )
        for _ in range(SHAPES)
    ]
    return plain + (after if len(after) <= SHAPES else choose.sample(after, SHAPES)) + mixed


def seconds(work: Callable[[], object]) -> float:
    """Processor time of this thread: another process's work does not count."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def cost(pattern: re.Pattern[Any], shape: tuple[str, str], length: int, *, anchored: bool) -> float:
    unit, before = shape
    text = f"{(before + unit * length)[: length - 1]}\0"  # the end does not match
    subject = text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")

    def work() -> None:
        if anchored:
            pattern.match(subject)
            pattern.fullmatch(subject)
        else:
            for _ in pattern.finditer(subject):
                pass

    return seconds(work)


def grows(pattern: re.Pattern[Any], *, anchored: bool) -> tuple[str, str] | None:
    """The shape for which the expression takes longer a character, the longer the text; None if there is none."""
    for shape in shapes(pattern):
        # From short to long: one that doubles with each character is noticed before it takes years.
        for length in LENGTHS:
            long = cost(pattern, shape, length, anchored=anchored)
            if long > MOST_SECONDS:
                return shape
        if long > NOISE:
            short = max(cost(pattern, shape, SHORT, anchored=anchored), NOISE / 32)
            long = min(long, cost(pattern, shape, LONGEST, anchored=anchored))
            if long > NOISE and long / LONGEST > MOST_GROWTH * short / SHORT:
                return shape
    return None


@pytest.mark.parametrize("place", sorted(expressions()))
def test_no_text_costs_more_a_character_when_it_is_long(place: str) -> None:
    pattern, anchored = expressions()[place]
    assert grows(pattern, anchored=anchored) is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"<link\b([^>]*\brel=stylesheet\b[^>]*)>",
        r"^\s*(?!from ).*\bCompress\(",
        r"(?m)^\s*name\s+(\w+);",
        "(a+)+b",
        r"(?:\[\w-?[\w-]*\])*$",
    ],
)
def test_an_expression_that_explodes_would_be_noticed(pattern: str) -> None:
    assert grows(re.compile(pattern), anchored=False) is not None
