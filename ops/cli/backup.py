"""`gte-ops backup`: parse, call, render."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ops.cli.options import config_option, language_option, read_settings, report_format_option
from ops.cli.restore import drill, restore, unsigned_option

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ops.backup import BackupOutcome
    from ops.backups.signature import Checked
    from ops.backups.verify import Verified
    from ops.settings import Settings
    from ops.text.language import Language, Text

_to_option = click.option(
    "--to",
    multiple=True,
    metavar="DESTINATION",
    help="Also copy it off the host: rclone:REMOTE:PATH, restic:REPOSITORY, ssh:HOST:DIR. May be repeated.",
)
_dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
identity_option = click.option(
    "--identity",
    type=click.Path(),
    metavar="FILE",
    help="The age identity (or SSH private key) that opens an encrypted backup.",
)


def _create_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `backup` alone and `backup create` take: they are the same."""
    taken = (
        config_option,
        _to_option,
        _dry_run_option,
        report_format_option,
        language_option,
        click.pass_context,
    )
    for option in reversed(taken):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@_create_options
def backup(
    ctx: click.Context,
    config: str | None,
    to: tuple[str, ...],
    dry_run: bool,
    form: str,
    language: Language | None,
) -> None:
    """Back up configuration and certificates; alone it is `create`. 备份配置与证书；不带子命令即为 create。

    \b
    Example:
      gte-ops backup
      gte-ops backup list
      gte-ops backup verify
    """
    ctx.obj = {"config": config, "language": language}
    if ctx.invoked_subcommand is None:
        sys.exit(_create(config, to, dry_run, form, language))


@backup.command()
@_create_options
def create(
    ctx: click.Context,
    config: str | None,
    to: tuple[str, ...],
    dry_run: bool,
    form: str,
    language: Language | None,
) -> None:
    """Make a backup, verify what was written, remove what is too old. 创建备份，校验写入结果，并清理过期备份。

    Exit code: 0 made, 1 made but something is missing in it, or not signed, 2 not made, or not copied to where --to
    says.

    \b
    Example:
      gte-ops backup create
      gte-ops backup create --dry-run
      gte-ops backup create --to rclone:offsite:backups
    """
    sys.exit(_create(config or ctx.obj["config"], to, dry_run, form, language or ctx.obj["language"]))


@backup.command("list")
@config_option
@report_format_option
@language_option
@click.pass_context
def list_command(ctx: click.Context, config: str | None, form: str, language: Language | None) -> None:
    """List the backups and which of them are good. 列出备份及其是否完好。

    \b
    Example:
      gte-ops backup list
      gte-ops backup list --format json
    """
    from ops.backup import list_backups
    from ops.backups.newest import signature_of
    from ops.backups.restore.run import finish_earlier, recovery_words

    settings, _ = _settings(config or ctx.obj["config"])
    say = _speaker(language or ctx.obj["language"])
    if (recovery := finish_earlier(settings)) is not None:
        _warn(say(recovery_words(recovery)))
    found = [(each, signature_of(settings, each.path)) for each in list_backups(settings)]
    if form == "json":
        _document(
            {
                "backups": [
                    {
                        "path": str(each.path),
                        "created_at": _iso(each.name.created_at),
                        "bytes": each.bytes,
                        "encrypted": each.name.encrypted,
                        "good": each.good,
                        "reason": say(each.reason),
                        "signature": signature.verdict if signature else None,
                    }
                    for each, signature in found
                ]
            }
        )
        return
    for each, signature in found:
        mark = {True: ("good", "完好"), False: ("BAD", "损坏"), None: ("?", "?")}[each.good]
        _line(
            f"{_local(each.name.created_at)}  {_size(each.bytes):>9}  {say(_text(*mark)):<4}  {each.path}"
            + ("" if each.good else f"  ({say(each.reason)})")
            + (f"  ({say(_signature_words(signature))})" if signature else "")
        )
    if not found:
        _line(say(_text(f"no backups in {settings.backup.dir}", f"{settings.backup.dir} 中没有备份")))


backup.add_command(restore)
backup.add_command(drill)


