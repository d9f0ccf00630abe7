"""A text as its reader takes it: letters in another width or style, percent-encoded or escaped ones, hidden characters.

Only what can be part of a name, or stands between a name and its value, is decoded: ``p%61ssword``, ``\\u5bc6\\u7801``,
``ｐａｓｓｗｏｒｄ``. Everything else stays, so that a value ends where it is written to end.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

# Unicode's Default_Ignorable_Code_Point (UAX #44): no reader sees them.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0"
)
_INVISIBLE_TAGS = "\U000e0000-\U000e0fff"
# Letters and digits that compatibility decomposition (UAX #15, NFKC) makes plain ones, by block; of the full width
# block the hyphen, the full stop and the low line too.
_STYLED = (
    "\u00aa\u00ba\u02b0-\u02ff\u1d2c-\u1dbf\u2070-\u209c\u2100-\u214f\u2460-\u24ff\u2f00-\u2fdf\uf900-\ufaff\uff0d\uff0e"
    "\uff10-\uff19\uff21-\uff3a\uff3f\uff41-\uff5a"
    # Blanks and small marks between a name and its value.
    "\u00a0\u2000-\u200a\u202f\u205f\u3000\ufe50-\ufe6f"
)
_STYLED_MATHEMATICAL = "\U0001d400-\U0001d7ff\U0001f130-\U0001f189"
_LETTER = "[46][1-9A-Fa-f]|[57][0-9Aa]|3[0-9]|5[Ff]|2[Dd]"
_CODED = re.compile(
    rf"%(?:25){{0,3}}(?P<percent>{_LETTER})|(?P<utf8>%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){{1,3}})"
    r"|%u(?P<percent_u>[0-9A-Fa-f]{4})"
    r"|\\{1,8}(?:u(?P<u>[0-9A-Fa-f]{4})|u\{0{0,4}(?P<braced>[0-9A-Fa-f]{2,5})\}|x(?P<x>[2-7][0-9A-Fa-f]))"
    r"|&\#(?:[xX]0{0,4}(?P<hex>[0-9A-Fa-f]{2,5})|0{0,4}(?P<decimal>[0-9]{2,6}));?"
    rf"|(?P<invisible>[{_INVISIBLE}{_INVISIBLE_TAGS}]+)|(?P<styled>[{_STYLED}{_STYLED_MATHEMATICAL}])"
)
_UNSEEN = re.compile(f"[{_INVISIBLE}{_INVISIBLE_TAGS}]")
# What may be coded at all: one quick look each at the characters of one and of two code units of UTF-16.
_MARKS = re.compile(f"[%\\\\&{_INVISIBLE}{_STYLED}]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
# Escaped, these are as good as written. Entities of quotes and brackets are what HTML is told from text by.
_ESCAPED = frozenset("=:\"'_-&：＝")
_ENTITIES = frozenset("=:_-：＝")


class Decoded(NamedTuple):
    """A decoded text, and for each of its characters, and its end, where that stands in the text it is from."""

    words: str
    places: list[int]


def is_coded(words: str) -> bool:
    """Whether anything in ``words`` is to be decoded."""
    if words.isascii():
        may_be = "%" in words or "\\" in words or "&#" in words
    else:
        may_be = _MARKS.search(words) is not None or _ASTRAL.search(words) is not None
    return may_be and _CODED.search(words) is not None


def decoded(words: str) -> Decoded:
    """``words`` as its reader takes it."""
    parts: list[str] = []
    places: list[int] = []
    position = 0
    for match in _CODED.finditer(words):
        plain = _plain(match)
        if plain is None:
            continue
        parts += (words[position : match.start()], plain)
        places += range(position, match.start())
        # Every character of it begins where it does, the last one ends where it does.
        places += [match.start()] * len(plain)
        position = match.end()
    parts.append(words[position:])
    places += range(position, len(words) + 1)
    return Decoded("".join(parts), places)


def _plain(match: re.Match[str]) -> str | None:
    """What a coded part stands for; None for what is none of ours."""
    kind, code_text = match.lastgroup, match[match.lastgroup or 0]
    match kind:
        case "invisible":
            return ""
        case "percent":
            return chr(int(code_text, 16))
        case "utf8":
            plain = bytes.fromhex(code_text.replace("%", "")).decode("utf-8", "replace")
            return plain if "\ufffd" not in plain else None
        case "styled":
            plain = unicodedata.normalize("NFKC", code_text)
            return plain if plain.isalnum() or plain in "-._:= " else None
    code = int(code_text, 10 if kind == "decimal" else 16)
    character = chr(code) if code <= 0x10FFFF else ""
    if character and _UNSEEN.match(character):
        return ""
    marks = _ENTITIES if kind in ("hex", "decimal") else _ESCAPED
    return character if character.isalnum() or (character and character in marks) else None
