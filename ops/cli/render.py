"""`gte-ops render`: parse, call, render."""

from __future__ import annotations

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
    示例。已存在且内容不同的文件，原文件保留在新文件旁边。退出码：0 完成或无需改动；2 被 nginx、systemd、logrotate、cron
    或 promtool 拒绝，未作任何改动。""",
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
    root: Path | None,
    form: str,
    language: Language,
) -> None:
    """Generate or install the deployment files for this configuration. 按配置生成部署文件。

    KIND: nginx, systemd, logrotate, cron or prometheus. Values that gte-ops.toml does not set come from this
    host, else from the examples under deploy/. An existing file that differs is kept beside the new one.
    Exit code: 0 done, or nothing to do; 2 refused by nginx, systemd, logrotate, cron or promtool, nothing changed.

    \b
    Example:
      gte-ops render nginx --config gte-ops.toml
      gte-ops render logrotate --dry-run
      gte-ops render systemd --install
      gte-ops render cron --install --root /srv/image
    """
    from ops.deployment.install import changes
    from ops.deployment.render import render as render_files
    from ops.deployment.values import deployment_here, deployment_in_image
    from ops.report.deployment import DeploymentDiffReport, DeploymentFilesReport

    settings, path = settings_and_path(config)
    if root is not None and not (in_place or dry_run):
        raise UsageError(
            Text(en="--root goes with --install or --dry-run", zh="--root 须与 --install 或 --dry-run 合用")
        )
    if root is None:
        deployment, root = deployment_here(settings, path), Path("/")
    else:
        root = root.resolve()
        deployment = deployment_in_image(settings, path, root)
    files = render_files(kind, deployment)
    if deployment.gunicorn_note is not None:
        click.echo(f"gte-ops: {deployment.gunicorn_note.to(language)}", err=True)
    if dry_run:
        show(form, DeploymentDiffReport(kind, list(changes(files, root))), language)
    elif in_place:
        _install(kind, files, deployment, root, form, language)
    else:
        show(form, DeploymentFilesReport(kind, files), language)


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
