"""`gte-ops notify`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ops.language import Language


@click.group()
def notify() -> None:
    """Whom gte-ops tells. 通知渠道。

    \b
    Example:
      gte-ops notify test
    """


@notify.command()
@click.option("--config", metavar="FILE", help="Read this gte-ops.toml.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
@click.option(
    "--lang",
    "language",
    type=click.Choice(["zh", "en"]),
    help="Language of the message and the report; default: the locale's.",
)
def test(config: str | None, form: str, language: Language | None) -> None:
    """Send one message to every destination and say who accepted it. 向每个通知渠道发送一条测试消息。

    Exit code: 0 all accepted it, 2 one did not, 3 none is configured or an entry cannot be used.

    \b
    Example:
      gte-ops notify test
      gte-ops notify test --lang zh --format json
    """
    from ops.language import reader_language
    from ops.notify import exit_code, render, send_test
    from ops.report.wording import readable_language
    from ops.settings import find_settings_file, load_settings

    chosen = language or reader_language()
    deliveries = send_test(load_settings(find_settings_file(config)), chosen)
    render(form, deliveries, readable_language(chosen, sys.stdout), sys.stdout)
    sys.exit(exit_code(deliveries))
