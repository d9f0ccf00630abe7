"""`gte-ops version`: parse, call, render."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import config_option, language_option, report_format_option, settings_from, show

if TYPE_CHECKING:
    from ops.text.language import Language


@click.command(
    cls=BilingualCommand,
    zh="""工具及相关程序的版本。

    包括 nginx、服务所用解释器中的 gunicorn、certbot 和 openssl；找不到的不列出。""",
)
@config_option
@report_format_option
@language_option
def version(config: str | None, form: str, language: Language) -> None:
    """Show the versions of gte-ops and of the programs it uses. 工具及相关程序的版本。

    nginx, gunicorn of the service's interpreter, certbot and openssl; programs that are not found are not listed.

    \b
    Example:
      gte-ops version --format json
    """
    import time

    from ops.collect.host.versions import versions
    from ops.collect.surroundings import look_around
    from ops.facts.host import Processes
    from ops.report.version import VersionReport

    settings = settings_from(config)
    around = look_around(settings, time.monotonic() + 5.0)
    processes = around.processes.processes if isinstance(around.processes, Processes) else ()
    started_by = next((p.command[:1] for p in processes if p.pid == around.target.gunicorn_master), ())
    pythons = (*((settings.app.python,) if settings.app.python else ()), *started_by, around.target.python)
    show(form, VersionReport(versions(around.build.get("version", ""), pythons)), language)
