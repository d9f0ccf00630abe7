"""The options that commands share, and the settings they lead to."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli.help import BilingualOption, is_chinese
from ops.report import FORMATS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ops.report.model import CommandReport
    from ops.settings import Settings, SettingsFile
    from ops.text.language import Language

_LANGUAGE = "ops.language"
_CONFIG = "ops.config"
# Of a file written by --output: readable by node_exporter, which runs as another user.
OUTPUT_MODE = 0o644


class Duration(click.ParamType[float]):
    """A duration: 10s, 15m, 36h."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from ops.text.duration import parse_duration

        try:
            return float(parse_duration(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def option(*names: str, en: str, zh: str, **attributes: Any) -> Callable[[Callable[..., Any]], Any]:
    """`click.option` with its help in both languages."""
    return click.option(*names, cls=BilingualOption, help=en, zh=zh, **attributes)


def _inherited(key: str, ctx: click.Context, value: str | None) -> str | None:
    """``value``, or what a command further up was given: `gte-ops backup --config x list`."""
    if value is not None:
        ctx.meta[key] = value
    inherited: str | None = ctx.meta.get(key)
    return inherited


def _config(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    return _inherited(_CONFIG, ctx, value)


def _language(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    from ops.text.locale_language import reader_language

    return _inherited(_LANGUAGE, ctx, value) or reader_language()


config_option = option(
    "--config", metavar="FILE", callback=_config, en="Read this gte-ops.toml.", zh="读取这个 gte-ops.toml。"
)
_language_option = functools.partial(
    option,
    "--lang",
    "language",
    type=click.Choice(["zh", "en"]),
    callback=_language,
    en="Language of messages and reports; default: the locale's.",
    zh="消息与报告的语言；默认按系统区域设置。",
)
language_option = _language_option()
# Of a group that only holds commands: they inherit it.
group_language_option = _language_option(expose_value=False)
report_format_option = option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    en="Format of the report.",
    zh="报告格式。",
)
error_format_option = option(
    "--format",
    type=click.Choice(FORMATS),
    default="text",
    expose_value=False,  # ops.cli.main writes errors by it
    en="Format of an error that keeps it from serving.",
    zh="无法启动时错误的格式。",
)


output_option = option(
    "--output",
    metavar="FILE",
    en="Write the report there, whole or not at all.",
    zh="把报告写入该文件；要么完整写入，要么不写。",
)


def written_option(arguments: Sequence[str], name: str) -> str | None:
    """The last value of option ``name`` on a command line that may not be parsable."""
    value = None
    for number, word in enumerate(arguments):
        if word == "--":
            break
        if word == name and number + 1 < len(arguments):
            value = arguments[number + 1]
        elif word.startswith(f"{name}="):
            value = word.partition("=")[2]
    return value


def error_language() -> Language:
    """The language of a line on standard error, also if the command line cannot be parsed."""
    from ops.report.sentences import can_show

    return "zh" if is_chinese() and can_show("故障", sys.stderr) else "en"


def show(form: str, report: CommandReport, language: Language, output: str | None = None) -> None:
    """Write a command's report to standard output, or to the file ``output``. Raises OpsError for a file that cannot be
    written."""
    from ops.report import render

    if output is None:
        render(form, report, language, sys.stdout)
        return
    import io

    page = io.StringIO()
    render(form, report, language, page)
    _write(output, page.getvalue())


def load_what_reports(form: str, report: CommandReport, language: Language) -> None:
    """Load what a report or an error needs, for a command that may remove the environment that it runs in: ``report``
    is of its kind."""
    import io
    from importlib import import_module

    from ops.report import render

    import_module("ops.text.reason_forms")
    error_language()
    render(form, report, language, io.StringIO())


@contextlib.contextmanager
def run_again() -> Iterator[None]:
    """Become the program that is to carry on, if this one runs in a version that is to be removed."""
    from ops.upgrade.run import RunAgainError

    try:
        yield
    except RunAgainError as error:
        sys.stdout.flush()
        os.execv(error.program, (str(error.program), *sys.argv[1:]))  # noqa: S606  itself, in another version


def _write(output: str, words: str) -> None:
    from ops.errors import OpsError
    from ops.files.atomic_file import write_atomically
    from ops.text.language import Text
    from ops.text.reasons import chinese

    try:
        write_atomically(Path(output), words.encode(), OUTPUT_MODE)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OpsError(
            Text(
                en=f"{output}: cannot be written: {reason}; check the path and its mode",
                zh=f"{output}：无法写入：{chinese(reason)}；请检查路径及其权限",
            )
        ) from None


def pinged(settings: Settings, task: str) -> AbstractContextManager[None]:
    """Send the dead man's switch's requests of ``task`` around a block (``notify.ping``), where they are configured."""
    if not getattr(settings.notify.ping, task):
        return nullcontext()
    from ops.notifications.ping import PingFailure, around
    from ops.text.language import Text

    def report(failure: PingFailure) -> None:
        words = Text(
            en=f"notify.ping.{failure.task} ({failure.destination}): not accepted: {failure.reason.en}",
            zh=f"notify.ping.{failure.task}（{failure.destination}）：未被接受：{failure.reason.zh}",
        )
        click.echo(f"gte-ops: {words.to(error_language())}", err=True)

    return around(settings, task, report)


def settings_from(config: str | None) -> Settings:
    """The settings of --config, or of where they are looked for. Raises SettingsError."""
    return read_settings(config)[0]


def read_settings(config: str | None) -> tuple[Settings, SettingsFile]:
    """`settings_from`, and the file they are from; one that was passed over is named on standard error.

    Raises SettingsError."""
    from ops.settings import load_settings

    file = find_file(config)
    return load_settings(file.path), file


def settings_and_path(config: str | None) -> tuple[Settings, Path | None]:
    """`read_settings`, with the file's path. Raises SettingsError."""
    settings, file = read_settings(config)
    return settings, file.path


def find_file(config: str | None) -> SettingsFile:
    """The file that is read; one that was passed over is named on standard error. Raises SettingsError."""
    from ops.settings import find_settings_file

    file = find_settings_file(config)
    if file.passed_over:
        from ops.text.reasons import reason
        from ops.text.sanitize import safe_line

        language = error_language()
        for line in file.passed_over:
            click.echo(f"gte-ops: {safe_line(reason(line).to(language))}", err=True)
    return file
