"""`gte-ops notify`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import config_option, language_option, report_format_option, settings_from, show

if TYPE_CHECKING:
    from ops.text.language import Language


@click.group(cls=BilingualGroup, zh="通知目标。")
def notify() -> None:
    """Notification destinations. 通知目标。

    \b
    Example:
      gte-ops notify test
    """


@notify.command(
    zh="""向每个通知目标发送一条测试消息，并逐个报告结果。

    退出码：0 全部接受，2 有目标未接受，3 没有配置目标或某一项无法使用。"""
)
@config_option
@report_format_option
@language_option
def test(config: str | None, form: str, language: Language) -> None:
    """Send one message to every destination and say who accepted it. 向每个通知目标发送一条测试消息。

    Exit code: 0 all accepted it, 2 one did not, 3 none is configured or an entry cannot be used.

    \b
    Example:
      gte-ops notify test
      gte-ops notify test --lang zh --format json
    """
    from ops.notifications.notify import exit_code, send_test
    from ops.report.notify import NotifyReport

    deliveries = send_test(settings_from(config), language)
    show(form, NotifyReport(deliveries), language)
    sys.exit(exit_code(deliveries))
