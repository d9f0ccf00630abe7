"""`gte-ops notify`: parse, call, render."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import (
    config_option,
    error_format_option,
    group_language_option,
    language_option,
    option,
    report_format_option,
    settings_from,
    show,
)
from ops.errors import UsageError

if TYPE_CHECKING:
    from ops.settings import Settings
    from ops.text.language import Language, Text

# Beside the watchdog's, which is another process's.
OUTBOX_NAME = "alerts-outbox.json"


@click.group(cls=BilingualGroup, zh="通知目标。")
@group_language_option
def notify() -> None:
    """Notification destinations. 通知目标。

    \b
    Example:
      gte-ops notify test
      gte-ops notify serve
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

    settings = settings_from(config)
    _say_unusable_roots(settings, language)
    deliveries = send_test(settings, language)
    show(form, NotifyReport(deliveries), language)
    sys.exit(exit_code(deliveries))


@notify.command(
    zh="""接收 Alertmanager 的 webhook，把每条告警转发到通知目标，直到被中断。

    只监听回环地址。退出码：0 正常结束，3 没有配置目标或地址不可用。"""
)
@config_option
@option(
    "--listen",
    "address",
    metavar="HOST:PORT",
    default="127.0.0.1:9095",
    show_default=True,
    en="Address on loopback.",
    zh="回环地址与端口。",
)
@option(
    "--token-file",
    metavar="FILE",
    en="File with the token that Alertmanager must send (credentials_file).",
    zh="存放 Alertmanager 须发送的令牌的文件（credentials_file）。",
)
@option(
    "--outbox",
    metavar="FILE",
    en="Undelivered messages are kept here; default: beside the watchdog's state.",
    zh="未送达的消息保存在此；默认在 watchdog 状态文件旁边。",
)
@error_format_option
@language_option
def serve(
    config: str | None, address: str, token_file: str | None, outbox: str | None, language: Language
) -> None:
    """Send each alert that Alertmanager posts to the destinations. 接收 Alertmanager 的 webhook 并转发告警。

    On loopback, until interrupted. Exit code: 0 ended in order, 3 no destination, or the address is taken.

    \b
    Example:
      gte-ops notify serve
      gte-ops notify serve --listen 127.0.0.1:9095 --token-file /etc/gte-ops/alerts.token
    """
    from ops.files.signals import end_in_order
    from ops.files.token_file import read_token
    from ops.interpret.address import loopback_address
    from ops.notifications.notify import require_destinations
    from ops.notifications.outbox import Outbox
    from ops.notifications.receiver import Receiver

    place = loopback_address(address, "--listen")
    settings = settings_from(config)
    require_destinations(settings)
    _say_unusable_roots(settings, language)
    token = read_token(token_file, "--token-file") if token_file is not None else ""
    path = Path(outbox) if outbox else Path(settings.watchdog.state_file).with_name(OUTBOX_NAME)

    def report(words: Text) -> None:
        click.echo(f"gte-ops: {words.to(language)}", err=True)

    end_in_order()
    try:
        receiver = Receiver(
            place,
            Outbox(path, settings.notify.urls, language, ca_file=settings.notify.ca_file),
            token=token,
            report=report,
        )
    except OSError as error:
        raise _address_error(address, error) from None
    with suppress(KeyboardInterrupt):
        receiver.serve()


def _say_unusable_roots(settings: Settings, language: Language) -> None:
    """A line on standard error if notify.ca_file is of no use: what it would have made trusted is refused."""
    from ops.notifications.authorities import unusable_authorities

    if (words := unusable_authorities(settings.notify.ca_file)) is not None:
        click.echo(f"gte-ops: {words.to(language)}", err=True)


def _address_error(address: str, error: OSError) -> UsageError:
    from ops.text.language import Text
    from ops.text.reasons import chinese

    why = error.strerror or str(error)
    return UsageError(
        Text(
            en=f"--listen {address}: {why}; choose another port",
            zh=f"--listen {address}：{chinese(why)}；请换一个端口",
        )
    )
