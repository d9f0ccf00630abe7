"""`gte-ops backup`: parse, call, render."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import (
    config_option,
    language_option,
    option,
    output_option,
    pinged,
    report_format_option,
    settings_and_path,
    settings_from,
    show,
)
from ops.cli.restore import drill, identity_option, restore, unsigned_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.text.language import Language

_to_option = option(
    "--to",
    multiple=True,
    metavar="DESTINATION",
    en="Also copy it off the host: rclone:REMOTE:PATH, restic:REPOSITORY, ssh:HOST:DIR. May be repeated.",
    zh="同时复制到其他主机：rclone:REMOTE:PATH、restic:REPOSITORY、ssh:HOST:DIR。可重复使用。",
)
_label_option = option(
    "--label",
    metavar="TEXT",
    en="A line that `list` shows, for example why it was made.",
    zh="一行说明，`list` 会显示，例如备份的原因。",
)
_pin_option = option("--pin", is_flag=True, en="Never prune this one.", zh="固定：这份备份永不被清理。")
_dry_run_option = option(
    "--dry-run", is_flag=True, en="Only say what would be done.", zh="只说明将做什么，不执行。"
)


def _create_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `backup` alone and `backup create` take: they are the same."""
    for add in (
        language_option,
        report_format_option,
        _dry_run_option,
        _pin_option,
        _label_option,
        _to_option,
        config_option,
    ):
        command = add(command)
    return command


@click.group(cls=BilingualGroup, invoke_without_command=True, zh="备份配置与证书；不带子命令即为 create。")
@_create_options
@click.pass_context
def backup(ctx: click.Context, /, **options: Any) -> None:
    """Back up configuration and certificates; alone it is `create`. 备份配置与证书；不带子命令即为 create。

    \b
    Example:
      gte-ops backup
      gte-ops backup list
      gte-ops backup verify
    """
    if ctx.invoked_subcommand is None:
        _create(**options)


@backup.command(
    zh="""创建备份，校验写入结果，并清理过期备份。

    退出码：0 已创建；1 已创建，但有内容缺失或未能签名；2 未创建，或未能复制到 --to 指定的位置。"""
)
@_create_options
def create(**options: Any) -> None:
    """Make a backup, verify what was written, remove what is too old. 创建备份，校验写入结果，并清理过期备份。

    Exit code: 0 made, 1 made but something is missing in it, or not signed, 2 not made, or not copied (--to).

    \b
    Example:
      gte-ops backup create
      gte-ops backup create --dry-run
      gte-ops backup create --label 'before the upgrade' --pin
      gte-ops backup create --to rclone:offsite:backups
    """
    _create(**options)


@backup.command("list", zh="列出备份及其是否完好。")
@config_option
@report_format_option
@language_option
@output_option
def list_command(config: str | None, form: str, language: Language, output: str | None) -> None:
    """List the backups and which of them are good. 列出备份及其是否完好。

    \b
    Example:
      gte-ops backup list
      gte-ops backup list --format json
      gte-ops backup list --format prometheus --output /var/lib/prometheus/node-exporter/gte_ops_backup.prom
    """
    from ops.backup import list_backups
    from ops.backups.newest import signature_of
    from ops.backups.restore.run import finish_earlier, recovery_words
    from ops.report.backup import BackupListReport, warn

    settings = settings_from(config)
    if (recovery := finish_earlier(settings)) is not None:
        warn(recovery_words(recovery), language)
    backups = [(each, signature_of(settings, each.path)) for each in list_backups(settings)]
    show(form, BackupListReport(backups, settings.backup.dir), language, output)


backup.add_command(restore)
backup.add_command(drill)


