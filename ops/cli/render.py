"""`gte-ops render`: parse, call, render."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import (
    config_option,
    language_option,
    option,
    report_format_option,
    settings_and_path,
    show,
)
from ops.errors import UsageError
from ops.text.language import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.deployment.render import Deployment, DeploymentKind, RenderedFile
    from ops.text.language import Language

KIND_NAMES = ("nginx", "systemd", "logrotate", "cron", "prometheus")


@click.command(
    cls=BilingualCommand,
    zh="""按配置生成部署文件，或直接安装。

    KIND：nginx、systemd、logrotate、cron 或 prometheus。gte-ops.toml 未指定的值取自本机，本机没有则取 deploy/ 下的
    示例。已存在且内容不同的文件，原文件保留在新文件旁边。退出码：0 完成或无需改动；1 --remove 留下了修改过的文件；
    2 被 nginx、systemd、logrotate、cron 或 promtool 拒绝，未作任何改动。""",
)
@click.argument("kind", type=click.Choice(KIND_NAMES))
@config_option
@option(
    "--install",
    "in_place",
    is_flag=True,
    en="Put the files in place, after validation.",
    zh="校验通过后安装到位。",
)
@option(
    "--dry-run",
    is_flag=True,
    en="Show what --install would change, as a diff.",
    zh="以 diff 显示 --install 将作的改动。",
)
@option(
    "--remove",
    is_flag=True,
    en="Remove the files that --install put in place; edited ones are shown and left.",
    zh="删除 --install 安装的文件；修改过的只显示，不删除。",
)
@option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    en="Install below DIR, an image's tree, by the configuration alone.",
    zh="安装到 DIR 之下（镜像的目录树），只依据配置文件。",
)
@report_format_option
@language_option
def render(
    kind: DeploymentKind,
    config: str | None,
    in_place: bool,
    dry_run: bool,
    remove: bool,
    root: Path | None,
    form: str,
    language: Language,
) -> None:
    """Generate or install the deployment files for this configuration. 按配置生成部署文件。

    KIND: nginx, systemd, logrotate, cron or prometheus. Values that gte-ops.toml does not set come from this
    host, else from the examples under deploy/. An existing file that differs is kept beside the new one.
    Exit code: 0 done, or nothing to do; 1 --remove left edited files; 2 refused by nginx, systemd, logrotate, cron or
    promtool, nothing changed.

    \b
    Example:
      gte-ops render nginx --config gte-ops.toml
      gte-ops render logrotate --dry-run
      gte-ops render systemd --install
      gte-ops render cron --install --root /srv/image
      gte-ops render prometheus --remove --dry-run
    """
    from ops.deployment.install import changes
    from ops.deployment.render import render as render_files
    from ops.deployment.values import deployment_here, deployment_in_image
    from ops.files.host_lock import SHORT_CHANGE_SECONDS, only_change
    from ops.report.deployment import DeploymentDiffReport, DeploymentFilesReport

    settings, path = settings_and_path(config)
    if remove and in_place:
        raise UsageError(Text(en="--remove or --install, not both", zh="--remove 与 --install 只能选其一"))
    if root is not None and not (in_place or dry_run or remove):
        raise UsageError(
            Text(
                en="--root goes with --install, --remove or --dry-run",
                zh="--root 须与 --install、--remove 或 --dry-run 合用",
            )
        )
    is_here = root is None
    if root is None:
        deployment, root = deployment_here(settings, path), Path("/")
    else:
        root = root.resolve()
        deployment = deployment_in_image(settings, path, root)
    if deployment.gunicorn_note is not None:
        click.echo(f"gte-ops: {deployment.gunicorn_note.to(language)}", err=True)
    if in_place and not dry_run and is_here:
        with only_change(SHORT_CHANGE_SECONDS):
            # A drain may have changed what is kept until now.
            deployment = deployment_here(settings, path)
            _install(kind, render_files(kind, deployment), deployment, root, form, language)
        return
    files = render_files(kind, deployment)
    if remove and is_here and not dry_run:
        with only_change(SHORT_CHANGE_SECONDS):
            _remove(kind, files, deployment, root, form, language, dry_run=False)
    elif remove:
        _remove(kind, files, deployment, root, form, language, dry_run=dry_run)
    elif dry_run:
        show(form, DeploymentDiffReport(kind, list(changes(files, root))), language)
    elif in_place:
        _install(kind, files, deployment, root, form, language)
    else:
        show(form, DeploymentFilesReport(kind, files), language)


def _remove(
    kind: DeploymentKind,
    files: Sequence[RenderedFile],
    deployment: Deployment,
    root: Path,
    form: str,
    language: Language,
    *,
    dry_run: bool,
) -> None:
    from ops.deployment.removal import FileRemoval, removals, steps_after
    from ops.deployment.removal import remove as remove_files
    from ops.facts.status import EXIT_CODES
    from ops.installation.store import InstallStore
    from ops.report.deployment import RemovalReport

    if InstallStore(root).record() is not None:
        raise UsageError(
            Text(
                en="gte-ops install set this host up, and gte-ops uninstall takes all of it back",
                zh="本机由 gte-ops install 安装，请用 gte-ops uninstall 全部撤销",
            )
        )
    results = removals(files, root) if dry_run else remove_files(kind, files, root, deployment.test_nginx)
    is_due = root == Path("/") and any(item.state is FileRemoval.REMOVED for item in results)
    steps = steps_after(kind, deployment.reload_nginx) if is_due else ()
    report = RemovalReport(kind, results, steps, is_dry=dry_run)
    show(form, report, language)
    sys.exit(EXIT_CODES[report.status])


def _install(
    kind: DeploymentKind,
    files: Sequence[RenderedFile],
    deployment: Deployment,
    root: Path,
    form: str,
    language: Language,
) -> None:
    from ops.deployment.install import FileChange, install, next_steps
    from ops.report.deployment import InstallReport

    results = install(kind, files, root, deployment.test_nginx)
    has_changes = any(item.state != FileChange.UNCHANGED for item in results)
    steps = next_steps(kind, files, root, changed=has_changes, reload_nginx=deployment.reload_nginx)
    show(form, InstallReport(kind, results, steps), language)
    if kind == "logrotate":
        for reason in deployment.not_rotated:
            click.echo(f"gte-ops: {reason.to(language)}", err=True)
    if kind == "systemd" and deployment.gunicorn_owner[0] == "root":
        _warn_of_root(deployment.unit, language)


def _warn_of_root(unit: str, language: Language) -> None:

    words = Text(
        en=f"gte-ops: {unit} runs as root, as gunicorn does on this host: whoever takes over the service has the host; "
        "docs/privileges.md says how it gets an account of its own",
        zh=f"gte-ops: {unit} 以 root 运行，与本机现有的 gunicorn 一致：服务一旦被攻破，整台主机随之失守；"
        "如何改用独立账户见 docs/privileges.zh-CN.md",
    )
    click.echo(words.to(language), err=True)
