"""The keys of gte-ops.toml as people and editors read them: a list, a JSON Schema, a sample file, a page of docs.

All of it is derived from the annotations in ``ops/settings/``.
"""

from __future__ import annotations

import json
import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Meta

from ops.settings import Section, Settings
from ops.text.duration import UNIT_SECONDS, Seconds
from ops.text.language import Language, Text

# Units of bare numbers. A duration has its unit in its value.
UNITS = {
    "actions": Text(en="actions", zh="次"),
    "attempts": Text(en="attempts", zh="次"),
    "requests": Text(en="requests", zh="个请求"),
    "shares": Text(en="shares", zh="份"),
    "backups": Text(en="backups", zh="份"),
    "checks": Text(en="checks", zh="次"),
    "seconds": Text(en="seconds", zh="秒"),
}
_TYPES: dict[type, Text] = {
    bool: Text(en="true or false", zh="true 或 false"),
    str: Text(en="text", zh="文本"),
    int: Text(en="whole number", zh="整数"),
    float: Text(en="number", zh="数字"),
    Seconds: Text(en="duration", zh="时长"),
    date: Text(en="date", zh="日期"),
}
_DURATION_PATTERN = r"^\s*\d{1,9}(\.\d{1,6})?\s*(ms|s|m|h|d)?\s*$"


@dataclass(frozen=True)
class SettingKey:
    """One key. ``name``: as it is written within its table (``keep.daily``); ``kind``: its type without None;
    ``default``: msgspec's NODEFAULT where the key must be given; ``unset``: what is used where the default is None or
    empty; ``example``: a value as TOML has it."""

    name: str
    kind: Any
    default: Any
    meaning: Text
    example: Any
    since: str
    unit: Text | None
    unset: Text | None
    is_secret: bool

    @property
    def is_empty(self) -> bool:
        """Whether the default is no value: something else is used, or nothing."""
        return self.default is None or self.default in ("", ())


@dataclass(frozen=True)
class SettingTable:
    """One table of the file, or (``is_list``) the entries of an array of tables."""

    name: str
    about: Text
    keys: tuple[SettingKey, ...]
    is_list: bool = False

    @property
    def header(self) -> str:
        """As the file has it."""
        return f"[[{self.name}]]" if self.is_list else f"[{self.name}]"


@cache
def setting_tables() -> tuple[SettingTable, ...]:
    """All tables, in the order of the file; the entries of an array of tables follow the table that it belongs to."""
    tables = []
    for name, (kind, meta) in _annotated(Settings).items():
        tables.append(SettingTable(name, _text(meta), tuple(_keys(kind, ""))))
        for key in tables[-1].keys:
            entry = _entry(key.kind)
            if entry is not None:
                keys = tuple(_keys(entry, ""))
                tables.append(SettingTable(f"{name}.{key.name}", key.meaning, keys, is_list=True))
    return tuple(tables)


def key_values(settings: Settings) -> Iterator[tuple[str, SettingKey, Any]]:
    """Each key of the file by its full name, with the value that ``settings`` has for it."""
    for table in setting_tables():
        if not table.is_list:
            for key in table.keys:
                value: Any = getattr(settings, table.name)
                for part in key.name.split("."):
                    value = getattr(value, part)
                yield f"{table.name}.{key.name}", key, value


def _keys(kind: type[Section], prefix: str) -> Iterator[SettingKey]:
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
    for name, (inner, meta) in _annotated(kind).items():
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _keys(inner, f"{prefix}{name}.")
            continue
        extra = meta.extra or {}
        en, zh = extra["unset"]
        yield SettingKey(
            name=f"{prefix}{name}",
            kind=inner,
            default=defaults[name],
            meaning=_text(meta),
            example=(meta.examples or [None])[0],
            since=extra["since"],
            unit=UNITS[extra["unit"]] if extra["unit"] else None,
            unset=Text(en=en, zh=zh) if en or zh else None,
            is_secret=extra["secret"],
        )


def _annotated(kind: type[Section]) -> dict[str, tuple[Any, Meta]]:
    """A section's fields: type without None, and what is said of it. Raises TypeError where nothing is said."""
    fields = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{kind.__name__}.{name} says nothing of what it means: see ops.settings.key.key")
        inner, meta = get_args(hint)
        options = [part for part in get_args(inner) if part is not type(None)]
        is_optional = get_origin(inner) in (Union, types.UnionType) and len(options) == 1
        fields[name] = (options[0] if is_optional else inner, meta)
    return fields


def _text(meta: Meta) -> Text:
    return Text(en=meta.description or "", zh=(meta.extra or {}).get("zh", ""))


def _entry(kind: Any) -> type[Section] | None:
    """The table that a list is made of; None for a list of values, and for a value."""
    first = next(iter(get_args(kind)), None)
    return first if isinstance(first, type) and issubclass(first, Section) else None


# --- words ------------------------------------------------------------------------------------------------------------


def type_words(key: SettingKey, language: Language) -> str:
    """``duration``, ``list of text``, ``"zst"`` or ``"gz"``, ``number, seconds``."""
    words = _words_of(key.kind, language)
    if key.unit is None:
        return words
    return f"{words}{'，' if language == 'zh' else ', '}{key.unit.to(language)}"


