"""gte-ops.toml as typed settings, and what is wrong with one that cannot be used."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_type_hints

import msgspec

from ops.errors import SettingsError
from ops.settings.doctor import DoctorSettings, McpSettings
from ops.settings.key import Section, table
from ops.settings.safeguards import BackupSettings, NotifySettings, TlsSettings, WatchdogSettings
from ops.settings.target import (
    AppSettings,
    GunicornSettings,
    LogrotateSettings,
    ModelSettings,
    NginxSettings,
    ScheduleSettings,
    TargetSettings,
)
from ops.settings.usable_values import unusable_values
from ops.text.duration import Seconds, parse_duration
from ops.text.language import Text
from ops.text.reasons import chinese


class Settings(Section, frozen=True):
    """The whole file."""

    target: Annotated[
        TargetSettings,
        table("What users reach, and how to reach it from this host.", "用户访问的是什么，从本机如何访问。"),
    ] = TargetSettings()
    doctor: Annotated[
        DoctorSettings,
        table(
            "How far back `gte-ops doctor` reads, how long it may take, and which causes it ignores.",
            "`gte-ops doctor` 回溯多久、最多用时，以及忽略哪些原因。",
        ),
    ] = DoctorSettings()
    app: Annotated[
        AppSettings,
        table("The application and the interpreter it runs on.", "应用及其所用的 Python 解释器。"),
    ] = AppSettings()
    gunicorn: Annotated[
        GunicornSettings,
        table(
            "Where gunicorn listens and logs, and how it is started.", "gunicorn 的监听地址、日志和启动方式。"
        ),
    ] = GunicornSettings()
    nginx: Annotated[NginxSettings, table("nginx's program and its files.", "nginx 的程序和文件。")] = (
        NginxSettings()
    )
    tls: Annotated[
        TlsSettings,
        table(
            "The certificate on disk, what is trusted, and which further endpoints are examined.",
            "磁盘上的证书、信任的根证书，以及另外检查的端点。",
        ),
    ] = TlsSettings()
    model: Annotated[ModelSettings, table("The production model.", "生产模型。")] = ModelSettings()
    logrotate: Annotated[LogrotateSettings, table("The rotation rules in use.", "在用的日志轮转规则。")] = (
        LogrotateSettings()
    )
    schedule: Annotated[
        ScheduleSettings,
        table("Places to search for timers and cron entries.", "查找定时器和 cron 条目的位置。"),
    ] = ScheduleSettings()
    backup: Annotated[
        BackupSettings,
        table(
            "Where backups go, what they hold, how they are packed, and how many are kept.",
            "备份放在哪里、包含什么、如何打包、保留多少。",
        ),
    ] = BackupSettings()
    watchdog: Annotated[
        WatchdogSettings,
        table(
            "How often the watchdog checks, and when it acts.",
            "看门狗程序（watchdog）多久检查一次，何时动作。",
        ),
    ] = WatchdogSettings()
    notify: Annotated[NotifySettings, table("Notification destinations.", "通知目标。")] = NotifySettings()
    mcp: Annotated[
        McpSettings, table("What `gte-ops mcp` offers an assistant.", "`gte-ops mcp` 向助手提供什么。")
    ] = McpSettings()


def parse_settings(content: bytes, name: str) -> Settings:
    """Typed settings from the bytes of a TOML file called ``name``. Raises SettingsError."""
    document = parse_document(content, name)
    if (unknown := next(_unknown_keys(document, Settings, ""), None)) is not None:
        raise _in_file(name, unknown)
    try:
        settings = _convert(document)
    except SettingsError as error:
        raise _in_file(name, error.words) from None
    if (unusable := next(unusable_values(settings), None)) is not None:
        raise _in_file(name, unusable)
    return settings


def _in_file(name: str, words: Text) -> SettingsError:
    return SettingsError(Text(en=f"{name}: {words.en}", zh=f"{name}：{words.to('zh')}"))


def parse_document(content: bytes, name: str) -> dict[str, Any]:
    """The tables and keys of a TOML file called ``name``, as they are written. Raises SettingsError."""
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SettingsError(
            Text(
                en=f"{name}: line {line}: not UTF-8 text; save the file as UTF-8",
                zh=f"{name}：第 {line} 行：不是 UTF-8 文本；请以 UTF-8 保存文件",
            )
        ) from None
    except ValueError as error:  # TOMLDecodeError, and int's own for a number of thousands of digits
        raise SettingsError(
            Text(en=f"{name}: not valid TOML: {error}", zh=f"{name}：不是有效的 TOML：{error}")
        ) from None
    except RecursionError:
        raise SettingsError(
            Text(
                en=f"{name}: nested too deeply; this is not a gte-ops.toml",
                zh=f"{name}：嵌套过深，不是 gte-ops.toml",
            )
        ) from None


def settings_errors(document: Mapping[str, Any]) -> tuple[Text, ...]:
    """Every error of a document, unknown keys first: the key, and what would be right. Empty: it can be used.

    `parse_settings` names the first alone."""
    unknown = list(_unknown_keys(document, Settings, ""))
    return tuple(unknown + [error for part in _known_parts(document) for error in _errors_of(part)])


def _known_parts(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Documents of one known key each: keys do not depend on one another, so each is right or wrong by itself."""
    for section, kind in get_type_hints(Settings).items():
        values = document.get(section, {})
        if not isinstance(values, dict):
            yield {section: values}
            continue
        for key, value in values.items():
            if key in get_type_hints(kind):
                yield {section: {key: value}}