@backup.command(
    zh="""验证 ARCHIVE（默认为最近一份完好的备份）确实可以恢复。

    检查 SHA-256、签名（backup.allowed_signers）、清单、每个文件、证书与私钥、链接，并在临时目录中对恢复出的文件
    运行 nginx -t。退出码：0 完好，2 不可用，3 没有可比对的内容。"""
)
@click.argument("archive", required=False, type=click.Path())
@config_option
@identity_option
@unsigned_option
@report_format_option
@language_option
def verify(
    archive: str | None,
    config: str | None,
    identity: str | None,
    unsigned: bool,
    form: str,
    language: Language,
) -> None:
    """Prove that ARCHIVE (default: the newest good one) could be restored. 验证备份确实可以恢复。

    SHA-256, signature (backup.allowed_signers), manifest, every file, certificates with their keys, links, and nginx -t
    on the restored tree in a scratch directory. Exit code: 0 good, 2 not, 3 nothing could be compared.

    \b
    Example:
      gte-ops backup verify
      gte-ops backup verify /var/backups/gte-ops/gte-ops-web1-20260101T020304Z.tar.zst.age --identity key.txt
    """
    from pathlib import Path

    from ops.archive.encryption import read_identities
    from ops.backup import verify_backup
    from ops.files.signals import end_in_order
    from ops.report.backup import VerifyReport

    end_in_order()
    settings = settings_from(config)
    identities = read_identities(Path(identity)) if identity else []
    verified = verify_backup(settings, Path(archive) if archive else None, identities, unsigned=unsigned)
    show(form, VerifyReport(verified), language)
    sys.exit({True: 0, False: 2, None: 3}[verified.good])


@backup.command(zh="清理 backup.keep 不再保留的备份；最近一份完好的始终保留。")
@config_option
@_dry_run_option
@report_format_option
@language_option
def prune(config: str | None, dry_run: bool, form: str, language: Language) -> None:
    """Remove backups that backup.keep no longer retains, never the last good one. 清理过期备份。

    \b
    Example:
      gte-ops backup prune --dry-run
    """
    from ops.backup import prune_backups
    from ops.report.backup import PruneReport

    removed = prune_backups(settings_from(config), dry_run=dry_run)
    show(form, PruneReport(removed, dry_run=dry_run), language)


@backup.command("pin", zh="固定 ARCHIVE：清理时永不删除。")
@click.argument("archive")
@config_option
@report_format_option
@language_option
def pin_command(archive: str, config: str | None, form: str, language: Language) -> None:
    """Pin ARCHIVE: prune never removes it. 固定一份备份，清理时永不删除。

    \b
    Example:
      gte-ops backup pin gte-ops-web1-20260101T020304Z.tar.zst
    """
    _mark(archive, config, form, language, pinned=True)


@backup.command("unpin", zh="取消固定 ARCHIVE：重新按 backup.keep 清理。")
@click.argument("archive")
@config_option
@report_format_option
@language_option
def unpin_command(archive: str, config: str | None, form: str, language: Language) -> None:
    """Unpin ARCHIVE: backup.keep decides again. 取消固定，重新按 backup.keep 清理。

    \b
    Example:
      gte-ops backup unpin gte-ops-web1-20260101T020304Z.tar.zst
    """
    _mark(archive, config, form, language, pinned=False)


def _mark(archive: str, config: str | None, form: str, language: Language, *, pinned: bool) -> None:
    from ops.backup import pin_backup
    from ops.report.backup import PinReport

    path, changed = pin_backup(settings_from(config), archive, pinned=pinned)
    show(form, PinReport(path, pinned=pinned, changed=changed), language)


def _create(
    config: str | None,
    to: tuple[str, ...],
    label: str | None,
    pin: bool,
    dry_run: bool,
    form: str,
    language: Language,
) -> None:
    """Create a backup, and end with its exit code."""
    from ops.backup import create_backup, what_would_go_in
    from ops.report.backup import BackupPlanReport, CreatedReport

    settings, path = settings_and_path(config)
    if dry_run:
        plan = BackupPlanReport(what_would_go_in(settings, path))
        show(form, plan, language)
        sys.exit(1 if plan.missing else 0)
    with pinged(settings, "backup"):
        with _progress(language) as progress:
            outcome = create_backup(
                settings, path, to or settings.backup.to, progress, label=label, pinned=pin
            )
        show(form, CreatedReport(outcome), language)
        sys.exit(outcome.exit_code)


@contextmanager
def _progress(language: Language) -> Iterator[Callable[[str, int, int], None]]:
    """A line that is written over, on a terminal; silence elsewhere."""
    import time

    from ops.report.backup import progress_line

    if not sys.stderr.isatty():
        yield lambda _what, _bytes_done, _total: None
        return
    last_time = 0.0

    def show_progress(what: str, bytes_done: int, total: int) -> None:
        nonlocal last_time
        now = time.monotonic()
        if now - last_time < 0.1:
            return
        last_time = now
        click.echo(f"\r\x1b[K{progress_line(what, bytes_done, total, language)}", nl=False, err=True)

    try:
        yield show_progress
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)
