"""`--help` in the reader's language: options and commands with their text in English and Chinese.

click takes its own words from gettext, and ships no Chinese ones; the few that a help page shows are here."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from ops.errors import UsageError

_EXAMPLE = "\b\nExample:\n"
# A line's end where no blank is meant: between two Chinese characters, or beside a full-width mark.
_CHARACTER, _MARK = "\u4e00-\u9fff", "，。、；：？！（）《》“”"
_JOINT = re.compile(rf"(?<=[{_CHARACTER}])\n(?=[{_CHARACTER}])|(?<=[{_MARK}])\n|\n(?=[{_MARK}])")
# click's words for the parts of a command line.
_METAVARS = (("[OPTIONS]", "[选项]"), ("COMMAND", "命令"), ("[ARGS]", "[参数]"))
# What follows a command in an example, in English.
_REMARK = re.compile(r" {3,}.*$", re.MULTILINE)
# click's table: its first column at most, and the blanks before and behind it.
_FIRST_COLUMN, _BESIDE = 30, 4


def is_chinese() -> bool:
    """Whether help is to be Chinese: --lang anywhere on the command line, before or after --help, or the locale."""
    from ops.cli.options import written_option
    from ops.text.locale_language import reader_language

    return (written_option(sys.argv[1:], "--lang") or reader_language()) == "zh"


class BilingualOption(click.Option):
    """An option with its help in Chinese too."""

    def __init__(self, *arguments: Any, zh: str = "", **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.zh = zh

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The names and the help, in the reader's language."""
        record = super().get_help_record(ctx)
        if record is None or not self.zh or not is_chinese():
            return record
        default = self.get_help_extra(ctx).get("default")
        return record[0], self.zh + (f"（默认：{default}）" if default else "")


class BilingualCommand(click.Command):
    """A command with its help in Chinese too. ``zh``: paragraphs; the examples are those of the docstring."""

    def __init__(self, *arguments: Any, zh: str = "", **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.zh = inspect.cleandoc(zh)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A UsageError leaves with the command's name, whose --help says what is possible."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            error.command = error.command or ctx.command_path
            raise

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The line that shows how the command is called."""
        pieces = " ".join(self.collect_usage_pieces(ctx))
        if not is_chinese():
            formatter.write_usage(ctx.command_path, pieces)
            return
        for english, chinese in _METAVARS:
            pieces = pieces.replace(english, chinese)
        formatter.write_usage(ctx.command_path, pieces, prefix="用法：")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the command does, and examples."""
        if not self.zh or not is_chinese():
            super().format_help_text(ctx, formatter)
            return
        from ops.report.wrap import wrap

        # click wraps by letters, and a Chinese one takes two columns.
        for paragraph in self.zh.split("\n\n"):
            formatter.write_paragraph()
            for line in wrap(_joined(paragraph), *[formatter.width - 2] * 2):
                formatter.write(f"  {line}\n")
        _, _, examples = inspect.cleandoc(self.help or "").partition(_EXAMPLE)
        if examples:
            formatter.write("\n  示例：\n")
            for line in inspect.cleandoc(_REMARK.sub("", examples)).splitlines():
                formatter.write(f"    {line}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, and for a group its commands."""
        if is_chinese() and (help_option := self.get_help_option(ctx)) is not None:
            help_option.help = "显示本帮助并退出。"
        records = [
            record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx)) and record[1]  # of an argument the usage says all
        ]
        if records:
            if is_chinese():
                _write_section(formatter, "选项：", records)
            else:
                with formatter.section("Options"):
                    formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def get_short_help_str(self, limit: int = 45) -> str:
        """The line in the list of commands."""
        if self.zh and is_chinese():
            return _joined(self.zh.partition("\n\n")[0])
        return super().get_short_help_str(limit)


class BilingualGroup(BilingualCommand, click.Group):
    """A group of such commands."""

    command_class = BilingualCommand

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, one line each."""
        if not is_chinese():
            super().format_commands(ctx, formatter)
            return
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str())
            for name, command in commands
            if command and not command.hidden
        ]
        _write_section(formatter, "命令：", rows)


BilingualGroup.group_class = BilingualGroup


def _joined(paragraph: str) -> str:
    """A Chinese paragraph of several lines as one line."""
    return _JOINT.sub("", paragraph).replace("\n", " ")


def _write_section(formatter: click.HelpFormatter, heading: str, rows: Sequence[tuple[str, str]]) -> None:
    """A heading and its table. click's own section writes a half-width colon."""
    formatter.write_paragraph()
    formatter.write(f"{heading}\n")
    formatter.indent()
    formatter.write_dl(_wrapped(rows, formatter.width))
    formatter.dedent()


def _wrapped(rows: Sequence[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    """``rows`` of a table with their Chinese wrapped by columns, in lines that click leaves as they are (``\\b``)."""
    from ops.report.wrap import wrap

    first = min(max((len(name) for name, _ in rows), default=0), _FIRST_COLUMN)
    room = max(width - first - _BESIDE, 10)
    return [(name, "\b\n" + "\n".join(wrap(words, room, room))) for name, words in rows]
