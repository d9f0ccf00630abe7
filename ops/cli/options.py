"""The options that commands share, and the settings they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ops.settings import Settings, SettingsFile


class Duration(click.ParamType[float]):
    """A duration: 10s, 15m, 36h."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from ops.text.duration import parse_duration

        try:
            return float(parse_duration(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


config_option = click.option("--config", metavar="FILE", help="Read this gte-ops.toml.")
language_option = click.option(
    "--lang",
    "language",
    type=click.Choice(["zh", "en"]),
    help="Language of messages and reports; default: the locale's.",
)
report_format_option = click.option(
    "--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True
)


def settings_from(config: str | None) -> Settings:
    """The settings of --config, or of where they are looked for. Raises SettingsError."""
    return read_settings(config)[0]


def read_settings(config: str | None) -> tuple[Settings, SettingsFile]:
    """`settings_from`, and the file they are from; one that was passed over is said on standard error.

    Raises SettingsError."""
    from ops.settings import load_settings

    file = find_file(config)
    return load_settings(file.path), file


def find_file(config: str | None) -> SettingsFile:
    """The file that is read; one that was passed over is said on standard error. Raises SettingsError."""
    from ops.settings import find_settings_file
    from ops.text.sanitize import safe_line

    file = find_settings_file(config)
    for line in file.passed_over:
        click.echo(f"gte-ops: {safe_line(line)}", err=True)
    return file
