"""`gte-ops notify`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.options import config_option, language_option, report_format_option, settings_from

if TYPE_CHECKING:
    from ops.text.language import Language


@click.group()
def notify() -> None:
    """Whom gte-ops tells. 通知渠道。

    \b
    Example:
      gte-ops notify test
    """


@notify.command()
@config_option
@report_format_option
@language_option
def test(config: str | None, form: str, language: Language | None) -> None:
    """Send one message to every destination and say who accepted it. 向每个通知渠道发送一条测试消息。

    Exit code: 0 all accepted it, 2 one did not, 3 none is configured or an entry cannot be used.

    \b
    Example:
      gte-ops notify test
      gte-ops notify test --lang zh --format json
    """
    from ops.notifications.notify import exit_code, send_test
    from ops.report.notify import render
    from ops.report.sentences import readable_language
    from ops.text.language import reader_language

    chosen = language or reader_language()
    deliveries = send_test(settings_from(config), chosen)
    render(form, deliveries, readable_language(chosen, sys.stdout), sys.stdout)
    sys.exit(exit_code(deliveries))
