"""`gte-ops deploy`: parse, call, render."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import config_option, language_option, report_format_option, settings_from, show

if TYPE_CHECKING:
    from ops.text.language import Language

MAX_TEXT_CHARS = 200


@click.group(cls=BilingualGroup, zh="记录部署，供变更对照。")
def deploy() -> None:
    """Record deployments, so that changes are attributed to them. 记录部署。

    \b
    Example:
      gte-ops deploy mark "release 2.4"
    """


@deploy.command(
    zh="""标记一次部署，供流水线调用：此后的变更会注明属于这次部署。

    TEXT 是一句说明，如版本号。"""
)
@click.argument("text", required=False, default="")
@config_option
@report_format_option
@language_option
def mark(text: str, config: str | None, form: str, language: Language) -> None:
    """Mark a deployment, for pipelines: nearby changes are attributed to it. 标记一次部署。

    TEXT: a few words, the version for example.

    \b
    Example:
      gte-ops deploy mark "release 2.4, commit 3f2a9c1"
    """
    import getpass
    import time

    from ops.baselines.directory import baseline_directory
    from ops.baselines.state import Mark
    from ops.baselines.store import BaselineStore
    from ops.report.baseline import DeployMarkReport
    from ops.text.sanitize import safe_line

    try:
        by = getpass.getuser()
    except (KeyError, OSError):
        by = ""
    deployment = Mark(time=time.time(), text=safe_line(text, MAX_TEXT_CHARS), by=by)
    BaselineStore(baseline_directory(settings_from(config))).mark(deployment)
    show(form, DeployMarkReport(deployment), language)
