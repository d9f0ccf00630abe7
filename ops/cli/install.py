"""`gte-ops install`: parse, call, render."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import (
    Duration,
    config_option,
    language_option,
    load_what_reports,
    option,
    report_format_option,
    run_again,
    settings_and_path,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.installation.steps import Step
    from ops.settings import Settings
    from ops.text.language import Language

CERTIFICATES = ("existing", "certbot", "acme.sh", "throwaway")
EXTRAS = ("none", "service", "embedded", "model")

# `gte-ops adopt` has these too, `gte-ops upgrade` the wheelhouse.
extras_option = option(
    "--extras",
    type=click.Choice(EXTRAS),
    default="none",
    show_default=True,
    en="What the Python environment gets beside gte-ops; none leaves it alone.",
    zh="Python 环境中除 gte-ops 外安装的内容；none 表示不改动环境。",
)
wheelhouse_option = option(
    "--wheelhouse",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    en="Take packages from the wheels in DIR, not from an index.",
    zh="从 DIR 中的 wheel 安装，不访问软件包索引。",
)
wait_option = option(
    "--wait",
    type=Duration(),
    default="2m",
    show_default=True,
    en="How long the service may take to become ready.",
    zh="等待服务就绪的最长时间。",
)


@click.command(
    cls=BilingualCommand,
    zh="""按 gte-ops.toml 安装整台主机。

    安装账户、目录、Python 环境、systemd unit 与定时器（没有 systemd 则为 cron）、证书、nginx 站点、logrotate、
    Prometheus 文件和 certbot 钩子，并等待服务就绪。每个文件在生效前都由相应程序校验，被替换的文件会保留。任何一步失败，
    一切恢复原状；中途被终止的，由下一次运行撤销。手工修改过的文件会显示出来，未经 --overwrite 不会覆盖。
    退出码：0 完成或无需改动；1 有手工修改过的文件；2 被拒绝或失败，一切恢复原状。""",
)
@config_option
@option(
    "--dry-run",
    is_flag=True,
    en="Show each file as a diff and each command; change nothing.",
    zh="以 diff 显示每个文件，并列出每条命令；不作改动。",
)
@extras_option
@wheelhouse_option
@option(
    "--certificate",
    type=click.Choice(CERTIFICATES),
    default="existing",
    show_default=True,
    en="Use the pair that is there; have certbot or acme.sh obtain one; or make one that nobody trusts, for tests.",
    zh="使用已有的证书与私钥；由 certbot 或 acme.sh 申请；或生成一对无人信任的（仅供测试）。",
)
@option(
    "--email",
    metavar="ADDRESS",
    en="Where the authority may write to about the certificate.",
    zh="CA 就该证书联系你的邮箱。",
)
@option(
    "--acme-server",
    metavar="URL",
    en="The ACME directory of another authority than the client's own.",
    zh="其他 CA 的 ACME 目录地址。",
)
@option(
    "--acme-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    en="Trust that authority's server by the roots in FILE (PEM), now and at renewals.",
    zh="以 FILE（PEM）中的根证书信任该 CA 的服务器，续期时同样使用。",
)
@option(
    "--overwrite",
    is_flag=True,
    en="Replace files that were edited by hand, too; copies are kept.",
    zh="连手工修改过的文件也替换，并保留副本。",
)
@wait_option
@option(
    "--keep-running",
    is_flag=True,
    en="Do not restart the service for a changed unit: that takes effect at its next restart.",
    zh="不因 unit 有变化而重启服务：改动在下次重启时生效。",
)
@option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    en="Put the files below DIR, an image's tree, and run nothing.",
    zh="把文件放到 DIR 之下（镜像的目录树），不运行任何程序。",
)
@report_format_option
@language_option
def install(
    config: str | None,
    dry_run: bool,
    extras: str,
    wheelhouse: Path | None,
    certificate: str,
    email: str | None,
    acme_server: str | None,
    acme_ca: Path | None,
    overwrite: bool,
    wait: float,
    keep_running: bool,
    root: Path | None,
    form: str,
    language: Language,
) -> None:
    """Set up this host from one gte-ops.toml. 按 gte-ops.toml 安装整台主机。

    Accounts, directories, Python environment, units and timers (cron where there is no systemd), certificate, nginx
    site, logrotate, Prometheus files and certbot's hook; then it waits until the service is ready. Each file is
    validated by its own program before it takes effect, and what is replaced is kept. If a step fails, everything is
    put back; a run that was killed is undone by the next one. Files edited by hand are shown, and not overwritten
    without --overwrite.
    Exit code: 0 done, or nothing to do; 1 files were edited by hand; 2 refused or failed, everything is as it was.

    \b
    Example:
      gte-ops install --config gte-ops.toml --certificate certbot --dry-run
      gte-ops install --config gte-ops.toml --extras embedded --wheelhouse /root/wheels
    """
    from ops.facts.status import EXIT_CODES
    from ops.files.signals import end_in_order
    from ops.installation.host import HostTree
    from ops.installation.inputs import InstallOptions, plain_argument, steps_where_nothing_is_in_the_way
    from ops.installation.issuance import AcmeAuthority, CertificateOrigin
    from ops.installation.run import InstallResult
    from ops.installation.run import dry_run as preview
    from ops.installation.run import install as install_steps
    from ops.installation.store import InstallStore
    from ops.report.installation import InstallationReport

    end_in_order()
    settings, path = settings_and_path(config)
    options = InstallOptions(
        certificate=CertificateOrigin(certificate),
        authority=AcmeAuthority(
            server=plain_argument("--acme-server", acme_server),
            ca_bundle=plain_argument("--acme-ca", str(acme_ca.resolve()) if acme_ca else None),
            email=plain_argument("--email", email),
        ),
        extras=None if extras == "none" else extras,
        wheels=wheelhouse,
        ready_seconds=wait,
        keeps_running=keep_running,
    )
    host = HostTree(root.resolve() if root else Path("/"))
    store = InstallStore(host.root)

    def plan() -> Sequence[Step]:
        return steps_where_nothing_is_in_the_way(settings, path, options, host, store.record())

    if not dry_run and host.is_running and store.upgrade() is not None and not store.is_part_of_a_run:
        _undo_killed_upgrade(settings, path, wait)
    if not dry_run and store.unfinished() is not None:
        load_what_reports(form, InstallationReport(InstallResult(())), language)
    act = preview if dry_run else install_steps
    report = InstallationReport(act(plan, host, store, overwrite=overwrite))
    show(form, report, language)
    sys.exit(EXIT_CODES[report.status])


def _undo_killed_upgrade(settings: Settings, path: Path | None, wait: float) -> None:
    from ops.upgrade.here import upgrader_here

    with run_again():
        upgrader_here(settings, path, wait).recover()
