"""Compare two versions of a text file: the changed lines and the statements they belong to. Pure.

All formats read here (nginx, Python, units, TOML, crontabs, logrotate's rules) have `#` comments; a unit's comments
may begin with `;` too (systemd.syntax(7)).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from ops.facts.changes import ChangedLines, PlaceKind

# The lines of a longer file are not compared: difflib takes quadratic time on texts without common lines.
MAX_LINES = 4000
MAX_HUNKS = 20
MAX_HUNK_LINES = 12
_WORD = re.compile(r"\s*([\w.-]+)")
_KEY = re.compile(r"\s*(?:export\s+)?([\w.-]+)\s*[=:]")
_FURTHER = re.compile(r"[;{]\s*([a-z]\w*)")
_PROGRAM = re.compile(r"[A-Za-z][\w.-]+")
_TABLE = re.compile(r"\s*\[+\s*([\w.-]+)\s*\]+")
_FREE = (PlaceKind.NGINX, PlaceKind.LOGROTATE, PlaceKind.CRON, PlaceKind.SETTINGS)
_BY_KEY = (PlaceKind.UNIT, PlaceKind.ENVIRONMENT_FILE, PlaceKind.SETTINGS, PlaceKind.RENEWAL)


def changed_lines(before: str, after: str, place: PlaceKind) -> tuple[tuple[ChangedLines, ...], bool]:
    """Return the changed pieces, in the order of the file, and whether only comments and blank lines differ.

    The result has at most ``MAX_HUNKS`` pieces of at most ``MAX_HUNK_LINES`` lines each."""
    old, new = before.splitlines(), after.splitlines()
    is_harmless = _effective(old, place) == _effective(new, place)
    if len(old) > MAX_LINES or len(new) > MAX_LINES:
        return (), is_harmless
    hunks = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        removed, added = old[i1:i2], new[j1:j2]
        names = dict.fromkeys((*_names(old, i1, i2, place), *_names(new, j1, j2, place)))
        if not is_harmless and _effective(removed, place) == _effective(added, place):
            continue
        hunks.append(
            ChangedLines(
                line=j1 + 1,
                before=tuple(removed[:MAX_HUNK_LINES]),
                after=tuple(added[:MAX_HUNK_LINES]),
                names=tuple(names),
            )
        )
    return tuple(hunks[:MAX_HUNKS]), is_harmless


def _effective(lines: Sequence[str], place: PlaceKind) -> list[str]:
    """Return the lines that have an effect, without their indentation in the formats that ignore it (`_FREE`)."""
    if place in _FREE:
        return [line.strip() for line in lines if not _is_blank(line, place)]
    return [line.rstrip() for line in lines if not _is_blank(line, place)]


def _is_blank(line: str, place: PlaceKind) -> bool:
    words = line.strip()
    return not words or words.startswith("#") or (place is PlaceKind.UNIT and words.startswith(";"))


def _names(lines: Sequence[str], begin: int, end: int, place: PlaceKind) -> list[str]:
    """Return the statements that the lines from ``begin`` up to ``end`` belong to; in a crontab, their programs."""
    names: list[str] = []
    for number in range(begin, end):
        if _is_blank(lines[number], place):
            continue
        if place is PlaceKind.CRON:
            names += _programs(lines[number])
            continue
        if place is PlaceKind.NGINX:
            # One line may contain several directives.
            names += _FURTHER.findall(lines[number].partition(" #")[0])
        if name := _statement(lines, number, place):
            names.append(name)
    return names


def _programs(line: str) -> list[str]:
    """Return the words of a crontab entry that may be a program or its arguments (crontab(5)), without directories."""
    return [word.rpartition("/")[2] for word in line.split() if _PROGRAM.fullmatch(word.rpartition("/")[2])]


def _statement(lines: Sequence[str], number: int, place: PlaceKind) -> str:
    """Return the name of the statement that contains line ``number`` (from 0); empty if the format has none."""
    match place:
        case PlaceKind.NGINX:
            # A simple directive ends with a semicolon, a block with a brace (nginx, Beginner's Guide).
            while number > 0 and not _ends_statement(lines[number - 1]):
                number -= 1
            return _first(_WORD, lines[number])
        case PlaceKind.GUNICORN:
            while number > 0 and (lines[number][:1].isspace() or not lines[number].strip()):
                number -= 1
            return _first(_KEY, lines[number]) or _first(_WORD, lines[number])
        case _ if place in _BY_KEY:
            while number > 0 and lines[number - 1].rstrip().endswith("\\"):
                number -= 1
            key = _first(_KEY, lines[number])
            table = next((name for line in reversed(lines[:number]) if (name := _first(_TABLE, line))), "")
            return f"{table}.{key}" if place is PlaceKind.SETTINGS and table and key else key
        case _:
            return ""


def _ends_statement(line: str) -> bool:
    words = line.partition("#")[0].rstrip() if line.lstrip().startswith("#") else line.rstrip()
    return not words or words.endswith((";", "{", "}")) or bool(re.search(r"[;{}]\s+#", words))


def _first(pattern: re.Pattern[str], line: str) -> str:
    match = pattern.match(line)
    return match[1] if match else ""
