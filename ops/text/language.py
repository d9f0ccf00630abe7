"""Chinese beside English: one text in both languages."""

from __future__ import annotations

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
