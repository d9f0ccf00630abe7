"""Chinese beside English: one text in both languages, and which of them the reader gets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import msgspec

Language = Literal["zh", "en"]


class Text(msgspec.Struct, frozen=True):
    """One statement in both languages."""

    en: str
    zh: str

    def to(self, language: Language) -> str:
        """The text in ``language``."""
        return self.zh if language == "zh" else self.en


def verbatim(words: str) -> Text:
    """Words that are the same in both languages: a quotation, a path, a number."""
    return Text(en=words, zh=words)


def reader_language(environ: Mapping[str, str] | None = None) -> Language:
    """The language the environment asks for: LC_ALL, then LC_MESSAGES, then LANG (POSIX, XBD 8.2)."""
    values = os.environ if environ is None else environ
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := values.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
