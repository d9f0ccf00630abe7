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

    检查模型文件、Python 环境、nginx、域名与地址，以及首次启动所需的条件。不作任何改动，也不要求服务已在运行。退出码：0
    全部确认，1 有警告，2 启动会失败，3 有项目无法确认。""",
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

    Model files, Python environment, nginx, name and address, and what the first start needs. Changes nothing, and needs
    no running service. Exit code: 0 confirmed, 1 with warnings, 2 it would fail, 3 something could not be confirmed.

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
