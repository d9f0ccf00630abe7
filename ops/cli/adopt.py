"""`gte-ops adopt`: parse, call, render."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.install import extras_option, wait_option, wheelhouse_option
from ops.cli.options import (
    config_option,
    language_option,
    option,
    report_format_option,
    settings_and_path,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.installation.steps import Step
    from ops.text.language import Language


@click.command(
    cls=BilingualCommand,
    zh="""接管一台照教程或手工搭建的主机。

    列出其中的问题，在现有 gunicorn 旁边启动新服务，检查后切换 nginx，再让原来的服务结束。
    域名、证书、端口、日志和模型目录保持不变；整个过程不丢请求。新服务先在 unix socket 上应答一次预测，nginx 才会切换。
    任何一步失败，一切恢复原状；中途被终止的，由下一次运行撤销。原来的 unit 只禁用不删除，cron 中的启动行改为注释。
    --undo 恢复接管之前的状态，原来的服务重新提供服务。退出码：0 完成或无需改动；1 有手工修改过的文件；
    2 被拒绝或失败，一切恢复原状。""",
)
@config_option
@option(
    "--dry-run",
    is_flag=True,
    en="Name the traps, show each file as a diff and each command; change nothing.",
    zh="列出问题，以 diff 显示每个文件，并列出每条命令；不作改动。",
)
@option(
    "--undo",
    is_flag=True,
    en="Put the host back as it was before adopt, with the former service running.",
    zh="恢复接管之前的状态，原来的服务重新运行。",
)
@option(
    "--purge",
    is_flag=True,
    en="With --undo: remove the data that came since, too (logs, backups, accounts).",
    zh="与 --undo 合用：连同接管以来产生的数据（日志、备份、账户）一并删除。",
)
@extras_option
@wheelhouse_option
@option(
    "--predict",
    metavar="JSON",
    en="The prediction that the new service must answer before nginx is switched.",
    zh="切换 nginx 之前，新服务必须能应答的预测请求。",
)
@wait_option
@report_format_option
@language_option
def adopt(
    config: str | None,
    dry_run: bool,
    undo: bool,
    purge: bool,
    extras: str,
    wheelhouse: Path | None,
    predict: str | None,
    wait: float,
    form: str,
    language: Language,
) -> None:
    """Take over a host that was set up by hand. 接管手工搭建的主机。

    Names the host's traps, starts the new service beside the gunicorn that runs, has nginx use it once it has answered
    a prediction, and ends the former one when nginx's last request to it has. Name, certificate, ports, nginx's logs
    and the model's directory stay, and no request fails. If a step fails, everything is put back; a run that was
    killed is undone by the next one. The former unit is disabled, not removed; lines of cron that start the service
    become comments. --undo goes all the way back.
    Exit code: 0 done, or nothing to do; 1 files were edited by hand; 2 refused or failed, everything is as it was.

    \b
    Example:
      gte-ops adopt --dry-run
      gte-ops adopt --undo
    """
    from ops.errors import UsageError
    from ops.facts.status import EXIT_CODES
    from ops.files.signals import end_in_order
    from ops.installation import adoption
    from ops.installation.host import HostTree
    from ops.installation.inputs import InstallOptions
    from ops.installation.run import dry_run as preview
    from ops.installation.run import install
    from ops.installation.store import InstallStore
    from ops.report.installation import AdoptionReport, UninstallationReport
    from ops.report.model import CommandReport
    from ops.text.language import Text

    end_in_order()
    host = HostTree()
    store = InstallStore(host.root)
    if purge and not undo:
        raise UsageError(Text(en="--purge goes with --undo", zh="--purge 须与 --undo 合用"))
    report: CommandReport
    if undo:
        report = UninstallationReport(adoption.undo(host, store, purge=purge, is_dry=dry_run))
    else:
        settings, path = settings_and_path(config)
        options = InstallOptions(
            extras=None if extras == "none" else extras, wheels=wheelhouse, ready_seconds=wait
        )

        notes: list[Text] = []

        def plan() -> Sequence[Step]:
            payload = predict or adoption.PREDICTION
            steps, notes[:] = adoption.adoption_plan(settings, path, options, host, payload)
            return steps

        traps = None if adoption.is_adopted(store.record()) else adoption.traps(settings, path)
        result = (preview if dry_run else install)(plan, host, store)
        report = AdoptionReport(result, traps, notes)
    show(form, report, language)
    sys.exit(EXIT_CODES[report.status])