def _words_of(kind: Any, language: Language) -> str:
    alternative = "或" if language == "zh" else " or "
    if get_origin(kind) is Literal:
        return alternative.join(toml_value(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return alternative.join(_words_of(part, language) for part in get_args(kind))
    if get_origin(kind) in (tuple, list):
        if _entry(kind) is not None:
            return "表数组" if language == "zh" else "array of tables"
        inner = _words_of(get_args(kind)[0], language)
        return f"{inner}列表" if language == "zh" else f"list of {inner}"
    return _TYPES[kind].to(language)


def toml_value(value: Any) -> str:
    """``value`` as gte-ops.toml has it, on one line."""
    if isinstance(value, Seconds):
        return json.dumps(written_duration(value))
    if isinstance(value, str):
        plain = value.isprintable() and "'" not in value
        # JSON leaves DEL as it is, which TOML does not allow.
        quoted = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        return f"'{value}'" if plain and ('"' in value or "\\" in value) else quoted
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {toml_value(item)}' for name, item in value.items())}}}"
    if isinstance(value, Section):
        return toml_value(given_values(value))
    return json.dumps(value) if isinstance(value, bool) else repr(value)


def plain_value(value: Any) -> Any:
    """``value`` in JSON's types; a duration as it is written."""
    if isinstance(value, Seconds):
        return written_duration(value)
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, Section):
        return {name: plain_value(item) for name, item in given_values(value).items()}
    return value.isoformat() if isinstance(value, date) else value


def given_values(entry: Section) -> dict[str, Any]:
    """The keys of a section that have a value."""
    values = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None}


def written_duration(seconds: float) -> str:
    """A duration in the largest unit of which it is a whole number: ``36h``, ``15m``, ``2500ms``."""
    for unit in ("d", "h", "m", "s", "ms"):
        number = seconds / UNIT_SECONDS[unit]
        # 24h, 36h and 48h are how people write a day and a half; from three days on they count days.
        if number == int(number) and not (unit == "d" and number < 3) and (number or unit == "s"):
            return f"{int(number)}{unit}"
    return f"{seconds:.6f}".rstrip("0") + "s"


# --- for editors and programs -----------------------------------------------------------------------------------------


def json_schema(language: Language) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of gte-ops.toml, as editors use it to complete and check."""
    title = "gte-ops.toml 的结构" if language == "zh" else "gte-ops.toml"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **_schema_of(Settings, language),
    }


def _schema_of(kind: type[Section], language: Language) -> dict[str, Any]:
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
    properties: dict[str, Any] = {}
    for name, (inner, meta) in _annotated(kind).items():
        entry = _entry(inner)
        if isinstance(inner, type) and issubclass(inner, Section):
            schema = _schema_of(inner, language)
        elif entry is not None:
            schema = {"type": "array", "items": _schema_of(entry, language)}
        else:
            schema = msgspec.json.schema(inner, schema_hook=_duration_schema)
        schema["description"] = _text(meta).to(language)
        if meta.examples:
            schema["examples"] = msgspec.to_builtins(meta.examples)
        default = defaults[name]
        if default is not NODEFAULT and default is not None and not isinstance(default, Section):
            schema["default"] = plain_value(default)
        properties[name] = schema
    required = [name for name, default in defaults.items() if default is NODEFAULT]
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _duration_schema(kind: type) -> dict[str, Any]:
    if kind is not Seconds:
        raise NotImplementedError(f"{kind} has no JSON Schema")
    return {"anyOf": [{"type": "string", "pattern": _DURATION_PATTERN}, {"type": "number", "minimum": 0}]}


# --- for people -------------------------------------------------------------------------------------------------------

_SAMPLE_HEAD = Text(
    en="gte-ops.toml with every key. What is set is the default; a line that begins with #: is an example, for a key"
    " without one.",
    zh="gte-ops.toml 的全部键。已写出的值就是默认值；以 #: 开头的行是示例，该键没有默认值。",
)
_UNSET = Text(en="Without it: ", zh="不设置时：")


def sample(language: Language) -> str:
    """A gte-ops.toml with all keys, commented, that says no more than an empty one. Its examples begin with ``#: ``:
    without that mark they are part of the file."""
    lines = _comment(_SAMPLE_HEAD.to(language))
    for table in setting_tables():
        mark = "#: " if table.is_list else ""
        lines += ["", *_comment(table.about.to(language)), f"{mark}{table.header}"]
        for key in table.keys:
            if _entry(key.kind) is not None:
                continue  # its entries are a table of their own, below
            lines += _comment(key.meaning.to(language))
            if key.unset is not None:
                lines += _comment(_UNSET.to(language) + key.unset.to(language))
            value = key.example if table.is_list or key.is_empty else key.default
            comment = mark or ("#: " if key.is_empty else "")
            lines.append(f"{comment}{key.name} = {toml_value(value)}")
    return "\n".join(lines) + "\n"


def _comment(words: str) -> list[str]:
    # A Chinese character takes two columns.
    columns = 100 if words.isascii() else 50
    return [f"# {line}" for line in textwrap.wrap(words, columns, break_on_hyphens=False)]


_COLUMNS = {
    "en": ("key", "type", "default", "meaning", "example", "since"),
    "zh": ("键", "类型", "默认值", "含义", "示例", "起始版本"),
}
_REQUIRED = Text(en="required", zh="必填")


def markdown_tables(language: Language) -> str:
    """A heading and a table for each table of gte-ops.toml."""
    parts = []
    for table in setting_tables():
        rows = [
            (
                f"`{key.name}`",
                type_words(key, language),
                _default_cell(key, language),
                key.meaning.to(language),
                f"`{toml_value(key.example)}`",
                key.since,
            )
            for key in table.keys
        ]
        about = table.about.to(language)
        parts.append(f"### `{table.header}`\n\n{about}\n\n{markdown_table(_COLUMNS[language], rows)}")
    return "\n\n".join(parts)


def _default_cell(key: SettingKey, language: Language) -> str:
    if key.default is NODEFAULT:
        return _REQUIRED.to(language)
    if key.is_empty:
        return key.unset.to(language) if key.unset else ""
    return f"`{toml_value(key.default)}`"


def markdown_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table of Markdown; a ``|`` in a cell is escaped."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