@backup.command()
@click.argument("archive", required=False, type=click.Path())
@config_option
@identity_option
@unsigned_option
@report_format_option
@language_option
@click.pass_context
def verify(
    ctx: click.Context,
    archive: str | None,
    config: str | None,
    identity: str | None,
    unsigned: bool,
    form: str,
    language: Language | None,
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

    end_in_order()
    settings, _ = _settings(config or ctx.obj["config"])
    identities = read_identities(Path(identity)) if identity else []
    found = verify_backup(settings, Path(archive) if archive else None, identities, unsigned=unsigned)
    _show_verified(found, form, _speaker(language or ctx.obj["language"]))
    sys.exit({True: 0, False: 2, None: 3}[found.good])


@backup.command()
@config_option
@_dry_run_option
@report_format_option
@language_option
@click.pass_context
def prune(
    ctx: click.Context, config: str | None, dry_run: bool, form: str, language: Language | None
) -> None:
    """Remove what backup.keep no longer keeps, never the last good one. 清理过期备份，始终保留最近一份完好的。

    \b
    Example:
      gte-ops backup prune --dry-run
    """
    from ops.backup import prune_backups

    settings, _ = _settings(config or ctx.obj["config"])
    say = _speaker(language or ctx.obj["language"])
    removed = prune_backups(settings, dry_run=dry_run)
    if form == "json":
        _document({"dry_run": dry_run, "removed": [str(path) for path in removed]})
        return
    for path in removed:
        _line(
            f"{say(_text('would remove' if dry_run else 'removed', '将删除' if dry_run else '已删除'))} {path}"
        )
    if not removed:
        _line(say(_text("nothing to remove", "没有可清理的备份")))


# --- create ----------------------------------------------------------------------------------------------------


def _create(
    config: str | None, to: tuple[str, ...], dry_run: bool, form: str, language: Language | None
) -> int:
    from ops.backup import create_backup

    settings, path = _settings(config)
    say = _speaker(language)
    if dry_run:
        return _show_plan(settings, path, form, say)
    with _progress(say) as progress:
        outcome = create_backup(settings, path, to or settings.backup.to, progress)
    if form == "json":
        _document(_created_document(outcome))
    else:
        _show_created(outcome, say)
    return outcome.exit_code


def _created_document(outcome: BackupOutcome) -> dict[str, Any]:
    made = outcome.created
    return {
        "path": str(made.path),
        "created_at": _iso(made.manifest.created_at),
        "bytes": made.bytes,
        "sha256": made.sha256,
        "signed": made.signed,
        "not_signed": made.unsigned or None,
        "encrypted": made.encrypted,
        "files": sum(entry.kind == "file" for entry in made.manifest.entries),
        "content_bytes": made.manifest.content_bytes,
        "missing": [{"path": path, "reason": reason} for path, reason in made.complaints.items()],
        "removed": [str(path) for path in outcome.removed],
        "prune_problem": outcome.prune_problem or None,
        "copied": outcome.copied,
        "not_copied": [{"to": to, "reason": reason} for to, reason in outcome.failed_copies.items()],
    }


def _show_created(outcome: BackupOutcome, say: Callable[[Text], str]) -> None:
    made = outcome.created
    files = sum(entry.kind == "file" for entry in made.manifest.entries)
    words = _text(f"{files} files, {_size(made.bytes)}", f"{files} 个文件，{_size(made.bytes)}")
    encrypted = say(_text(", encrypted", "，已加密")) if made.encrypted else ""
    signed = say(_text(", signed", "，已签名")) if made.signed else ""
    _line(f"{made.path}  ({say(words)}{encrypted}{signed})")
    if made.unsigned:
        _warn(say(_text(f"not signed: {made.unsigned}", f"未能签名：{made.unsigned}")))
    for path, reason in made.complaints.items():
        _warn(say(_text(f"not in it: {path}: {reason}", f"未备份：{path}：{reason}")))
    if outcome.prune_problem:
        _warn(
            say(
                _text(
                    f"nothing old was removed: {outcome.prune_problem}",
                    f"未能清理旧备份：{outcome.prune_problem}",
                )
            )
        )
    if sys.stdout.isatty():
        for old in outcome.removed:
            _line(say(_text(f"removed {old}", f"已删除 {old}")))
        for to in outcome.copied:
            _line(say(_text(f"copied to {to}, read back and compared", f"已复制到 {to}，并读回核对")))
    for reason in outcome.failed_copies.values():
        _warn(say(_text(f"not copied: {reason}", f"未能复制：{reason}")))


def _show_plan(settings: Settings, path: Path | None, form: str, say: Callable[[Text], str]) -> int:
    from ops.backup import what_would_go_in

    found = what_would_go_in(settings, path)
    missing = {asked.path: asked.missing for asked in found.asked if asked.missing} | found.failed
    if form == "json":
        _document(
            {
                "dry_run": True,
                "entries": [
                    {"path": place, "kind": seen.kind, "bytes": seen.size}
                    for place, seen in sorted(found.seen.items())
                ],
                "missing": [{"path": place, "reason": reason} for place, reason in missing.items()],
                "left_out": [{"path": place, "reason": reason} for place, reason in found.left_out.items()],
            }
        )
        return 1 if missing else 0
    for place, seen in sorted(found.seen.items()):
        if seen.kind != "directory":
            _line(f"{_size(seen.size):>9}  {place}" + (f" -> {seen.target}" if seen.target else ""))
    total = sum(seen.size for seen in found.seen.values())
    files = sum(seen.kind == "file" for seen in found.seen.values())
    _line(
        say(
            _text(
                f"{files} files, {_size(total)}; nothing was written",
                f"{files} 个文件，{_size(total)}；未写入任何内容",
            )
        )
    )
    for place, reason in found.left_out.items():
        _line(say(_text(f"left out: {place}: {reason}", f"不备份：{place}：{reason}")))
    for place, reason in missing.items():
        _warn(say(_text(f"not in it: {place}: {reason}", f"未备份：{place}：{reason}")))
    return 1 if missing else 0


@contextmanager
def _progress(say: Callable[[Text], str]) -> Iterator[Callable[[str, int, int], None]]:
    """A line that is written over, on a terminal; silence elsewhere."""
    import time

    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    words = {
        "reading": ("reading", "读取"),
        "writing": ("writing", "写入"),
        "reading back": ("reading back", "读回核对"),
    }
    shown = 0.0

    def show(what: str, done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < 0.1:
            return
        shown = now
        share = f"{100 * done // total:3d} %" if total else ""
        click.echo(f"\r\x1b[K{say(_text(*words[what]))} {_size(done)} {share}", nl=False, err=True)

    try:
        yield show
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)


# --- rendering ---------------------------------------------------------------------------------------------------


def _show_verified(found: Verified, form: str, say: Callable[[Text], str]) -> None:
    if form == "json":
        _document(
            {
                "path": str(found.path),
                "good": found.good,
                "encrypted": found.encrypted,
                "opened": found.opened,
                "signature": found.signature.verdict if found.signature else None,
                "created_at": _iso(found.manifest.created_at) if found.manifest else None,
                "checked": [say(each) for each in found.checks],
                "problems": [say(each) for each in found.problems],
                "notes": [say(each) for each in found.notes],
            }
        )
        return
    verdict = {
        True: ("good", "完好"),
        False: ("NOT GOOD", "不可用"),
        None: ("cannot be judged", "无法判断"),
    }[found.good]
    reasons = found.problems or (found.notes if found.good is None else [])
    _line(f"{found.path}: {say(_text(*verdict))}" + (f": {say(reasons[0])}" if reasons else ""))
    for each in found.problems[1:]:
        _line(f"  - {say(each)}")
    if found.good:
        _line("  " + say(_text("checked: ", "已检查：")) + "; ".join(say(each) for each in found.checks))
    for each in found.notes if found.good is not None else found.notes[1:]:
        _line("  " + say(_text("note: ", "注意：")) + say(each))


def _signature_words(signature: Checked) -> Text:
    return {
        "good": _text(f"signed by {signature.detail}", f"签名者：{signature.detail}"),
        "bad": _text(f"BAD signature: {signature.detail}", f"签名无效：{signature.detail}"),
        "missing": _text("not signed", "未签名"),
    }[signature.verdict]


def _settings(config: str | None) -> tuple[Settings, Path | None]:
    settings, file = read_settings(config)
    return settings, file.path


def _speaker(language: Language | None) -> Callable[[Text], str]:
    from ops.report.sentences import readable_language
    from ops.text.language import reader_language

    chosen = readable_language(language or reader_language(), sys.stdout)
    return lambda text: text.to(chosen)


def _text(en: str, zh: str) -> Text:
    from ops.text.language import Text

    return Text(en=en, zh=zh)


def _line(words: str) -> None:
    from ops.report.sentences import showable
    from ops.text.sanitize import without_controls

    click.echo(showable(without_controls(words).replace("\n", " "), sys.stdout))


def _warn(words: str) -> None:
    from ops.text.sanitize import without_controls

    click.echo(f"gte-ops: {without_controls(words)}".replace("\n", " "), err=True)


def _document(document: dict[str, Any]) -> None:
    from ops.report.json_document import write_document

    write_document(document, sys.stdout)


def _iso(when: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _local(when: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
