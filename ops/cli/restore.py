"""`gte-ops backup restore` and `drill`: parse, call, render."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ops.cli.help import BilingualCommand
from ops.cli.install import EXTRAS
from ops.cli.options import (
    Duration,
    config_option,
    language_option,
    option,
    pinged,
    read_settings,
    report_format_option,
    settings_from,
    show,
)
from ops.errors import UsageError
from ops.text.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.backups.restore.run import Preview
    from ops.report.model import ReportLine
    from ops.settings import Settings, SettingsFile
    from ops.text.language import Language

DECLINED = 1
unsigned_option = option(
    "--unsigned",
    is_flag=True,
    en="Take an archive that is not signed, or, restoring, one of which nothing shows who made it.",
    zh="接受未签名的备份；恢复时也接受无法证明由谁制作的备份。",
)
identity_option = option(
    "--identity",
    type=click.Path(),
    metavar="FILE",
    en="The age identity (or SSH private key) that opens an encrypted backup.",
    zh="用于解密备份的私钥：age identity 或 SSH 私钥。",
)


@click.command(
    cls=BilingualCommand,
    zh="""恢复备份：ARCHIVE，或最近一份完好的；全部内容，或指定的 PATH。

    先显示改动并询问；若备份既未签名（backup.allowed_signers）也非本机制作，则无论是否给出 --yes 都会再次询问。
    被替换的内容先行备份；恢复结果须通过 nginx 检查，否则全部还原。退出码：0 已恢复或无需改动；1 属主无法设置、
    有路径留给其他用户处理，或操作者选择了否；2 被拒绝，或失败且一切已还原；3 无法开始。""",
)
@click.argument("archive", required=False)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@option(
    "--root",
    metavar="DIR",
    en="Restore below DIR, and touch nothing else.",
    zh="恢复到 DIR 之下，不触及其他任何位置。",
)
@option(
    "--dry-run",
    is_flag=True,
    en="Show what would change, and change nothing.",
    zh="只显示将作的改动，不执行。",
)
@option(
    "--yes",
    is_flag=True,
    en="Do not ask; needed where there is no terminal.",
    zh="不询问；没有终端时必须给出。",
)
@option(
    "--bootstrap",
    is_flag=True,
    en="On a fresh host: make accounts, restore all of ARCHIVE, then install what it does not hold.",
    zh="用于全新主机：创建账户，恢复 ARCHIVE 的全部内容，再安装其中没有的部分。",
)
@option(
    "--extras",
    type=click.Choice(EXTRAS),
    default="none",
    show_default=True,
    en="With --bootstrap: as of `gte-ops install`.",
    zh="与 --bootstrap 同用，含义同 `gte-ops install`。",
)
@option(
    "--wheelhouse",
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    en="With --bootstrap: take packages from the wheels in DIR.",
    zh="与 --bootstrap 同用：从 DIR 中的 wheel 安装。",
)
@option(
    "--wait",
    type=Duration(),
    default="2m",
    show_default=True,
    en="With --bootstrap: how long the service may take to become ready.",
    zh="与 --bootstrap 同用：等待服务就绪的最长时间。",
)
@identity_option
@unsigned_option
@config_option
@report_format_option
@language_option
def restore(
    archive: str | None, paths: tuple[str, ...], form: str, language: Language, **options: Any
) -> None:
    """Restore a backup: ARCHIVE, or the newest good one; all of it, or PATHs. 恢复备份。

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
      gte-ops backup restore --bootstrap --yes --unsigned gte-ops-web1-20261122T030000Z.tar.zst
    """
    from pathlib import Path

    from ops.backups.restore.run import HOST, is_archive
    from ops.backups.restore.run import restore as run
    from ops.files.signals import end_in_order
    from ops.report.restore import RestoreReport

    if archive is not None and not is_archive(archive) and archive.startswith("/"):
        archive, paths = None, tuple(str(path) for path in (archive, *paths))
    dry_run = options["dry_run"]
    questions = _Questions(form, language, dry_run=dry_run, yes=options["yes"], unsigned=options["unsigned"])
    end_in_order()
    if options["bootstrap"]:
        _bootstrap(archive, paths, questions, form, language, **options)
    settings, file = read_settings(options["config"])
    outcome = run(
        settings,
        archive,
        paths,
        root=Path(options["root"]).absolute() if options["root"] else HOST,
        dry_run=dry_run,
        identity=options["identity"],
        vouch=questions.vouch if questions.may_vouch else None,
        ask=questions.ask,
    )
    show(form, RestoreReport(outcome, dry_run=dry_run), language)
    if outcome.restored and options["root"] is None:
        _renew_baseline(settings, file)
    declined = not (outcome.restored or dry_run or outcome.preview.is_empty)
    sys.exit(DECLINED if declined else outcome.exit_code)


def _bootstrap(
    archive: str | None,
    paths: tuple[str, ...],
    questions: _Questions,
    form: str,
    language: Language,
    **options: Any,
) -> NoReturn:
    """Set up this fresh host from the archive, and end with the exit code."""
    from pathlib import Path

    from ops.facts.status import EXIT_CODES
    from ops.installation.bootstrap import bootstrap
    from ops.installation.inputs import InstallOptions
    from ops.report.bootstrap import BootstrapReport

    if archive is None or paths or options["root"] or options["dry_run"]:
        raise UsageError(
            Text(
                en="--bootstrap takes one ARCHIVE, and no PATH, --root or --dry-run (look first without --bootstrap)",
                zh="--bootstrap 只接受一个 ARCHIVE，不接受 PATH、--root 或 --dry-run（可先不加 --bootstrap 查看）",
            )
        )
    result = bootstrap(
        Path(archive).absolute(),
        InstallOptions(
            extras=None if options["extras"] == "none" else options["extras"],
            wheels=Path(options["wheelhouse"]) if options["wheelhouse"] else None,
            ready_seconds=options["wait"],
        ),
        identity=options["identity"],
        vouch=questions.vouch if questions.may_vouch else None,
        ask=questions.ask,
    )
    report = BootstrapReport(result)
    show(form, report, language)
    sys.exit(EXIT_CODES[report.status])


def _renew_baseline(settings: Settings, file: SettingsFile) -> None:
    """What was put back, and works, is how the host is meant to be: remember it where baselines are kept."""
    from ops.baselines.directory import baseline_directory
    from ops.baselines.store import BaselineStore
    from ops.doctor import accept_baseline
    from ops.errors import OpsError

    if BaselineStore(baseline_directory(settings)).may_write():
        # The restore is done and reported; a baseline that is not renewed is renewed by the watchdog.
        with contextlib.suppress(OpsError):
            accept_baseline(settings, file, "restore")


class _Questions:
    """What a person is shown and asked before a restore. Raises UsageError if nobody can be asked."""

    def __init__(self, form: str, language: Language, *, dry_run: bool, yes: bool, unsigned: bool) -> None:
        from ops.report.sentences import readable_language

        self._form = form
        self._language = readable_language(language, sys.stdout)
        self._dry_run = dry_run
        self._yes = yes
        self._unsigned = unsigned
        interactive = sys.stdin.isatty() and sys.stdout.isatty() and form == "text"
        if not (dry_run or yes or interactive):
            raise UsageError(
                Text(
                    en="there is no terminal to ask on: give --yes, or --dry-run to look first",
                    zh="没有可供询问的终端：请加 --yes，或先用 --dry-run 查看",
                )
            )
        self.may_vouch = unsigned or interactive

    def ask(self, preview: Preview) -> bool:
        """Whether to restore what ``preview`` shows."""
        from ops.report.restore import RESTORE_THIS, preview_lines

        if self._form == "text" and (self._dry_run or not self._yes):
            self._write(*preview_lines(preview, self._language))
        if self._dry_run or self._yes:
            return not self._dry_run
        return click.confirm(RESTORE_THIS.to(self._language), default=False)

    def vouch(self, why: Text) -> bool:
        """Whether to use an archive of which nothing shows who made it."""
        from ops.report.restore import USE_IT, plain_line

        if self._unsigned:
            return True
        self._write(plain_line(why.to(self._language)))
        return click.confirm(USE_IT.to(self._language), default=False)

    def _write(self, *lines: ReportLine) -> None:
        from ops.report.formats.text import write_lines

        write_lines(lines, sys.stdout)


@click.command(
    cls=BilingualCommand,
    zh="""恢复演练：在临时目录中恢复最近一份完好的备份，并用它提供服务。

    供每周定时任务使用。不触及本机的任何内容，也不留下任何内容。退出码：0 可以恢复并提供服务，2 不可以，3 无法演练。""",
)
@click.argument("archive", required=False)
@identity_option
@unsigned_option
@config_option
@report_format_option
@language_option
def drill(
    archive: str | None,
    identity: str | None,
    unsigned: bool,
    config: str | None,
    form: str,
    language: Language,
) -> None:
    """Rehearse a restore: serve the newest good backup from a scratch directory. 恢复演练。

    Run it weekly by a timer. It changes nothing on the host and leaves nothing behind. Exit code: 0 it would serve
    again, 2 it would not, 3 it could not be tried.

    \b
    Example:
      gte-ops backup drill
      gte-ops backup drill --format json
    """
    from ops.backups.restore.run import rehearse
    from ops.files.signals import end_in_order
    from ops.report.restore import DrillReport

    end_in_order()
    settings = settings_from(config)
    with pinged(settings, "drill"):
        rehearsed = rehearse(settings, archive, identity=identity, unsigned=unsigned, tell=_tell(language))
        report = DrillReport(rehearsed)
        show(form, report, language)
        sys.exit(report.exit_code)


def _tell(language: Language) -> Callable[[Text], None]:
    from ops.report.restore import progress

    return lambda words: progress(words, language)
