"""Find where the application's source draws the key that signs sessions or tokens at random, if clients are refused
where others are answered.

The source is searched, never run. Sources: documentation of Flask (SECRET_KEY), Django (SECRET_KEY), Starlette
(SessionMiddleware), PyJWT."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.collect.logs.application_source import MAX_ROUTES, ApplicationSource, SourceFile
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import DrawnKey
from ops.text.sanitize import HIDDEN, safe_line

REFUSED = ("401", "403", "302", "303")
# In a line of a module's own, not of a function: it runs in each process that imports the module.
_DRAWN = re.compile(
    r"""^[\w.\[\]"']{0,100}(?i:secret_key|signing_key|session_key|jwt_secret\w{0,40}|jwt_key)["'\]]{0,4}\s{0,40}=\s*+[^#\n]{0,80}?"""
    r"""\b(?:os\.urandom|secrets\.token_\w+|token_(?:hex|bytes|urlsafe)|urandom|uuid\.uuid4|uuid4|Fernet\.generate_key"""
    r"""|get_random_secret_key|random\.\w+)\("""
)
_LITERAL = re.compile(r"""\"[^\"\n]*\"|'[^'\n]*'""")

# Drawn only where a setting is missing, which the source does not say.
_READ_FIRST = re.compile(r"\b(?:or|if|environ|getenv|config\s*\(|env\s*\(|get\s*\(|setdefault)|\benv\.")


def drawn_keys(source: ApplicationSource, *logs: AccessLog | NotSeen) -> tuple[DrawnKey, ...]:
    """Return the lines, none unless a path in one of the logs has both answers and refusals."""
    if not any(_has_both(log) for log in logs):
        return ()
    keys: list[DrawnKey] = []
    for file in source.files:
        keys += _keys_in(file)
        if len(keys) >= MAX_ROUTES:
            break
    return tuple(keys[:MAX_ROUTES])


def _has_both(log: AccessLog | NotSeen) -> bool:
    if isinstance(log, NotSeen) or log.traffic is None:
        return False
    answered = {(item.method, item.path) for item in log.traffic.answers if item.status.startswith("2")}
    return any((item.method, item.path) in answered for item in log.traffic.answers if item.status in REFUSED)


def _keys_in(file: SourceFile) -> Iterator[DrawnKey]:
    for number, line in file.lines:
        if (match := _DRAWN.match(line)) and not _READ_FIRST.search(match[0]):
            # A value that is used where none is drawn may be a key itself.
            name, equals, drawn = line.strip().partition("=")
            written = f"{name}{equals}{_LITERAL.sub(HIDDEN, drawn)}"
            yield DrawnKey(where=safe_line(file.place(number), 1000), written=safe_line(written, 200))
