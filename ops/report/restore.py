"""What `gte-ops backup restore` and `drill` show."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ops.backups.restore.run import recovery_words
from ops.diagnosis.model import EXIT_CODES, Status
from ops.report.model import CaseStatus, CommandReport, ReportCase, ReportLine
from ops.report.sentences import readable_language, showable
from ops.text.language import COLON, Language, Text
from ops.text.sanitize import without_controls

if TYPE_CHECKING:
    from ops.backups.drill import Drill
    from ops.backups.restore.run import Preview, RestoreOutcome

# Of what a backup does not hold, a whole directory may be left.
MAX_LINES = 400

RESTORE_THIS = Text(en="Restore this?", zh="恢复以上改动？")
USE_IT = Text(en="Use it all the same?", zh="仍然使用该备份？")
_STAYS = Text(en="is not in the backup and stays", zh="不在备份中，保持不变")
_UNCHANGED = Text(en="nothing was changed", zh="未作任何改动")
_SAME = Text(en="everything is as in {} already", zh="与备份 {} 完全一致")
_WOULD = Text(
    en="{count} paths would change, from {archive}; nothing was changed",
    zh="将改动 {count} 个路径，来源 {archive}；本次未作任何改动",
)
_NOT_RESTORED = Text(en="nothing was restored", zh="未恢复")
_RESTORED = Text(en="restored{where} from {archive}", zh="已从 {archive} 恢复{where}")
_REPLACED = Text(en="what was replaced is kept in {}", zh="被替换的内容备份在 {}")
_OWNERS = Text(
    en="{} paths keep another owner than in the backup: only root may set owners",
    zh="有 {} 个路径的属主与备份不同；只有 root 才能设置属主",
)
_REFUSED = Text(en="is not restored", zh="不恢复")
_REFUSED_HINT = Text(
    en="to have what was refused, restore it elsewhere (--root DIR) and let its owner copy it",
    zh="若确需其内容，请用 --root 恢复到别处，再由其属主复制回去",
)
_RESULTS: dict[Status, Text] = {
    Status.OK: Text(en="OK", zh="通过"),
    Status.FAIL: Text(en="FAILED", zh="失败"),
    Status.UNKNOWN: Text(en="UNKNOWN", zh="未能检查"),
}
_VERDICTS: dict[Status, Text] = {
    Status.OK: Text(en="can be restored and served", zh="可以恢复并提供服务"),
    Status.FAIL: Text(en="cannot be restored to a service that works", zh="无法恢复出可用的服务"),
    Status.UNKNOWN: Text(en="could not be tried in full", zh="未能完整演练"),
}


def plain_line(words: str, *, is_warning: bool = False, indent: int = 0) -> ReportLine:
    """One line of prose: file names and diffs may hold anything."""
    return ReportLine(without_controls(words), indent, is_warning=is_warning)


def progress(words: Text, language: Language) -> None:
    """One line on standard error while a drill runs."""
    line = words.to(readable_language(language, sys.stderr))
    sys.stderr.write(showable(without_controls(line), sys.stderr) + "\n")
    sys.stderr.flush()


def preview_lines(preview: Preview, language: Language) -> Iterator[ReportLine]:
    """Every change, a line each, with the diff of a text."""
    colon = COLON.to(language)
    for line in preview.lines:
        place = line.path if line.place == line.path else f"{line.path} -> {line.place}"
        yield plain_line(place + colon + line.words.to(language))
        for words in line.diff:
            text = without_controls(words if isinstance(words, str) else words.to(language))
            yield ReportLine(text, indent=4, is_verbatim=True)
    for path in preview.left[:MAX_LINES]:
        yield plain_line(path + colon + _STAYS.to(language))


class RestoreReport(CommandReport):
    """What a restore did, or would do."""

    command = "backup restore"

    def __init__(self, outcome: RestoreOutcome, *, dry_run: bool) -> None:
        self._outcome = outcome
        self._dry_run = dry_run

    @property
    def status(self) -> Status:
        """warn if something is not as in the backup, though nothing failed."""
        return Status.WARN if self._outcome.exit_code else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """What was done; where the replaced content is; what was refused; what is left to do."""
        outcome, preview = self._outcome, self._outcome.preview
        if outcome.recovery is not None:
            yield plain_line(recovery_words(outcome.recovery).to(language), is_warning=True)
        yield plain_line(self.headline(language))
        if outcome.safety is not None:
            yield plain_line(_REPLACED.to(language).format(outcome.safety))
        if preview.owners_kept:
            yield plain_line(_OWNERS.to(language).format(preview.owners_kept))
        for path, reason in preview.refused:
            yield plain_line(COLON.to(language).join((path, _REFUSED.to(language), reason.to(language))))
        if preview.refused:
            yield plain_line(_REFUSED_HINT.to(language))
        for note in outcome.notes:
            yield plain_line(note.to(language))

    def headline(self, language: Language) -> str:
        """What was done, in one line."""
        outcome, preview = self._outcome, self._outcome.preview
        if preview.is_empty:
            return _UNCHANGED.to(language) if preview.refused else _SAME.to(language).format(preview.archive)
        if self._dry_run:
            count = len({line.path for line in preview.lines})
            return _WOULD.to(language).format(count=count, archive=preview.archive)
        if not outcome.restored:
            return _NOT_RESTORED.to(language)
        where = "" if str(preview.root) == "/" else f" {preview.root}"
        return _RESTORED.to(language).format(where=where, archive=preview.archive)

    def document(self, language: Language) -> dict[str, Any]:
        """``changes``, ``refused``, ``left`` (not in the backup, and not touched), ``notes``."""
        outcome, preview = self._outcome, self._outcome.preview
        return {
            "archive": str(preview.archive),
            "root": str(preview.root),
            "dry_run": self._dry_run,
            "restored": outcome.restored,
            "changes": [
                {
                    "path": line.path,
                    "place": line.place,
                    "change": line.kind,
                    "detail": line.words.to(language),
                }
                for line in preview.lines
            ],
            "refused": [{"path": path, "reason": reason.to(language)} for path, reason in preview.refused],
            "left": list(preview.left),
            "owners_kept": preview.owners_kept,
            "safety_backup": str(outcome.safety) if outcome.safety else None,
            "recovered": recovery_words(outcome.recovery).to(language) if outcome.recovery else None,
            "notes": [note.to(language) for note in outcome.notes],
            "exit_code": outcome.exit_code,
        }


class DrillReport(CommandReport):
    """What a drill came to."""

    command = "backup drill"

    def __init__(self, rehearsed: Drill) -> None:
        self._drill = rehearsed

    @property
    def status(self) -> Status:
        """The drill's."""
        return self._drill.result

    @property
    def exit_code(self) -> int:
        """0 it would serve again, 2 it would not, 3 it could not be tried."""
        return EXIT_CODES[self._drill.result]

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each step, then the verdict."""
        for check in self._drill.checks:
            yield plain_line(
                _RESULTS[check.result].to(language) + COLON.to(language) + check.detail.to(language)
            )
        yield plain_line(self.headline(language))

    def headline(self, language: Language) -> str:
        """The verdict."""
        verdict = _VERDICTS[self._drill.result].to(language)
        seconds = f"{self._drill.seconds:.1f}"
        took = Text(en=f" ({seconds} s)", zh=f"（{seconds} 秒）").to(language)
        return f"{self._drill.archive}{COLON.to(language)}{verdict}{took}"

    def document(self, language: Language) -> dict[str, Any]:
        """``checks``: name, status, detail of each step."""
        return {
            "archive": str(self._drill.archive),
            "seconds": round(self._drill.seconds, 3),
            "checks": [
                {"name": check.name, "status": check.result, "detail": check.detail.to(language)}
                for check in self._drill.checks
            ],
            "exit_code": self.exit_code,
        }

    def cases(self, language: Language) -> Sequence[ReportCase]:
        """A case for each step."""
        kinds = {Status.OK: CaseStatus.PASS, Status.FAIL: CaseStatus.FAIL, Status.UNKNOWN: CaseStatus.SKIP}
        return [
            ReportCase(
                "gte-ops.drill",
                check.name,
                kinds[check.result],
                check.detail.to(language),
                because=check.detail.to(language),
            )
            for check in self._drill.checks
        ]

    def suite(self) -> tuple[str, float]:
        """The archive, and how long the drill took."""
        return str(self._drill.archive), self._drill.seconds
