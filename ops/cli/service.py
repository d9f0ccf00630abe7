"""`gte-ops service`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import (
    Duration,
    config_option,
    group_language_option,
    language_option,
    option,
    report_format_option,
    settings_from,
    show,
)

if TYPE_CHECKING:
    from ops.text.language import Language

wait_option = option(
    "--wait",
    type=Duration(),
    default="1m",
    show_default=True,
    en="How long requests may take to end, and the service to become ready.",
    zh="等待请求结束、服务就绪的最长时间。",
)


@click.group(
    cls=BilingualGroup,
    zh="启动、停止、重启、重新加载服务：有 systemd 用其 unit，否则用 gunicorn.start_command。",
)
@group_language_option
def service() -> None:
    """Start, stop, restart and reload the service: by its unit, else by gunicorn.start_command. 管理服务。

    Each command waits for its effect. Exit code: 0 done; 2 not done, with the reason.

    \b
    Example:
      gte-ops service restart
      gte-ops service status
    """


@service.command(
    zh="""启动服务并等待就绪；已在运行则不作改动。

    地址被其他程序占用时，不启动也不结束任何进程。"""
)
@wait_option
@config_option
@report_format_option
@language_option
def start(wait: float, config: str | None, form: str, language: Language) -> None:
    """Start the service, and wait until it is ready. 启动服务。

    If it runs already, nothing is done; if another program holds its address, nothing is started or ended.

    \b
    Example:
      gte-ops service start --wait 5m
    """
    _control("start", wait, config, form, language)


@service.command(
    zh="""停止服务：让正在处理的请求先完成。

    没有 systemd 时，watchdog 在下次 start 之前不会启动它。"""
)
@wait_option
@config_option
@report_format_option
@language_option
def stop(wait: float, config: str | None, form: str, language: Language) -> None:
    """Stop the service; requests in flight may end first. 停止服务。

    Without systemd the watchdog is paused, so that it does not start the service again, until `start`.

    \b
    Example:
      gte-ops service stop
    """
    _control("stop", wait, config, form, language)


@service.command(
    zh="""停止服务，再启动并等待就绪。

    先等它结束并释放地址。配置无法加载时，服务保持原样。"""
)
@wait_option
@config_option
@report_format_option
@language_option
def restart(wait: float, config: str | None, form: str, language: Language) -> None:
    """Stop the service, wait for its end, and start it. 重启服务。

    A configuration that gunicorn --check-config refuses is found before anything is ended.

    \b
    Example:
      gte-ops service restart
    """
    _control("restart", wait, config, form, language)


@service.command(zh="让 gunicorn 以当前配置启动新的工作进程，并等旧的结束；不丢失请求。")
@wait_option
@config_option
@report_format_option
@language_option
def reload(wait: float, config: str | None, form: str, language: Language) -> None:
    """Have gunicorn take up its configuration with new workers. 重新加载服务。

    Waits until the old workers have ended. A configuration that does not load is refused before.

    \b
    Example:
      gte-ops service reload
    """
    _control("reload", wait, config, form, language)


@service.command(zh="显示服务的状态。\n\n退出码：0 已就绪；1 在运行但未就绪；2 已停止。")
@config_option
@report_format_option
@language_option
def status(config: str | None, form: str, language: Language) -> None:
    """Show whether the service is ready. 服务状态。

    Exit code: 0 ready; 1 runs, and is not ready; 2 stopped.

    \b
    Example:
      gte-ops service status --format json
    """
    _control("status", 0.0, config, form, language)


def _control(action: str, wait: float, config: str | None, form: str, language: Language) -> None:
    from ops.facts.status import EXIT_CODES
    from ops.report.service import ServiceReport
    from ops.service import ServiceAction, control

    report = ServiceReport(control(ServiceAction(action), settings_from(config), wait))
    show(form, report, language)
    sys.exit(EXIT_CODES[report.status])
