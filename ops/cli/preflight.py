"""`gte-ops preflight`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import (
    Duration,
    config_option,
    language_option,
    option,
    report_format_option,
    settings_from,
    show,
)

if TYPE_CHECKING:
    from ops.text.language import Language


@click.command(
    cls=BilingualCommand,
    zh="""启动服务之前的确认清单。

    检查模型文件、Python 环境、nginx、域名与地址、站点、证书、unit、首次启动的条件，以及轮转、定时器和 watchdog。
    只确认看过的内容，尚不存在的会写明“尚不存在”。不作任何改动，也不要求服务已在运行。退出码：0
    全部确认（尚不存在的除外），1 有警告，2 启动会失败，3 有项目无法确认。""",
)
@config_option
@report_format_option
@language_option
@option(
    "--budget",
    type=Duration(),
    en="How long the whole run may take, e.g. 10s.",
    zh="整个运行的时限，如 10s。",
)
def preflight(config: str | None, form: str, language: Language, budget: float | None) -> None:
    """Confirm what must be true before the service is started. 启动服务之前的确认清单。

    Model files, Python environment, nginx, name and address, site, certificate, unit, what the first start needs, and
    rotation, timers and watchdog. Confirms only what it has looked at; what is not on the host yet is called "not there
    yet". Changes nothing, and needs no running service. Exit code: 0 all that is there is confirmed, 1 with warnings, 2
    it would fail, 3 something could not be confirmed.

    \b
    Example:
      gte-ops preflight
      gte-ops preflight --format json
    """
    from ops.preflight import preflight as confirm_all
    from ops.report.preflight import PreflightReport

    settings = settings_from(config)
    result = confirm_all(settings, settings.doctor.budget if budget is None else budget)
    show(form, PreflightReport(result), language)
    sys.exit(result.exit_code)
