"""What `gte-ops config` shows: each value and where it is from, or what is wrong with the file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ops.notifications.destination import masked
from ops.report.config_reference import key_values, plain_value, toml_value
from ops.report.json_document import write_document
from ops.report.terminal import Page
from ops.settings import SEARCH_PATH, Settings, SettingsFile
from ops.text.language import Language, Text
from ops.text.sanitize import safe_line, without_controls, without_secrets
from ops.text.secret_scan.command_lines import without_secret_arguments

SCHEMA_VERSION = 1
_MAX_ERROR_CHARS = 600

_ORIGINS = {"file": Text(en="file   ", zh="文件"), "default": Text(en="default", zh="默认")}
_READ = Text(en="Read: {}", zh="读取的文件：{}")
_NO_FILE = Text(
    en="No gte-ops.toml was read: every key has its default. It is looked for at {}.",
    zh="没有读取 gte-ops.toml，所有键取默认值。查找位置：{}。",
)
_NOT_SET = Text(en="not set", zh="未设置")
_WITHOUT = Text(en="{} not set: {}", zh="{} 未设置：{}")
_USABLE = Text(en="{}: can be used; keys set: {}", zh="{}：可用；已设置的键：{} 个")
_UNUSABLE = Text(en="{}: cannot be used; errors: {}", zh="{}：不可用；错误：{} 处")


@dataclass(frozen=True)
class ConfigCheck:
    """What a check of the file found. ``file``: None where there is none; ``keys_set``: full names."""

    file: str | None
    keys_set: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 it can be used, 3 it cannot."""
        return 3 if self.errors else 0


def keys_in(document: Mapping[str, Any]) -> frozenset[str]:
    """Full names of the keys that a document sets: ``target.domain``, ``backup.keep.daily``, ``doctor.ignore``."""
    known = {name for name, _, _ in key_values(Settings())}
    return frozenset(name for name in known if _is_set(document, name.split(".")))


def _is_set(table: Any, path: Sequence[str]) -> bool:
    for part in path:
        if not isinstance(table, Mapping) or part not in table:
            return False
        table = table[part]
    return True


def render_settings(
    form: str,
    settings: Settings,
    file: SettingsFile,
    document: Mapping[str, Any],
    language: Language,
    out: TextIO,
) -> None:
    """Write each key with its value and its origin, as text or JSON. ``document``: what the file sets."""
    in_file = keys_in(document)
    if form == "json":
        values = [
            {
                "key": name,
                "value": _finite(shown_value(value, is_secret=key.is_secret)),
                "origin": "file" if name in in_file else "default",
                "unset": key.unset.to(language) if key.unset and value in (None, "", ()) else None,
            }
            for name, key, value in key_values(settings)
        ]
        path = str(file.path.absolute()) if file.path else None
        write_document({**_head(path), "passed_over": list(file.passed_over), "values": values}, out)
        return
    page = Page(out)
    page.prose(_file_line(file, language))
    section = ""
    for name, key, value in key_values(settings):
        if name.partition(".")[0] != section:
            section = name.partition(".")[0]
            page.blank()
        origin = _ORIGINS["file" if name in in_file else "default"].to(language)
        if value in (None, "", ()):
            unset = key.unset.to(language) if key.unset else _NOT_SET.to(language)
            words = _WITHOUT.to(language).format(name, unset)
        else:
            words = f"{name} = {toml_value(shown_value(value, is_secret=key.is_secret))}"
        page.prose(
            without_controls(words), lead=f"{origin}  ", lead_style="bold" if name in in_file else "dim"
        )


def _finite(value: Any) -> Any:
    """TOML has ``inf`` and ``nan``, JSON has no such numbers."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def shown_value(value: Any, *, is_secret: bool = False) -> Any:
    """A value in JSON's types, as people may read it: without secrets."""
    if is_secret:
        return [masked(url) for url in value]
    return _without_secrets(plain_value(value))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            value = list(without_secret_arguments(value))
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    return value


def render_check(form: str, check: ConfigCheck, language: Language, out: TextIO) -> None:
    """Write whether the file can be used, and else each error: where it is and what would be right."""
    if form == "json":
        document = {
            **_head(check.file),
            "status": "unknown" if check.errors else "ok",
            "keys_set": list(check.keys_set),
            "errors": [safe_line(error, _MAX_ERROR_CHARS) for error in check.errors],
        }
        write_document(document, out)
        return
    page = Page(out)
    name = check.file or "gte-ops.toml"
    for error in check.errors:
        page.prose(safe_line(error, _MAX_ERROR_CHARS), lead=f"{safe_line(name, 300)}: ")
    if check.errors:
        page.prose(_UNUSABLE.to(language).format(safe_line(name, 300), len(check.errors)))
    elif check.file is None:
        page.prose(_NO_FILE.to(language).format(", ".join(SEARCH_PATH)))
    else:
        page.prose(_USABLE.to(language).format(safe_line(name, 300), len(check.keys_set)))


def _file_line(file: SettingsFile, language: Language) -> str:
    if file.path is None:
        return _NO_FILE.to(language).format(", ".join(SEARCH_PATH))
    return safe_line(_READ.to(language).format(file.path.absolute()), 400)


def _head(path: str | None) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "file": path}
