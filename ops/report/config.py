"""What `gte-ops config` shows: each value and where it is from, or what is wrong with the file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ops.diagnosis.model import Status
from ops.notifications.destination import masked
from ops.report.config_reference import key_values, plain_value, toml_value
from ops.report.model import BLANK, CommandReport, ReportLine
from ops.settings import SEARCH_PATH, Settings, SettingsFile
from ops.text.language import COLON, COMMA, Language, Text
from ops.text.sanitize import safe_line, without_controls, without_secrets
from ops.text.secret_scan.command_lines import without_secret_arguments

_MAX_ERROR_CHARS = 600


class KeyOrigin(StrEnum):
    """Where a key's value is from."""

    FILE = "file"
    DEFAULT = "default"


_ORIGINS: dict[KeyOrigin, Text] = {
    KeyOrigin.FILE: Text(en="file   ", zh="文件"),
    KeyOrigin.DEFAULT: Text(en="default", zh="默认"),
}
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
    errors: tuple[Text, ...]

    @property
    def exit_code(self) -> int:
        """0 it can be used, 3 it cannot."""
        return 3 if self.errors else 0


def keys_in(document: Mapping[str, Any]) -> frozenset[str]:
    """Full names of the keys that a document sets: ``target.domain``, ``backup.keep.daily``, ``doctor.ignore``."""
    names = {name for name, _, _ in key_values(Settings())}
    return frozenset(name for name in names if _is_set(document, name.split(".")))


def _is_set(table: Any, path: Sequence[str]) -> bool:
    for part in path:
        if not isinstance(table, Mapping) or part not in table:
            return False
        table = table[part]
    return True


class SettingsReport(CommandReport):
    """Each key with its value and its origin. ``document``: what the file sets."""

    command = "config show"

    def __init__(self, settings: Settings, file: SettingsFile, document: Mapping[str, Any]) -> None:
        self._settings = settings
        self._file = file
        self._in_file = keys_in(document)

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each key, a blank one between sections."""
        yield ReportLine(_file_line(self._file, language))
        section = ""
        for name, key, value in key_values(self._settings):
            if name.partition(".")[0] != section:
                section = name.partition(".")[0]
                yield BLANK
            if value in (None, "", ()):
                unset = key.unset.to(language) if key.unset else _NOT_SET.to(language)
                words = _WITHOUT.to(language).format(name, unset)
            else:
                words = f"{name} = {toml_value(shown_value(value, is_secret=key.is_secret))}"
            yield ReportLine(
                without_controls(words),
                lead=_ORIGINS[self._origin(name)].to(language) + "  ",
                lead_style="bold" if name in self._in_file else "dim",
            )

    def document(self, language: Language) -> dict[str, Any]:
        """``values``: key, value, origin, and what is used without a value."""
        return {
            "file": str(self._file.path.absolute()) if self._file.path else None,
            "passed_over": list(self._file.passed_over),
            "values": [
                {
                    "key": name,
                    "value": _finite(shown_value(value, is_secret=key.is_secret)),
                    "origin": self._origin(name),
                    "unset": key.unset.to(language) if key.unset and value in (None, "", ()) else None,
                }
                for name, key, value in key_values(self._settings)
            ],
        }

    def _origin(self, name: str) -> KeyOrigin:
        return KeyOrigin.FILE if name in self._in_file else KeyOrigin.DEFAULT


def _finite(value: Any) -> Any:
    """TOML has ``inf`` and ``nan``, JSON has no such numbers."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def shown_value(value: Any, *, is_secret: bool = False) -> Any:
    """A value in JSON's types, as people may read it: without secrets."""
    if is_secret:
        return masked(value) if isinstance(value, str) else [masked(url) for url in value]
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


class ConfigCheckReport(CommandReport):
    """Whether the file can be used, and else each error: where it is and what would be right."""

    command = "config check"

    def __init__(self, check: ConfigCheck) -> None:
        self._check = check

    @property
    def status(self) -> Status:
        """ok, or unknown: no command can run with that file."""
        return Status.UNKNOWN if self._check.errors else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each error, then the verdict."""
        check = self._check
        name = safe_line(check.file or "gte-ops.toml", 300)
        errors = self._error_lines(language)
        for error in errors:
            yield ReportLine(error, lead=name + COLON.to(language))
        if errors:
            yield ReportLine(_UNUSABLE.to(language).format(name, len(errors)))
        elif check.file is None:
            yield ReportLine(_NO_FILE.to(language).format(COMMA.to(language).join(SEARCH_PATH)))
        else:
            yield ReportLine(_USABLE.to(language).format(name, len(check.keys_set)))

    def document(self, language: Language) -> dict[str, Any]:
        """``errors``: one sentence each."""
        return {
            "file": self._check.file,
            "keys_set": list(self._check.keys_set),
            "errors": self._error_lines(language),
        }

    def _error_lines(self, language: Language) -> list[str]:
        return [safe_line(error.to(language), _MAX_ERROR_CHARS) for error in self._check.errors]


def _file_line(file: SettingsFile, language: Language) -> str:
    if file.path is None:
        return _NO_FILE.to(language).format(COMMA.to(language).join(SEARCH_PATH))
    return safe_line(_READ.to(language).format(file.path.absolute()), 400)
