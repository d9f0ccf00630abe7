"""Break a paragraph into lines of so many columns, for English and Chinese.

Chinese breaks between any two characters, but no line begins with a closing mark or ends with an opening one
(GB/T 15834-2011, 5.1; W3C, Requirements for Chinese Text Layout, 3.1.3). Nothing else is broken but at blanks: a path,
a URL or an option is copied from the screen, so one that is wider than the line is left to the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len

_CLOSING = "，。、；：？！）》」』】〕〉”’…—％"
_OPENING = "（《「『【〔〈“‘"
_WIDE = "\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6"
_NAME = rf"[^\s/{_CLOSING}{_OPENING}]"
# A path whose directories and file may bear Chinese names; what is written without a blank in another script; one wide
# character. A break is possible between any two of these.
_PIECES = re.compile(
    rf"[ \t]+|[{_OPENING}]*"
    rf"(?:[!-~]*/(?:{_NAME}+/)+(?:{_NAME}*\.[A-Za-z0-9]+|[!-~]*)|[^\s{_WIDE}{_CLOSING}{_OPENING}]+|\S)"
    rf"[{_CLOSING}]*"
)


def wrap(words: str, first: int, rest: int) -> list[str]:
    """The lines of ``words``: the first at most ``first`` columns wide, the others ``rest``, unless one piece alone is
    wider. At least one line."""
    lines: list[str] = []
    line, width, blank = "", 0, ""
    for piece in _pieces(words):
        if piece.isspace():
            blank = piece if line or not lines else ""
            continue
        room = rest if lines else first
        if line and width + len(blank) + cell_len(piece) > room:
            lines.append(line)
            line, width, blank = "", 0, ""
        line += blank + piece
        width += len(blank) + cell_len(piece)
        blank = ""
    return [*lines, line] if line or not lines else lines


def _pieces(words: str) -> Iterator[str]:
    return (match[0] for match in _PIECES.finditer(words))
