"""`gte-ops config`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import (
    config_option,
    find_file,
    group_language_option,
    language_option,
    report_format_option,
    show,
)
from ops.errors import UsageError
from ops.text.language import Text

if TYPE_CHECKING:
    from pathlib import Path

    from ops.report.config import ConfigCheck
    from ops.settings import Settings
    from ops.text.language import Language


@click.group(cls=BilingualGroup, zh="查看、检查、说明 gte-ops.toml。")
@group_language_option
def config() -> None:
    """Show, check and describe gte-ops.toml. 查看、检查、说明 gte-ops.toml。

    \b
    Example:
      gte-ops config show
      gte-ops config check
    """


@config.command(
    "show",
    zh="""显示每个值，以及它来自文件还是默认值。

    未设置的键在本机采用什么值，见 gte-ops doctor 的报告。密钥不显示。退出码：0；配置文件不可用时为 3。""",
)
@config_option
@report_format_option
@language_option
def show_command(config: str | None, form: str, language: Language) -> None:
    """Show each value and whether the file or the default set it. 显示每个值，以及它来自文件还是默认值。

    For keys that are not set, the doctor's report shows the values found on the host. Secrets are masked.
    Exit code: 0, or 3 if the file cannot be used.

    \b
    Example:
      gte-ops config show
      gte-ops config show --format json | jq '.values[] | select(.origin == "file")'
    """
    from ops.report.config import SettingsReport
    from ops.settings import Settings, parse_document, parse_settings, read_settings_file

    file = find_file(config)
    settings, document = Settings(), {}
    if file.path is not None:
        content = read_settings_file(file.path)
        settings = parse_settings(content, str(file.path))
        document = parse_document(content, str(file.path))
    show(form, SettingsReport(settings, file, document), language)


@config.command(
    zh="""检查 gte-ops.toml 是否可用，并列出全部错误。

    检查 FILE；不给 FILE 时，检查各命令实际会读取的文件。退出码：0 可用，3 不可用。"""
)
@click.argument("file", required=False)
@config_option
@report_format_option
@language_option
def check(file: str | None, config: str | None, form: str, language: Language) -> None:
    """Say whether gte-ops.toml can be used, and name all errors. 检查 gte-ops.toml 是否可用，并列出全部错误。

    FILE, or the file that every command would read. Exit code: 0 it can be used, 3 it cannot.

    \b
    Example:
      gte-ops config check
      gte-ops config check ./gte-ops.toml --format json
    """
    from pathlib import Path

    from ops.report.config import ConfigCheck, ConfigCheckReport
    from ops.settings import SettingsFile
    from ops.text.reasons import reason

    if file and config:
        raise UsageError(
            Text(en="give FILE or --config FILE, not both", zh="FILE 与 --config FILE 只能给出一个")
        )
    settings_file = SettingsFile(Path(file)) if file else find_file(config)
    # A file that was passed over is the one that was meant, and every command goes on without it.
    result = (
        _checked(settings_file.path)
        if settings_file.path
        else ConfigCheck(None, (), tuple(map(reason, settings_file.passed_over)))
    )
    show(form, ConfigCheckReport(result), language)
    sys.exit(result.exit_code)


@config.command(zh="输出 gte-ops.toml 的 JSON Schema，供编辑器使用。")
@language_option
def schema(language: Language) -> None:
    """Write the JSON Schema of gte-ops.toml, for editors. 输出 gte-ops.toml 的 JSON Schema，供编辑器使用。

    \b
    Example:
      gte-ops config schema >gte-ops.schema.json
    """
    from ops.report.config_reference import json_schema
    from ops.report.json_document import write_document
    from ops.report.sentences import readable_language

    readable = readable_language(language, sys.stdout)
    write_document(json_schema(readable), sys.stdout)


@config.command(zh="输出带注释、所有键取默认值的 gte-ops.toml。")
@language_option
def sample(language: Language) -> None:
    """Write a commented gte-ops.toml with every key at its default. 输出带注释、所有键取默认值的 gte-ops.toml。

    \b
    Example:
      gte-ops config sample >/etc/gte-ops/gte-ops.toml
      gte-ops config sample --lang zh
    """
    from ops.report import config_reference
    from ops.report.sentences import readable_language

    readable = readable_language(language, sys.stdout)
    # TOML is UTF-8, whatever the terminal's encoding is.
    click.echo(config_reference.sample(readable).encode(), nl=False)


def _checked(path: Path) -> ConfigCheck:
    from ops.errors import SettingsError
    from ops.report.config import ConfigCheck, keys_in
    from ops.settings import parse_document, parse_settings, read_settings_file, settings_errors

    name = str(path)
    try:
        content = read_settings_file(path)
        document = parse_document(content, name)
    except SettingsError as error:
        return ConfigCheck(name, (), (_without_name(error.words, name),))
    errors = settings_errors(document)
    if not errors:
        errors = _refused_by_commands(parse_settings(content, name))
    return ConfigCheck(name, tuple(sorted(keys_in(document))), errors)


def _without_name(words: Text, name: str) -> Text:
    """An error of the file called ``name``, whose line begins with that name already."""
    return Text(en=words.en.removeprefix(f"{name}: "), zh=words.to("zh").removeprefix(f"{name}："))


def _refused_by_commands(settings: Settings) -> tuple[Text, ...]:
    """Values of the right form that the command which uses them would refuse."""
    from ops.backups.copies import parse_destination
    from ops.backups.retention import check_policy
    from ops.collect.net.private_headers import read_private_headers
    from ops.errors import OpsError
    from ops.notifications.authorities import read_authorities
    from ops.notifications.destination import destinations
    from ops.settings import MAX_BUDGET, MIN_BUDGET

    errors: list[Text] = []
    if not MIN_BUDGET <= settings.doctor.budget <= MAX_BUDGET:
        errors.append(
            Text(en="doctor.budget: choose between 1s and 5m", zh="doctor.budget：须在 1s 与 5m 之间")
        )
    try:
        check_policy(settings.backup.keep)
    except OpsError as error:
        errors.append(error.words)
    for number, destination in enumerate(settings.backup.to):
        try:
            parse_destination(destination)
        except OpsError as error:
            place = f"backup.to[{number}]"
            errors.append(Text(en=f"{place}: {error}", zh=f"{place}：{error.words.to('zh')}"))
    try:
        destinations(settings.notify.urls)
    except OpsError as error:
        errors.append(error.words)
    if settings.notify.ca_file:
        # A file that this user may not read is no error: the units that send run as root.
        try:
            read_authorities(settings.notify.ca_file)
        except OpsError as error:
            if not isinstance(error.__cause__, PermissionError):
                errors.append(error.words)
    if settings.target.headers_file:
        # A file that this user may not read is no error: the commands that send the headers run as root.
        try:
            read_private_headers(settings.target.headers_file)
        except OpsError as error:
            errors.append(error.words)
    return tuple(errors)
