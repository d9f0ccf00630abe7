"""Secrets by their own form: the rules of ``rules.toml``, each compiled when a text first bears a sign of it."""

from __future__ import annotations

import re
import tomllib
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

from ops.text.secret_scan import HIDDEN


class Rule:
    """One form: the ``signs`` of which every match holds one, and the pattern."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.id: str = entry["id"]
        self.origin: str = entry["origin"]
        self.signs: tuple[str, ...] = tuple(entry["signs"])
        self._pattern: str = entry["pattern"]
        self._ignores_case = self._pattern.startswith("(?ai)")
        self._flags = re.DOTALL if entry.get("dotall") else re.NOFLAG

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The compiled pattern."""
        return re.compile(self._pattern, self._flags)

    def hide(self, words: str) -> str:
        """``words`` with every match hidden."""
        searched = words.lower() if self._ignores_case else words
        if not any(sign in searched for sign in self.signs):
            return words
        return self.pattern.sub(_kept, words)


def _kept(match: re.Match[str]) -> str:
    return (match.groupdict().get("kept") or "") + HIDDEN


@lru_cache(maxsize=1)
def table() -> dict[str, list[dict[str, Any]]]:
    """``rules.toml``."""
    return tomllib.loads(files("ops.text.secret_scan").joinpath("rules.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def rules() -> tuple[Rule, ...]:
    """Every form there is a rule for."""
    return tuple(Rule(entry) for entry in table()["rule"])


def without_forms(words: str) -> str:
    """``words`` with everything hidden that has a credential's form."""
    for rule in rules():
        words = rule.hide(words)
    return words
