"""Which language the reader gets. Apart from `ops.text.language`, because `gte-ops --version` needs no msgspec."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.text.language import Language


def reader_language(environ: Mapping[str, str] | None = None) -> Language:
    """The language the environment asks for: LC_ALL, then LC_MESSAGES, then LANG (POSIX, XBD 8.2)."""
    values = os.environ if environ is None else environ
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := values.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