def _errors_of(part: dict[str, Any]) -> Iterator[Text]:
    if any(_unknown_keys(part, Settings, "")):
        return  # said already
    try:
        yield from unusable_values(_convert(part))
    except SettingsError as error:
        yield error.words


def _convert(document: Mapping[str, Any]) -> Settings:
    """The document as settings. Raises SettingsError: which key has which wrong type."""
    try:
        return msgspec.convert(document, Settings, dec_hook=_decode_seconds)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`") or "the file"
        raise SettingsError(
            Text(en=f"{key}: {what[:1].lower()}{what[1:]}", zh=f"{key}：{chinese(what)}")
        ) from None


def _decode_seconds(kind: type, value: Any) -> Seconds:
    if kind is Seconds and isinstance(value, str | int | float):
        return parse_duration(value)
    raise ValueError(f"{value!r} is not a duration; write it like 10s, 15m, 36h or 7d")


def _unknown_keys(table: Mapping[str, Any], kind: type[Section], prefix: str) -> Iterator[Text]:
    hints = get_type_hints(kind)
    for key, value in table.items():
        if key not in hints:
            nearest = _nearest(key, hints, prefix)
            yield Text(
                en=f"unknown key {prefix}{key}; {nearest.en}", zh=f"未知的键 {prefix}{key}；{nearest.zh}"
            )
            continue
        inner = next((k for k in (hints[key], *get_args(hints[key])) if _is_section(k)), None)
        if inner is not None:
            for entry in value if isinstance(value, list) else (value,):
                if isinstance(entry, dict):
                    yield from _unknown_keys(entry, inner, f"{prefix}{key}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _nearest(key: str, hints: Mapping[str, Any], prefix: str) -> Text:
    """What may have been meant."""
    import difflib  # only a misspelt name needs it

    close = [prefix + name for name in difflib.get_close_matches(key, hints, n=1, cutoff=0.5)]
    elsewhere = [
        f"{section}.{key}"
        for section, kind in get_type_hints(Settings).items()
        if _is_section(kind) and key in get_type_hints(kind)
    ]
    if suggestion := next(iter(close + elsewhere), None):
        return Text(en=f"did you mean {suggestion}?", zh=f"是否指 {suggestion}？")
    return Text(en=f"known here: {', '.join(sorted(hints))}", zh=f"此处可用的键：{'、'.join(sorted(hints))}")
