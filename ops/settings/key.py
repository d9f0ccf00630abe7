"""What each table and key of gte-ops.toml says of itself: the source of `gte-ops config` and docs/configuration.md."""

from typing import Any

import msgspec
from msgspec import Meta

# What is used without a key, in both languages.
FOUND = ("found on the host", "在主机上查找")
NONE = ("none", "无")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


def key(
    en: str,
    zh: str,
    *,
    example: Any,
    since: str,
    unit: str = "",
    unset: tuple[str, str] = ("", ""),
    secret: bool = False,
) -> Meta:
    """What a key of the file means, in English and Chinese: the source of `gte-ops config` and docs/configuration.md.

    ``example``: a value as TOML has it; ``since``: the version that brought the key; ``unit``: of a bare number
    (`ops.report.config_reference.UNITS`); ``unset``: what is used without the key, in both languages, where its default
    is None or empty; ``secret``: its value opens a door and is never shown."""
    extra = {"zh": zh, "since": since, "unit": unit, "unset": unset, "secret": secret}
    return Meta(description=en, examples=[example], extra=extra)


def table(en: str, zh: str) -> Meta:
    """What a table of the file is about, in English and Chinese."""
    return Meta(description=en, extra={"zh": zh})
