"""`gte-ops deploy`: parse, call, render."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import (
    config_option,
    group_language_option,
    language_option,
    option,
    report_format_option,
    settings_and_path,
    settings_from,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.text.language import Language


@click.group(cls=BilingualGroup, zh="记录部署；把一台主机移出或放回 upstream。")
@group_language_option
def deploy() -> None:
    """Record deployments; take a host out of its balancer and put it back. 记录部署，移出和放回主机。

    \b
    Example:
      gte-ops deploy mark "release 2.4"
      gte-ops deploy drain 192.0.2.11
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
    from ops.baselines.deployment_mark import mark_deployment
    from ops.report.baseline import DeployMarkReport

    show(form, DeployMarkReport(mark_deployment(settings_from(config), text)), language)


def _drain_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that drain and undrain share."""
    for decorate in (
        language_option,
        report_format_option,
        option(
            "--force",
            is_flag=True,
            en="Also where it leaves users worse off.",
            zh="即使会让用户受影响也执行。",
        ),
        option("--dry-run", is_flag=True, en="Only show the change.", zh="只显示改动。"),
        config_option,
        click.argument("host"),
    ):
        command = decorate(command)
    return command


@deploy.command(
    zh="""在负载均衡主机上运行：让 HOST 不再接收新请求，已有的请求照常完成。

    HOST 是 upstream 中的 主机:端口，或只写主机。文件原子替换，nginx 检查并加载，再由客户端验证；失败则恢复原样。
    退出码：0 完成或本来如此；2 未能完成，一切恢复原状。"""
)
@_drain_options
def drain(host: str, config: str | None, dry_run: bool, force: bool, form: str, language: Language) -> None:
    """On the balancer: send HOST no new requests; those that it has come to their end. 移出一台主机。

    HOST: its HOST:PORT in the upstream, or the host alone. The file is replaced at once, nginx tests and loads it, a
    client verifies it; if that fails, all is as before. Refused for the last server that serves, unless --force.
    Exit code: 0 done, or so already; 2 not done, all is as before.

    \b
    Example:
      gte-ops deploy drain 192.0.2.11
      gte-ops deploy drain 192.0.2.11:8000 --dry-run
    """
    _move(host, "drain", config, dry_run, force, form, language)


@deploy.command(
    zh="""在负载均衡主机上运行：让 HOST 重新接收请求。

    它的 /ready 须先返回 200，否则拒绝（除非加 --force）。退出码：0 完成或本来如此；2 未能完成，一切恢复原状。"""
)
@_drain_options
def undrain(host: str, config: str | None, dry_run: bool, force: bool, form: str, language: Language) -> None:
    """On the balancer: send HOST requests again, once its /ready answers 200. 放回一台主机。

    Exit code: 0 done, or so already; 2 not done, all is as before.

    \b
    Example:
      gte-ops deploy undrain 192.0.2.11
    """
    _move(host, "undrain", config, dry_run, force, form, language)


def _move(
    host: str, action: str, config: str | None, dry_run: bool, force: bool, form: str, language: Language
) -> None:
    from ops.drain import DrainAction
    from ops.drain import drain as drain_host
    from ops.files.signals import end_in_order
    from ops.report.drain import DrainReport

    end_in_order()
    settings, path = settings_and_path(config)
    result = drain_host(settings, path, host, DrainAction(action), dry_run=dry_run, force=force)
    show(form, DrainReport(result), language)
