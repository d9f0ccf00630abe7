"""Edit single statements in the text of an nginx configuration file; comments and layout stay as written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class NotLocatedError(ValueError):
    """The statement is not where the parser saw it, or the file contains what is not parsed here."""


class _TokenKind(StrEnum):
    WORD = "word"
    END = ";"
    OPEN = "{"
    CLOSE = "}"


@dataclass(frozen=True)
class _Token:
    """[begin, end) is its place, ``words`` its meaning without quotes."""

    kind: _TokenKind
    begin: int
    end: int
    line: int
    words: str


def insert_before(text: str, line: int, name: str, statement: str) -> str:
    """``text`` with ``statement`` before the directive ``name`` that begins on ``line``. Raises NotLocatedError."""
    begin = _statement(text, line, name)[0].begin
    start = text.rfind("\n", 0, begin) + 1
    indent = text[start:begin]
    glue = "\n" + indent if not indent.strip() else " "
    return text[:begin] + statement + glue + text[begin:]


def replace_statement(text: str, line: int, name: str, statement: str) -> str:
    """``text`` with ``statement`` in place of the simple directive ``name`` on ``line``. Raises NotLocatedError."""
    tokens = _statement(text, line, name)
    if tokens[-1].kind != _TokenKind.END:
        raise NotLocatedError(f"line {line}: {name} opens a block")
    return text[: tokens[0].begin] + statement + text[tokens[-1].end :]


def without_statement(text: str, line: int, name: str) -> str:
    """``text`` without the simple directive ``name`` on ``line``; the line goes with it where nothing else is on it.
    Raises NotLocatedError."""
    lines = replace_statement(text, line, name, "").splitlines(keepends=True)
    if not lines[line - 1].strip():
        del lines[line - 1]
    return "".join(lines)


def moved_before_block(text: str, line: int, name: str, block: str) -> str:
    """``text`` with the simple directive ``name`` on ``line`` moved before the outermost ``block`` that is around it.
    Raises NotLocatedError."""
    tokens = _statement(text, line, name)
    around = [start for start in _blocks_around(text, tokens[0].begin) if start.words == block]
    if not around:
        raise NotLocatedError(f"line {line}: {name} is in no block {block}")
    begin = around[0].begin
    start = text.rfind("\n", 0, begin) + 1
    indent = text[start:begin]
    statement = text[tokens[0].begin : tokens[-1].end]
    rest = without_statement(text, line, name)
    return rest[:begin] + statement + "\n" + (indent if not indent.strip() else "") + rest[begin:]


def _blocks_around(text: str, at: int) -> list[_Token]:
    """The names of the blocks that are open at ``at``, outermost first."""
    blocks: list[_Token] = []
    first: _Token | None = None
    for token in _tokens(text):
        if token.begin >= at:
            break
        if token.kind == "word":
            first = first or token
            continue
        if token.kind == "{":
            blocks.append(first or token)
        elif token.kind == "}" and blocks:
            blocks.pop()
        first = None
    return blocks


def replace_argument(text: str, line: int, name: str, old: str, new: str) -> str:
    """``text`` with the first argument of ``name`` on ``line``, which is ``old``, replaced. Raises NotLocatedError."""
    tokens = _statement(text, line, name)
    if len(tokens) < 3 or tokens[1].words != old:
        raise NotLocatedError(f"line {line}: {name} is not followed by {old}")
    return text[: tokens[1].begin] + new + text[tokens[1].end :]


def replace_argument_at(text: str, line: int, name: str, old: str, new: str) -> str:
    """``text`` with the one word of ``name`` on ``line`` that contains ``old`` changed there. Raises NotLocatedError.

    An `if`'s last word ends with the condition's parenthesis."""
    words = [token for token in _statement(text, line, name) if token.kind == "word" and old in token.words]
    if len(words) != 1 or words[0].words.count(old) != 1:
        raise NotLocatedError(f"line {line}: {name} has {old} {len(words)} times")
    word = words[0]
    raw = text[word.begin : word.end]
    if raw.count(old) != 1:
        raise NotLocatedError(f"line {line}: {name} has {old} 0 times")
    return text[: word.begin] + raw.replace(old, new) + text[word.end :]


def _statement(text: str, line: int, name: str) -> list[_Token]:
    """The tokens of the one directive ``name`` that begins on ``line``, to its ``;`` or ``{``."""
    if "_by_lua" in text:
        raise NotLocatedError("a file with Lua in it is not edited")
    matches: list[list[_Token]] = []
    current: list[_Token] = []
    for token in _tokens(text):
        current.append(token)
        if token.kind != _TokenKind.WORD:
            if current[0].line == line and current[0].words == name and current[0].kind == _TokenKind.WORD:
                matches.append(current)
            current = []
    if len(matches) != 1:
        raise NotLocatedError(f"line {line}: {name} occurs there {len(matches)} times")
    return matches[0]


def _tokens(text: str) -> Iterator[_Token]:
    """As nginx reads a file (ngx_conf_read_token): words, quoted words, ``;``, ``{``, ``}``; comments left out."""
    at, line = 0, 1
    while at < len(text):
        char = text[at]
        if char.isspace():
            line += char == "\n"
            at += 1
            continue
        if char == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        if char in ";{}":
            yield _Token(_TokenKind(char), at, at + 1, line, char)
            at += 1
            continue
        end = _quoted_end(text, at) if char in "\"'" else _word_end(text, at)
        raw = text[at:end]
        yield _Token(_TokenKind.WORD, at, end, line, raw[1:-1] if char in "\"'" else raw)
        line += raw.count("\n")
        at = end


def _quoted_end(text: str, at: int) -> int:
    quote, at = text[at], at + 1
    while at < len(text) and text[at] != quote:
        at += 2 if text[at] == "\\" else 1
    return min(at + 1, len(text))


def _word_end(text: str, at: int) -> int:
    while at < len(text) and not text[at].isspace() and text[at] not in ";{":
        if text.startswith("${", at):
            at += 1
        at += 2 if text[at] == "\\" else 1
    return min(at, len(text))
