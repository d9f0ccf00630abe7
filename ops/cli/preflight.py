"""`gte-ops preflight`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.options import Duration, config_option, language_option, report_format_option, settings_from

if TYPE_CHECKING:
    from ops.text.language import Language


@click.command()
@config_option
@report_format_option
@language_option
@click.option("--budget", type=Duration(), help="How long the whole run may take, e.g. 10s.")
def preflight(config: str | None, form: str, language: Language | None, budget: float | None) -> None:
    """Confirm what must be true before the service is started. 启动服务之前的确认清单。

    Model files, Python environment, nginx, name and address, and what the first start needs. Changes nothing, and needs
    no running service. Exit code: 0 confirmed, 1 with warnings, 2 it would fail, 3 something could not be confirmed.

    \b
    Example:
      gte-ops preflight
      gte-ops preflight --format json
    """
    from ops.preflight import preflight as confirm_all
    from ops.report.preflight import render_checklist
    from ops.text.language import reader_language

    settings = settings_from(config)
    result = confirm_all(settings, settings.doctor.budget if budget is None else budget)
    render_checklist(form, result, language or reader_language(), sys.stdout)
    sys.exit(result.exit_code)
