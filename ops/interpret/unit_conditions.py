"""Which of a unit's conditions do not hold (systemd.unit(5), Conditions and Asserts)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

_LINE = re.compile(r"((?:Condition|Assert)[A-Z]\w*)\s*=\s*(.*)")


def condition_lines(files: Iterable[str]) -> tuple[str, ...]:
    """The conditions in the texts of a unit's files, in systemd's order. An empty one takes back all before it."""
    lines: list[str] = []
    for text in files:
        section = ""
        for line in map(str.strip, text.splitlines()):
            if line.startswith("["):
                section = line
            elif section == "[Unit]" and (match := _LINE.fullmatch(line)):
                if not match[2]:
                    kind = match[1][:6]
                    lines = [kept for kept in lines if not kept.startswith(kind)]
                else:
                    lines.append(f"{match[1]}={match[2].strip()}")
    return tuple(lines)


class Condition(NamedTuple):
    """A condition's line, taken apart: ``family`` is Condition or Assert, ``kind`` PathExists or another test.
    ``is_alternative``: of several of which one must hold; ``is_negated``: of what must not be so."""

    line: str
    family: str
    kind: str
    value: str
    is_alternative: bool
    is_negated: bool

    @classmethod
    def of(cls, line: str) -> Condition:
        """Take apart what ``condition_lines`` returns."""
        name, _, value = line.partition("=")
        family = "Condition" if name.startswith("Condition") else "Assert"
        is_alternative, value = value.startswith("|"), value.removeprefix("|").strip()
        is_negated, value = value.startswith("!"), value.removeprefix("!").strip()
        return cls(line, family, name.removeprefix(family), value, is_alternative, is_negated)


def unmet_conditions(lines: Sequence[str], holds: Callable[[str, str], bool | None]) -> tuple[str, ...]:
    """The lines because of which systemd does not start the unit. ``holds``: whether the test of a kind (PathExists)
    of a value is met, None if that is not known.

    All must hold; of those with a bar, one."""
    unmet: list[str] = []
    alternatives: dict[str, list[tuple[str, bool | None]]] = {"Condition": [], "Assert": []}
    for condition in map(Condition.of, lines):
        result = None if "%" in condition.value else holds(condition.kind, condition.value)
        is_met = None if result is None else result is not condition.is_negated
        if condition.is_alternative:
            alternatives[condition.family].append((condition.line, is_met))
        elif is_met is False:
            unmet.append(condition.line)
    for tried in alternatives.values():
        if tried and all(is_met is False for _, is_met in tried):
            unmet += [line for line, _ in tried]
    return tuple(unmet)
