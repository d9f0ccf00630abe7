"""`gte-ops uninstall`: parse, call, render."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import language_option, load_what_reports, option, report_format_option, show

if TYPE_CHECKING:
    from ops.text.language import Language


@click.command(
    cls=BilingualCommand,
    zh="""撤销 gte-ops install 所作的一切。

    停止并移除服务、watchdog 与定时器，恢复被替换的文件。数据（设置、日志、备份）与账户保留，--purge 才删除。
    手工修改过的文件先保留副本。退出码：0 完成；2 有未能撤销的内容，请再次运行。""",
)
@option(
    "--dry-run",
    is_flag=True,
    en="Show what would be undone; change nothing.",
    zh="显示将撤销的内容；不作改动。",
)
@option(
    "--purge",
    is_flag=True,
    en="Remove the data that came with the installation, too: settings, logs, backups, accounts.",
    zh="连同安装以来产生的数据一并删除：设置、日志、备份、账户。",
)
@option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    en="Below DIR, an image's tree.",
    zh="在 DIR 之下（镜像的目录树）。",
)
@report_format_option
@language_option
def uninstall(dry_run: bool, purge: bool, root: Path | None, form: str, language: Language) -> None:
    """Undo all that gte-ops install did. 撤销 gte-ops install 所作的一切。

    Stops and removes the service, the watchdog and the timers, and puts replaced files back. Data (settings, logs,
    backups) and accounts stay, unless --purge. Files edited by hand are copied first.
    Exit code: 0 done; 2 something could not be undone: run it again.

    \b
    Example:
      gte-ops uninstall --dry-run
      gte-ops uninstall --purge
    """
    from ops.facts.status import EXIT_CODES
    from ops.installation.host import HostTree
    from ops.installation.run import planned_uninstall
    from ops.installation.run import uninstall as undo_all
    from ops.installation.store import InstallStore
    from ops.report.installation import UninstallationReport

    host = HostTree(root.resolve() if root else Path("/"))
    store = InstallStore(host.root)
    result = planned_uninstall(store, purge=purge)
    if not dry_run:
        load_what_reports(form, UninstallationReport(result), language)
        result = undo_all(host, store, purge=purge)
    report = UninstallationReport(result)
    show(form, report, language)
    sys.exit(EXIT_CODES[report.status])
