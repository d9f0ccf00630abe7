"""Chinese beside English: one text in both languages."""

from __future__ import annotations

from collections.abc import Iterable
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


# Between a name and its description, and between the items of a list.
COLON = Text(en=": ", zh="：")
COMMA = Text(en=", ", zh="、")
# In a sentence, in place of what was not seen.
UNSEEN = Text(en="(not seen)", zh="（未看到）")


def verbatim(words: str) -> Text:
    """Words that are the same in both languages: a quotation, a path, a number."""
    return Text(en=words, zh=words)


def in_seconds(number: str) -> Text:
    """A number of seconds with its unit."""
    return Text(en=f"{number} s", zh=f"{number} 秒")


def listed(items: Iterable[Text]) -> Text:
    """The different items, in order of their English words; `UNSEEN` for none."""
    unique = {item.en: item for item in items}
    ordered = [unique[words] for words in sorted(unique)]
    return Text(
        en=COMMA.en.join(item.en for item in ordered) or UNSEEN.en,
        zh=COMMA.zh.join(item.zh for item in ordered) or UNSEEN.zh,
    )
