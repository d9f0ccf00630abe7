"""`gte-ops render`: parse, call, render."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.options import config_option, language_option, read_settings, report_format_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.deployment.install import Installed
    from ops.deployment.render import Kind, RenderedFile
    from ops.text.language import Language

KIND_NAMES = ("nginx", "systemd", "logrotate", "cron", "prometheus")


@click.command()
@click.argument("kind", type=click.Choice(KIND_NAMES))
@config_option
@click.option("--install", "in_place", is_flag=True, help="Put the files in place, after validation.")
@click.option("--dry-run", is_flag=True, help="Show what --install would change, as a diff.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Install below DIR, an image's tree, by the configuration alone.",
)
@report_format_option
@language_option
def render(
    kind: Kind,
    config: str | None,
    in_place: bool,
    dry_run: bool,
    root: Path | None,
    form: str,
    language: Language | None,
) -> None:
    """The deployment files for this configuration, or installed. 按配置生成部署文件。

    KIND: nginx, systemd, logrotate, cron or prometheus. What gte-ops.toml does not say is taken from this host,
    and else from the examples under deploy/. A different file that is there already is kept beside the new one.
    Exit code: 0 done, or nothing to do; 2 refused by nginx, systemd, logrotate, cron or promtool, nothing changed.

    \b
    Example:
      gte-ops render nginx --config gte-ops.toml
      gte-ops render logrotate --dry-run
      gte-ops render systemd --install
      gte-ops render cron --install --root /srv/image
    """
    from ops.deployment.install import changes, install, next_steps
    from ops.deployment.render import render as render_files
    from ops.deployment.values import deployment_here, deployment_in_image
    from ops.text.language import reader_language

    settings, file = read_settings(config)
    path = file.path
    if root is not None and not (in_place or dry_run):
        raise click.UsageError("--root goes with --install or --dry-run")
    if root is None:
        deployment, root = deployment_here(settings, path), Path("/")
    else:
        root = root.resolve()
        deployment = deployment_in_image(settings, path, root)
    files = render_files(kind, deployment)
    if deployment.gunicorn_note is not None:
        click.echo(f"gte-ops: {deployment.gunicorn_note.to(language or reader_language())}", err=True)
    if dry_run:
        sys.stdout.writelines(changes(files, root))
    elif in_place:
        done = install(kind, files, root, deployment.test_nginx)
        changed = any(item.state != "unchanged" for item in done)
        steps = next_steps(kind, files, root, changed=changed, reload_nginx=deployment.reload_nginx)
        shown = language or reader_language()
        _report(form, done, steps, shown)
        if kind == "logrotate":
            for reason in deployment.not_rotated:
                click.echo(f"gte-ops: {reason.to(shown)}", err=True)
        if kind == "systemd" and deployment.gunicorn_owner[0] == "root":
            _warn_of_root(deployment.unit, shown)
    else:
        _show(form, files)


def _show(form: str, files: Sequence[RenderedFile]) -> None:
    """One file as it is; several with their places between them, as comments."""
    import json

    if form == "json":
        documents = [{"path": f.path, "mode": f"{f.mode:04o}", "text": f.text} for f in files]
        click.echo(json.dumps({"files": documents}, ensure_ascii=False))
        return
    for file in files:
        if len(files) > 1:
            click.echo(f"# ---- {file.path}")
        click.echo(file.text, nl=False)


def _report(form: str, done: Sequence[Installed], steps: Sequence[str], language: Language) -> None:
    import json

    from ops.text.language import Text

    if form == "json":
        rows = [{"path": item.path, "state": item.state, "kept": item.kept} for item in done]
        click.echo(json.dumps({"files": rows, "next": list(steps)}, ensure_ascii=False))
        return
    words = {
        "new": Text(en="installed", zh="已安装"),
        "changed": Text(en="replaced", zh="已替换"),
        "unchanged": Text(en="unchanged", zh="未变"),
    }
    for item in done:
        kept = (
            Text(en=f" (before: {item.kept})", zh=f"（原文件：{item.kept}）").to(language)
            if item.kept
            else ""
        )
        click.echo(f"{words[item.state].to(language)} {item.path}{kept}")
    if steps:
        click.echo(Text(en="Next:", zh="接下来：").to(language))
        for step in steps:
            click.echo(f"  {step}")


def _warn_of_root(unit: str, language: Language) -> None:
    from ops.text.language import Text

    words = Text(
        en=f"gte-ops: {unit} runs as root, as gunicorn does on this host: whoever takes over the service has the host; "
        "docs/privileges.md says how it gets an account of its own",
        zh=f"gte-ops: {unit} 以 root 运行，与本机现有的 gunicorn 一致：服务一旦被攻破，整台主机随之失守；"
        "如何改用独立账户见 docs/privileges.zh-CN.md",
    )
    click.echo(words.to(language), err=True)
