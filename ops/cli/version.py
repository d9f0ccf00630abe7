"""`gte-ops version`: parse, call, render."""

from __future__ import annotations

import click

from ops.cli.options import config_option, report_format_option, settings_from


@click.command()
@config_option
@report_format_option
def version(config: str | None, form: str) -> None:
    """Versions of the tool and of what it watches. 工具及其监护对象的版本。

    nginx, gunicorn of the service's interpreter, certbot and openssl; what is not found is not listed.

    \b
    Example:
      gte-ops version --format json
    """
    import json
    import time

    from ops.collect.host.versions import versions
    from ops.collect.run import look_around
    from ops.facts.host import Processes

    settings = settings_from(config)
    around = look_around(settings, time.monotonic() + 5.0)
    processes = around.processes.processes if isinstance(around.processes, Processes) else ()
    started_by = next((p.command[:1] for p in processes if p.pid == around.target.gunicorn_master), ())
    pythons = (*((settings.app.python,) if settings.app.python else ()), *started_by, around.target.python)
    found = versions(around.build.get("version", ""), pythons)
    if form == "json":
        click.echo(json.dumps(found))
        return
    width = max(map(len, found))
    for name, number in found.items():
        click.echo(f"{name:{width}}  {number}")
