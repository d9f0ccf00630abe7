"""Find the origins that the application's source allows to ask from a browser, if browsers' first questions (OPTIONS)
are refused. The source is searched, never run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.collect.logs.application_source import MAX_ROUTES, ApplicationSource, SourceFile
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import AllowedOrigin
from ops.interpret.traffic import answers_in
from ops.text.sanitize import safe_line

MAX_ORIGIN = 200  # characters
REFUSED = ("400", "403", "405")
_SETTING = re.compile(
    r"(?P<name>allow_origins|origins|CORS_ALLOWED_ORIGINS|CORS_ORIGIN_WHITELIST|CORS_ORIGINS|cors_allowed_origins"
    r"|ALLOWED_ORIGINS)[\"']?\]?\s*[=:]\s*(?P<value>.*)"
)
# A text, or the bracket that ends the list: an IPv6 origin has brackets of its own.
_PIECE = re.compile(r"(?P<raw>\w?)(?P<quote>[\"'])(?P<text>[^\"'\n]*)(?P=quote)|(?P<end>[\])}])")
_WORD = re.compile(rf"\S{{1,{MAX_ORIGIN}}}")
# What only a regular expression has.
_PATTERN = re.compile(r"[\\^$|+?()]|\.\*|\[[^\]:]{0,100}\]")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9.\[\]_:-]+|\*|null")


def allowed_origins(
    source: ApplicationSource, logs: tuple[AccessLog | NotSeen, ...]
) -> tuple[AllowedOrigin, ...]:
    """Return the origins in the source, if any of ``logs`` has a refused OPTIONS."""
    is_refused = any(item.method == "OPTIONS" and item.status in REFUSED for item in answers_in(logs))
    found: list[AllowedOrigin] = []
    for file in source.files if is_refused else ():
        found += _origins_in(file)
        if len(found) >= MAX_ROUTES:
            break
    return tuple(found[:MAX_ROUTES])


def _origins_in(file: SourceFile) -> Iterator[AllowedOrigin]:
    setting, is_open = "", False
    for number, line in file.lines:
        words = line.partition(" #")[0]
        match = _SETTING.search(words)
        if match:
            setting, words = match["name"], match["value"]
            is_open = words.lstrip().startswith(("[", "(", "{"))
        elif not is_open:
            continue
        is_ended = False
        for piece in _PIECE.finditer(words):
            if is_ended := piece["end"] is not None:
                break
            literal = piece["text"]
            if piece["raw"] or _PATTERN.search(literal) or not _WORD.fullmatch(literal):
                continue
            yield AllowedOrigin(
                setting=setting,
                where=safe_line(file.place(number), 1000),
                origin=safe_line(literal, MAX_ORIGIN),
                is_well_formed=_ORIGIN.fullmatch(literal) is not None,
            )
        is_open = is_open and not is_ended
