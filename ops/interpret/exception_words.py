"""What an exception's own words say of its cause, where that is not the line that raises it: the database, another
server, a certificate, the locale, a package, a step of the deployment that was left out. For requests and starts alike.

Sources: Python documentation (locale, os, subprocess, UTF-8 mode), errno(3), SQLAlchemy, Django, Flask and Starlette
documentation, messages of PostgreSQL, MySQL, SQLite, Redis, OpenSSL, PyTorch, Hugging Face's hub, the C library."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

from ops.text.language import Text


class ExceptionKind(NamedTuple):
    """A kind of exceptions that their own words tell: the words, what is wrong, and the step against it."""

    words: re.Pattern[str]
    what: Text
    step: Text


def kind_of(exception: str, kinds: tuple[ExceptionKind, ...]) -> ExceptionKind | None:
    """The first of ``kinds`` whose words the exception has."""
    return next((kind for kind in kinds if kind.words.search(exception)), None)


def explained(exception: str) -> ExceptionKind | None:
    """The kind of an exception, by its words; None if they speak of nothing known."""
    return kind_of(exception, known_kinds())


@functools.cache
def known_kinds() -> tuple[ExceptionKind, ...]:
    """Every kind, in the order in which they are asked. Read only for a service that raises."""
    import tomllib

    read = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return tuple(
        ExceptionKind(
            re.compile(kind["words"]),
            Text(en=kind["what"], zh=kind["what_zh"]),
            Text(en=kind["step"], zh=kind["step_zh"]),
        )
        for kind in read["kind"]
    )
