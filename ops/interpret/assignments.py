"""How a variable is written where it is set, and what the program that reads the line makes of that. Pure; a value goes
in, and only the name of the flaw comes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

from ops.facts.start import BadAssignment, Flaw
from ops.text.sanitize import safe_line


class Syntax(StrEnum):
    """Who reads the line: gunicorn's raw_env takes it as it stands; systemd its EnvironmentFile= and its units; a shell
    a script; python-dotenv and its like a .env."""

    LITERAL = "literal"
    ENVIRONMENT_FILE = "environment_file"
    UNIT = "unit"
    SHELL = "shell"
    DOTENV = "dotenv"


_QUOTES = "\"'"
_TYPED = "\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb\uff02\uff07"
_BOM = "\ufeff"
_LINE = re.compile(
    r"^(?P<before>\ufeff?\s*(?:export\s+)?)(?P<name>[A-Za-z_]\w{0,79})(?P<gap>\s*)=(?P<value>.*)$"
)
_REFERENCE = re.compile(r"\$\{\w+\}|\$\(|`")
_SHELL_EXPANDS = re.compile(r"(?<!\\)\$[A-Za-z_0-9{(?!$#]")


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES


def flaw_of(name: str, written: str, syntax: Syntax) -> Flaw | None:
    """What is wrong with the writing of NAME=WRITTEN to its reader; None if nothing is."""
    if name.lstrip(_BOM).strip().startswith("export ") and syntax not in (Syntax.SHELL, Syntax.DOTENV):
        return Flaw.EXPORT
    if name.startswith(_BOM):
        return Flaw.BOM
    bare = written.strip(" \t\r\n")
    if (bare[:1] in _TYPED and bare) or (bare[-1:] in _TYPED and bare):
        return Flaw.TYPED_QUOTES
    if syntax is Syntax.LITERAL:
        return _of_value(
            written.rstrip()
        )  # gunicorn strips each of raw_env (gunicorn/config.py: validate_string)
    if syntax is Syntax.SHELL and written.endswith("\r"):
        return Flaw.CARRIAGE_RETURN
    if _is_quoted(bare):
        quote, inner = bare[0], bare[1:-1]
        if syntax is Syntax.SHELL and quote == '"' and _SHELL_EXPANDS.search(inner):
            return Flaw.DOLLAR
        return _of_value(inner, is_reference_read=syntax in (Syntax.SHELL, Syntax.DOTENV))
    if syntax is Syntax.SHELL:
        return Flaw.DOLLAR if _SHELL_EXPANDS.search(bare) else None
    if syntax is Syntax.ENVIRONMENT_FILE:
        if re.search(r"\s#", bare):
            return Flaw.COMMENT
        return Flaw.REFERENCE if _REFERENCE.search(bare) else None
    return None


def _of_value(value: str, *, is_reference_read: bool = False) -> Flaw | None:
    """What is wrong with a value that is taken as it stands."""
    if value.endswith(("\r", "\n")):
        return Flaw.CARRIAGE_RETURN
    bare = value.strip()
    if _is_quoted(bare):
        return Flaw.QUOTES
    if (bare[:1] in _TYPED and bare) or (bare[-1:] in _TYPED and bare):
        return Flaw.TYPED_QUOTES
    if bare != value:
        return Flaw.SPACE
    if (bare[:1] in _QUOTES and bare) or (bare[-1:] in _QUOTES and bare):
        return Flaw.QUOTES
    return Flaw.REFERENCE if not is_reference_read and _REFERENCE.search(value) else None


def bad_assignments(path: str, text: str, syntax: Syntax) -> Iterator[BadAssignment]:
    """The assignments of a file whose writing is wrong to whoever reads it."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith(("#", ";")):
            continue
        found = _in_unit(line) if syntax is Syntax.UNIT else _in_file(line, syntax)
        for name, flaw in found:
            yield BadAssignment(name=name, path=safe_line(path, 1000), line=number, flaw=flaw)


def _in_file(line: str, syntax: Syntax) -> Iterator[tuple[str, Flaw]]:
    match = _LINE.match(line)
    if match is None:
        return
    name, before = match["name"], match["before"]
    if syntax is Syntax.SHELL and (match["gap"] or match["value"].startswith(" ")):
        return  # A command of that name, and no assignment.
    written = match["value"]
    if syntax is not Syntax.SHELL:
        written = written.removesuffix("\r")
    whole = before.replace(" ", "").replace("\t", "")
    prefixed = f"{_BOM if whole.startswith(_BOM) else ''}{'export ' if 'export' in whole else ''}{name}"
    if flaw := flaw_of(prefixed, written, syntax):
        yield name, flaw


def _in_unit(line: str) -> Iterator[tuple[str, Flaw]]:
    """The assignments of an Environment= line: words, each of which may stand in quotes as a whole, and whose quotes
    systemd removes (systemd.exec(5))."""
    key, equals, value = line.partition("=")
    if not equals or key.strip() != "Environment":
        return
    last: str | None = None
    for word in re.findall(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|(?:[^\s\"']|\"[^\"]*\"|'[^']*')+", value):
        bare = word[1:-1] if _is_quoted(word) else word
        name, assigned, written = bare.partition("=")
        if not assigned or not re.fullmatch(r"(?:export\s+)?[A-Za-z_]\w*", name):
            if last is not None and name != "export":
                yield last, Flaw.SPLIT
            continue
        last = name.removeprefix("export").strip()
        flaw = _of_value(written) if _is_quoted(word) else flaw_of(name, written, Syntax.UNIT)
        if name.startswith("export"):
            flaw = Flaw.EXPORT
        if flaw is None and re.search(r"(?<!%)%(?:%%)*[A-Za-z0-9]", written):
            flaw = Flaw.PERCENT
        if flaw is not None:
            yield last, flaw
