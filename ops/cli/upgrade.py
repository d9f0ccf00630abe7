"""`gte-ops upgrade`: parse, call, render."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.install import wheelhouse_option
from ops.cli.options import (
    Duration,
    config_option,
    language_option,
    option,
    report_format_option,
    run_again,
    settings_and_path,
    show,
)

if TYPE_CHECKING:
    from ops.text.language import Language


@click.command(
    cls=BilingualCommand,
    zh="""把服务和工具升级到另一个版本，不丢失任何请求。

    新版本装在旧版本旁边自己的环境里，先在单独的 socket 上试运行（/ready、版本、一次预测），再由 gunicorn 自己的
    交接（USR2）切换，然后像客户端一样经过 nginx 验证。任何一步失败，原版本继续服务；中途被终止的，由下一次运行
    撤销或继续完成。VERSION：来自软件包索引，默认最新。退出码：0 完成或无需改动；2 被拒绝或失败，原版本继续服务。""",
)
@click.argument("version", required=False, default=None)
@config_option
@option(
    "--dry-run",
    is_flag=True,
    en="Show each step, and the packages that differ; change nothing.",
    zh="显示每一步以及有变化的软件包；不作改动。",
)
@wheelhouse_option
@option(
    "--wheel",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    en="Take gte-ops from this wheel, and what it requires from the index or the wheelhouse.",
    zh="gte-ops 来自这个 wheel，其依赖来自软件包索引或 --wheelhouse。",
)
@option(
    "--extras",
    metavar="NAMES",
    en="Extras of gte-ops, separated by commas.  [default: those that are installed]",
    zh="gte-ops 的 extras，以逗号分隔（默认：已安装的那些）。",
)
@option(
    "--rollback",
    is_flag=True,
    en="Go back to the version that was present before; nothing is installed.",
    zh="回到之前的版本；不安装任何内容。",
)
@option(
    "--accept-answers",
    is_flag=True,
    en="Switch although the test prediction's result differs.",
    zh="即使测试预测的结果不同也切换。",
)
@option(
    "--force",
    is_flag=True,
    en="Build and switch although this version is the present one.",
    zh="即使当前就是这个版本，也重新构建并切换。",
)
@option(
    "--keep",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    en="How many former versions stay.",
    zh="保留多少个旧版本。",
)
@option(
    "--wait",
    type=Duration(),
    default="2m",
    show_default=True,
    en="How long the new version may take to become ready.",
    zh="等待新版本就绪的最长时间。",
)
@report_format_option
@language_option
def upgrade(
    version: str | None,
    config: str | None,
    dry_run: bool,
    wheelhouse: Path | None,
    wheel: Path | None,
    extras: str | None,
    rollback: bool,
    accept_answers: bool,
    force: bool,
    keep: int,
    wait: float,
    form: str,
    language: Language,
) -> None:
    """Upgrade service and toolkit without losing a request. 升级服务与工具，不丢失请求。

    The new version gets an environment of its own beside the old one. It is tried out on a socket of its own (/ready,
    version, a prediction), then the running gunicorn hands over to it (USR2), and a client asks through nginx. If a
    step fails, the former version serves on; a run that was killed is undone or carried on by the next one. VERSION:
    from the package index, by default the newest.
    Exit code: 0 done, or nothing to do; 2 refused or failed, the former version serves.

    \b
    Example:
      gte-ops upgrade --wheelhouse /root/wheels --dry-run
      gte-ops upgrade 0.3.0
      gte-ops upgrade --rollback
    """
    from ops.errors import UsageError
    from ops.facts.status import EXIT_CODES
    from ops.files.signals import end_in_order
    from ops.report.upgrade import UpgradeReport
    from ops.text.language import Text
    from ops.upgrade.here import source_here, upgrader_here
    from ops.upgrade.run import UpgradeOptions

    if rollback and (version or wheel or wheelhouse or extras):
        raise UsageError(
            Text(
                en="--rollback goes back to what is there: without VERSION, --wheel, --wheelhouse and --extras",
                zh="--rollback 回到已有的版本：不能与 VERSION、--wheel、--wheelhouse、--extras 合用",
            )
        )
    end_in_order()
    settings, path = settings_and_path(config)
    upgrader = upgrader_here(settings, path, wait)
    options = UpgradeOptions(keep, accept_answers, force)
    source = None if rollback else source_here(upgrader, version, wheel, wheelhouse, extras)
    if dry_run:
        result = upgrader.planned(source, options)
    else:
        with run_again():
            result = upgrader.roll_back(options) if source is None else upgrader.upgrade(source, options)
    report = UpgradeReport(result)
    show(form, report, language)
    sys.exit(EXIT_CODES[report.status])
