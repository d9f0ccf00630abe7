"""Pages in Markdown: their prose, their blocks of code, and what the pages say about trying each block.

A block is tried as it stands, by bash, each of its commands ending well. What cannot be says so in the page, in a
comment that a reader does not see, on the last line of text before the block:

    <!-- tried: no, REASON -->            not run
    <!-- tried: appended to FILE -->      text, not commands: it goes to the end of FILE
    <!-- tried: written to FILE -->       text, not commands: it becomes FILE
    <!-- tried: for N s -->               its last command runs on; it is ended after N seconds
    <!-- tried: with NAME=VALUE ... -->   NAME stands for what a reader fills in: VALUE, for the test
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_MARK = re.compile(r"<!-- tried: (.*?) -->")
_SECONDS = re.compile(r"for (\d+) s")
_FILE = re.compile(r"(appended|written) to (/\S+)")


class MarkError(ValueError):
    """A comment about trying a block that says nothing known, or stands before no block."""


@dataclass(frozen=True)
class Trial:
    """How a block is tried. Without any of these: as commands, word by word."""

    reason: str = ""  # why it is not run
    file: str = ""  # where its text goes, if it is no commands
    is_appended: bool = False
    seconds: int = 0  # after which its last command is ended
    values: Mapping[str, str] = field(default_factory=dict)  # by what stands for them in the page


@dataclass(frozen=True)
class Block:
    """A block of code, from its first line's number on."""

    line: int
    text: str
    trial: Trial

    @property
    def filled_in(self) -> str:
        """The text with the values that the page names."""
        text = self.text
        for name, value in self.trial.values.items():
            text = re.sub(rf"\b{re.escape(name)}\b", value.replace("\\", r"\\"), text)
        return text


def prose(text: str) -> list[str]:
    """The lines of a document that are not code, by their numbers: fenced and indented blocks are empty lines."""
    lines, fence, after_blank, in_block, in_list = list[str](), "", True, False, False
    for line in text.splitlines():
        opened = _FENCE.match(line)
        if fence:
            if opened and opened[1].startswith(fence):
                fence = ""
            lines.append("")
            continue
        if opened:
            fence = opened[1]
            lines.append("")
            continue
        if re.match(r"^\s*(?:[-*+]|\d+\.)\s", line):
            in_list = True
        elif line.strip() and not line.startswith(" "):
            in_list = False
        indent = 8 if in_list else 4
        in_block = bool(line.strip()) and line.startswith(" " * indent) and (after_blank or in_block)
        lines.append("" if in_block else line)
        after_blank = not line.strip()
    return lines


def blocks(text: str) -> list[Block]:
    """The document's blocks of code, in order. Blank lines within a block belong to it. Raises MarkError."""
    words = [(number, line) for number, line in enumerate(prose(text), 1) if line.strip()]
    lines = text.splitlines()
    between = [(0, ""), *words, (len(lines) + 1, "")]
    return list(_blocks(lines, between))


def _blocks(lines: list[str], words: list[tuple[int, str]]) -> Iterator[Block]:
    for (number, before), (following, _) in pairwise(words):
        numbered = [
            (place, lines[place - 1])
            for place in range(number + 1, following)
            if lines[place - 1].strip() and not _FENCE.match(lines[place - 1])
        ]
        mark = _MARK.search(before)
        if not numbered:
            if mark:
                raise MarkError(f"line {number}: no block follows {mark[0]}")
            continue
        first, last = numbered[0][0], numbered[-1][0]
        shown = [line for line in lines[first - 1 : last] if not _FENCE.match(line)]
        indent = min(len(line) - len(line.lstrip()) for _, line in numbered)
        content = "".join(f"{line[indent:]}\n" for line in shown)
        yield Block(first, content, _trial(mark[1], number) if mark else Trial())


def _trial(mark: str, number: int) -> Trial:
    """What a comment says. Raises MarkError."""
    if mark.startswith("no, ") and (reason := mark.removeprefix("no, ")):
        return Trial(reason=reason)
    if file := _FILE.fullmatch(mark):
        return Trial(file=file[2], is_appended=file[1] == "appended")
    if seconds := _SECONDS.fullmatch(mark):
        return Trial(seconds=int(seconds[1]))
    if mark.startswith("with "):
        pairs = [word.partition("=") for word in shlex.split(mark.removeprefix("with "))]
        if all(name and sign and value for name, sign, value in pairs):
            return Trial(values={name: value for name, _, value in pairs})
    raise MarkError(f"line {number}: {mark!r} is not known")
