"""`gte-ops backup restore` and `drill`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.options import config_option, language_option, report_format_option, settings_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.backups.restore.run import Preview, RestoreOutcome
    from ops.text.language import Language, Text

DECLINED = 1
MAX_LINES = 400
unsigned_option = click.option(
    "--unsigned",
    is_flag=True,
    help="Take an archive that is not signed, or, restoring, one of which nothing shows who made it.",
)


@click.command()
@click.argument("archive", required=False)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--root", metavar="DIR", help="Restore below DIR, and touch nothing else.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.option("--identity", metavar="FILE", help="The age identity that opens an encrypted backup.")
@unsigned_option
@config_option
@report_format_option
@language_option
@click.pass_context
def restore(
    ctx: click.Context,
    archive: str | None,
    paths: tuple[str, ...],
    root: str | None,
    dry_run: bool,
    yes: bool,
    identity: str | None,
    unsigned: bool,
    config: str | None,
    form: str,
    language: Language | None,
) -> None:
    """Put back what a backup holds: ARCHIVE, or the newest good one; all of it, or PATHs. 恢复备份。

    Shows the changes and asks; and asks before it uses an archive that is neither signed (backup.allowed_signers) nor
    made on this host, whatever --yes says. What is replaced is backed up first; nginx must take the result, or
    everything is put back. Exit code: 0 restored or nothing to change, 1 owners could not be set, something
    was left to other users, or you said no, 2 refused, or failed and everything is as it was, 3 could not begin.

    \b
    Example:
      gte-ops backup restore --dry-run
      gte-ops backup restore --yes
      gte-ops backup restore gte-ops-web1-20261122T030000Z.tar.zst /etc/nginx
      gte-ops backup restore --root /mnt/new-host
    """
    from pathlib import Path

    from ops.backups.restore.run import HOST, is_archive
    from ops.backups.restore.run import restore as run
    from ops.files.signals import end_in_order
    from ops.report.sentences import readable_language
    from ops.text.language import reader_language

    if archive is not None and not is_archive(archive) and archive.startswith("/"):
        archive, paths = None, tuple(str(path) for path in (archive, *paths))
    shown = readable_language(language or ctx.obj["language"] or reader_language(), sys.stdout)
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and form == "text"
    if not (dry_run or yes or interactive):
        raise click.UsageError("there is no terminal to ask on: give --yes, or --dry-run to look first")

    def ask(preview: Preview) -> bool:
        if form == "text" and (dry_run or not yes):
            _show(preview, shown)
        if dry_run or yes:
            return not dry_run
        question = "恢复以上改动？" if shown == "zh" else "Restore this?"
        return click.confirm(question, default=False)

    def vouch(why: Text) -> bool:
        if unsigned:
            return True
        _say(why.to(shown))
        question = "仍然使用该备份？" if shown == "zh" else "Use it all the same?"
        return click.confirm(question, default=False)

    end_in_order()
    outcome = run(
        settings_from(config or ctx.obj["config"]),
        archive,
        paths,
        root=Path(root).absolute() if root else HOST,
        dry_run=dry_run,
        identity=identity,
        vouch=vouch if unsigned or interactive else None,
        ask=ask,
    )
    if form == "json":
        _json(outcome, dry_run=dry_run)
    else:
        _text(outcome, shown, dry_run=dry_run)
    declined = not (outcome.restored or dry_run or outcome.preview.is_empty)
    sys.exit(DECLINED if declined else outcome.exit_code)


def _say(words: str, *, to_stderr: bool = False) -> None:
    from ops.report.sentences import showable
    from ops.text.sanitize import without_controls

    stream = sys.stderr if to_stderr else sys.stdout
    click.echo(showable(without_controls(words), stream), err=to_stderr)


def _show(preview: Preview, language: Language) -> None:
    """Every change, a line each, with the diff of a text."""
    for line in preview.lines:
        shown = line.path if line.place == line.path else f"{line.path} -> {line.place}"
        _say(f"{shown}: {line.words.to(language)}")
        for words in line.diff:
            _say("    " + (words if isinstance(words, str) else words.to(language)))
    for path in preview.left[:MAX_LINES]:
        _say(f"{path}: {'不在备份中，保持不变' if language == 'zh' else 'is not in the backup and stays'}")


def _text(outcome: RestoreOutcome, language: Language, *, dry_run: bool) -> None:
    from ops.backups.restore.run import recovery_words

    preview = outcome.preview
    zh = language == "zh"
    if outcome.recovery is not None:
        _say(recovery_words(outcome.recovery).to(language), to_stderr=True)
    where = "" if str(preview.root) == "/" else f" {preview.root}"
    if preview.is_empty and preview.refused:
        _say("未作任何改动" if zh else "nothing was changed")
    elif preview.is_empty:
        _say(f"与备份 {preview.archive} 完全一致" if zh else f"everything is as in {preview.archive} already")
    elif dry_run:
        count = len({line.path for line in preview.lines})
        _say(
            f"将改动 {count} 个路径，来源 {preview.archive}；本次未作任何改动"
            if zh
            else f"{count} paths would change, from {preview.archive}; nothing was changed"
        )
    elif not outcome.restored:
        _say("未恢复" if zh else "nothing was restored")
    else:
        _say(f"已从 {preview.archive} 恢复{where}" if zh else f"restored{where} from {preview.archive}")
    if outcome.safety is not None:
        _say(
            f"被替换的内容备份在 {outcome.safety}" if zh else f"what was replaced is kept in {outcome.safety}"
        )
    if preview.owners_kept:
        _say(
            f"有 {preview.owners_kept} 个路径的属主与备份不同；只有 root 才能设置属主"
            if zh
            else f"{preview.owners_kept} paths keep another owner than in the backup: only root may set owners"
        )
    for path, reason in preview.refused:
        _say(f"{path}: {'不恢复' if zh else 'is not restored'}: {reason.to(language)}")
    if preview.refused:
        _say(
            "若确需其内容，请用 --root 恢复到别处，再由其属主复制回去"
            if zh
            else "to have what was refused, restore it elsewhere (--root DIR) and let its owner copy it"
        )
    for note in outcome.notes:
        _say(note.to(language))


def _json(outcome: RestoreOutcome, *, dry_run: bool) -> None:
    import json

    from ops.backups.restore.run import recovery_words

    preview = outcome.preview
    document = {
        "status": "warn" if outcome.exit_code else "ok",
        "archive": str(preview.archive),
        "root": str(preview.root),
        "dry_run": dry_run,
        "restored": outcome.restored,
        "changes": [
            {"path": line.path, "place": line.place, "change": line.kind, "detail": line.words.en}
            for line in preview.lines
        ],
        "refused": [{"path": path, "reason": reason.en} for path, reason in preview.refused],
        "left": list(preview.left),
        "owners_kept": preview.owners_kept,
        "safety_backup": str(outcome.safety) if outcome.safety else None,
        "recovered": recovery_words(outcome.recovery).en if outcome.recovery else None,
        "notes": [note.en for note in outcome.notes],
        "exit_code": outcome.exit_code,
    }
    click.echo(json.dumps(document, ensure_ascii=False))


@click.command()
@click.argument("archive", required=False)
@click.option("--identity", metavar="FILE", help="The age identity that opens an encrypted backup.")
@unsigned_option
@config_option
@report_format_option
@language_option
@click.pass_context
def drill(
    ctx: click.Context,
    archive: str | None,
    identity: str | None,
    unsigned: bool,
    config: str | None,
    form: str,
    language: Language | None,
) -> None:
    """Rehearse a restore: serve the newest good backup from a scratch directory. 恢复演练。

    For a weekly timer. Nothing of the host is touched, nothing is left behind. Exit code: 0 it would serve again, 2 it
    would not, 3 it could not be tried.

    \b
    Example:
      gte-ops backup drill
      gte-ops backup drill --format json
    """
    from ops.backups.restore.run import rehearse
    from ops.files.signals import end_in_order
    from ops.report.sentences import readable_language
    from ops.text.language import reader_language

    end_in_order()
    shown = readable_language(language or ctx.obj["language"] or reader_language(), sys.stdout)
    rehearsed = rehearse(
        settings_from(config or ctx.obj["config"]),
        archive,
        identity=identity,
        unsigned=unsigned,
        tell=_tell(shown),
    )
    exit_code = {"ok": 0, "fail": 2, "unknown": 3}[rehearsed.result]
    if form == "json":
        import json

        document = {
            "status": rehearsed.result,
            "archive": str(rehearsed.archive),
            "seconds": round(rehearsed.seconds, 3),
            "checks": [
                {"name": check.name, "status": check.result, "detail": check.detail.to(shown)}
                for check in rehearsed.checks
            ],
            "exit_code": exit_code,
        }
        click.echo(json.dumps(document, ensure_ascii=False))
        sys.exit(exit_code)
    words = {"ok": ("通过", "OK"), "fail": ("失败", "FAILED"), "unknown": ("未能检查", "UNKNOWN")}
    for check in rehearsed.checks:
        _say(f"{words[check.result][shown == 'en']}: {check.detail.to(shown)}")
    verdicts = {
        "ok": ("可以恢复并提供服务", "can be restored and served"),
        "fail": ("无法恢复出可用的服务", "cannot be restored to a service that works"),
        "unknown": ("未能完整演练", "could not be tried in full"),
    }
    _say(f"{rehearsed.archive}: {verdicts[rehearsed.result][shown == 'en']} ({rehearsed.seconds:.1f} s)")
    sys.exit(exit_code)


def _tell(language: Language) -> Callable[[Text], None]:
    return lambda words: _say(words.to(language), to_stderr=True)
