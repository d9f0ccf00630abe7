"""English or Chinese, as the environment asks."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One statement in both languages."""

    en: str
    zh: str

    def __str__(self) -> str:
        return self.zh if is_chinese() else self.en


def is_chinese(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether LC_ALL, then LC_MESSAGES, then LANG asks for Chinese (POSIX, XBD 8.2)."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return environ[name].lower().startswith("zh")
    return False
