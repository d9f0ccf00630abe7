"""What `gte-ops backup` shows: backups made, listed, verified, removed."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.diagnosis.model import Status
from ops.files.entry_kind import EntryKind
from ops.report.model import CaseStatus, CommandReport, ReportCase, ReportLine, Samples
from ops.text.language import COLON, Language, Text
from ops.text.reasons import chinese
from ops.text.reasons import reason as as_reason
from ops.text.sanitize import without_controls

if TYPE_CHECKING:
    from ops.archive.listing import ListedBackup
    from ops.backup import BackupOutcome
    from ops.backups.scan import Survey
    from ops.backups.signature import SignatureCheck
    from ops.backups.verify import Verified

_LISTED: dict[bool | None, Text] = {
    True: Text(en="good", zh="完好"),
    False: Text(en="BAD", zh="损坏"),
    None: Text(en="?", zh="?"),
}
_VERIFIED: dict[bool | None, Text] = {
    True: Text(en="good", zh="完好"),
    False: Text(en="NOT GOOD", zh="不可用"),
    None: Text(en="cannot be judged", zh="无法判断"),
}
_STATES: dict[bool | None, str] = {True: "good", False: "bad", None: "unknown"}
_STATUSES: dict[bool | None, Status] = {True: Status.OK, False: Status.FAIL, None: Status.UNKNOWN}
_SIGNATURES = {
    "good": Text(en="signed by {}", zh="签名者：{}"),
    "bad": Text(en="BAD signature: {}", zh="签名无效：{}"),
    "missing": Text(en="not signed", zh="未签名"),
}
_PROGRESS = {
    "reading": Text(en="reading", zh="读取"),
    "writing": Text(en="writing", zh="写入"),
    "reading back": Text(en="reading back", zh="读回核对"),
}
_PINNED = Text(en="pinned", zh="已固定")
_AHEAD = Text(en="its time is in the future", zh="备份时间晚于现在")
_PIN_RESULTS = {
    (True, True): Text(en="pinned: {}", zh="已固定：{}"),
    (True, False): Text(en="already pinned: {}", zh="本已固定：{}"),
    (False, True): Text(en="no longer pinned: {}", zh="已取消固定：{}"),
    (False, False): Text(en="not pinned: {}", zh="本未固定：{}"),
}
_NO_BACKUPS = Text(en="no backups in {}", zh="{} 中没有备份")
_COUNT = Text(en="{} files, {}", zh="{} 个文件，{}")
_NOTHING_WRITTEN = Text(en="{} files, {}; nothing was written", zh="{} 个文件，{}；未写入任何内容")
_ENCRYPTED = Text(en=", encrypted", zh="，已加密")
_SIGNED = Text(en=", signed", zh="，已签名")
_NOT_SIGNED = Text(en="not signed: {}", zh="未能签名：{}")
_MISSING = Text(en="not in it: {}: {}", zh="未备份：{}：{}")
_LEFT_OUT = Text(en="left out: {}: {}", zh="不备份：{}：{}")
_NOT_PRUNED = Text(en="nothing old was removed: {}", zh="未能清理旧备份：{}")
_REMOVED = Text(en="removed {}", zh="已删除 {}")
_WOULD_REMOVE = Text(en="would remove {}", zh="将删除 {}")
_NOTHING_TO_REMOVE = Text(en="nothing to remove", zh="没有可清理的备份")
_COPIED = Text(en="copied to {}, read back and compared", zh="已复制到 {}，并读回核对")
_NOT_COPIED = Text(en="not copied: {}", zh="未能复制：{}")
_CHECKED = Text(en="checked: ", zh="已检查：")
_NOTE = Text(en="note: ", zh="注意：")


class BackupListReport(CommandReport):
    """The backups, each with what its signature is worth, or None if no signer is known."""

    command = "backup list"

    def __init__(self, backups: Sequence[tuple[ListedBackup, SignatureCheck | None]], directory: str) -> None:
        self._backups = backups
        self._directory = directory

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each backup."""
        for each, signature in self._backups:
            mark = _LISTED[each.good].to(language)
            remarks = [each.label] if each.label else []
            remarks += [_PINNED.to(language)] if each.pinned else []
            remarks += [_AHEAD.to(language)] if each.ahead else []
            remarks += [] if each.good else [each.reason.to(language)]
            remarks += [_signature_words(signature).to(language)] if signature else []
            yield ReportLine(
                _plain(str(each.path) + "".join(f"  ({remark})" for remark in remarks)),
                lead=f"{_local(each.name.created_at)}  {_size(each.bytes):>9}  {mark:<4}  ",
            )
        if not self._backups:
            yield ReportLine(_plain(_NO_BACKUPS.to(language).format(self._directory)))

    def document(self, language: Language) -> dict[str, Any]:
        """``backups``, the newest first."""
        return {
            "backups": [
                {
                    "path": str(each.path),
                    "created_at": _iso(each.name.created_at),
                    "bytes": each.bytes,
                    "encrypted": each.name.encrypted,
                    "good": each.good,
                    "reason": each.reason.to(language),
                    "signature": signature.state if signature else None,
                    "host": each.name.host,
                    "label": each.label or None,
                    "pinned": each.pinned,
                }
                for each, signature in self._backups
            ]
        }

    def samples(self) -> Iterator[Samples]:
        """How many there are and since when there is a good one. A time rather than an age, so that an alert is right
        however old the file is."""
        yield from super().samples()
        good = [each for each, _ in self._backups if each.good]
        states = Counter(_STATES[each.good] for each, _ in self._backups)
        yield Samples(
            "backup_stored",
            "Backups in the directory, by what is known of them.",
            tuple(({"state": state}, float(states[state])) for state in _STATES.values()),
        )
        newest = max(good, key=lambda each: each.name.created_at, default=None)
        if newest is not None:
            moment = newest.name.created_at
            words = "When the newest good backup was made, Unix seconds."
            yield Samples("backup_newest_good_timestamp_seconds", words, (({}, moment),))
            yield Samples("backup_newest_good_bytes", "Its size.", (({}, float(newest.bytes)),))

    def cases(self, language: Language) -> Sequence[ReportCase]:
        """A case for each backup."""
        kinds = {True: CaseStatus.PASS, False: CaseStatus.FAIL, None: CaseStatus.SKIP}
        return [
            ReportCase(
                "gte-ops.backup",
                each.path.name,
                kinds[each.good],
                each.reason.to(language),
                because=each.reason.to(language),
            )
            for each, _ in self._backups
        ]


class CreatedReport(CommandReport):
    """What `backup create` did."""

    command = "backup create"

    def __init__(self, outcome: BackupOutcome) -> None:
        self._outcome = outcome

    @property
    def status(self) -> Status:
        """warn if something is missing in it or it is not signed, fail if it was not copied."""
        statuses: dict[int, Status] = {0: Status.OK, 1: Status.WARN, 2: Status.FAIL}
        return statuses[self._outcome.exit_code]

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """Where it is and what is in it; warnings for what is not; on a terminal, what else was done."""
        outcome, backup = self._outcome, self._outcome.created
        words = _COUNT.to(language).format(self._files(), _size(backup.bytes))
        words += (_ENCRYPTED.to(language) if backup.encrypted else "") + (
            _SIGNED.to(language) if backup.signed else ""
        )
        yield ReportLine(_plain(f"{backup.path}  ({words})"))
        if backup.unsigned:
            yield _warning(_NOT_SIGNED.to(language).format(backup.unsigned))
        yield from _missing_lines(backup.complaints, language)
        if outcome.prune_problem:
            yield _warning(_NOT_PRUNED.to(language).format(outcome.prune_problem))
        for old in outcome.removed:
            yield ReportLine(_plain(_REMOVED.to(language).format(old)), is_detail=True)
        for place in outcome.copied:
            yield ReportLine(_plain(_COPIED.to(language).format(place)), is_detail=True)
        for reason in outcome.failed_copies.values():
            yield _warning(_NOT_COPIED.to(language).format(reason))

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002  reasons quote programs
        """The backup, and what became of copies and old backups."""
        outcome, backup = self._outcome, self._outcome.created
        return {
            "path": str(backup.path),
            "created_at": _iso(backup.manifest.created_at),
            "bytes": backup.bytes,
            "sha256": backup.sha256,
            "signed": backup.signed,
            "not_signed": backup.unsigned or None,
            "encrypted": backup.encrypted,
            "files": self._files(),
            "content_bytes": backup.manifest.content_bytes,
            "missing": [{"path": path, "reason": reason} for path, reason in backup.complaints.items()],
            "removed": [str(path) for path in outcome.removed],
            "prune_problem": outcome.prune_problem or None,
            "copied": outcome.copied,
            "not_copied": [{"to": to, "reason": reason} for to, reason in outcome.failed_copies.items()],
        }

    def _files(self) -> int:
        return sum(entry.kind == EntryKind.FILE for entry in self._outcome.created.manifest.entries)


class BackupPlanReport(CommandReport):
    """What a backup made now would hold."""

    command = "backup create --dry-run"

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        # What was asked for and is not there or cannot be read, by path, with the reason.
        self.missing = {each.path: each.missing for each in survey.asked if each.missing} | survey.failed

    @property
    def status(self) -> Status:
        """warn if something would be missing in it."""
        return Status.WARN if self.missing else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each file and link, then the sum, then what would not be in it."""
        entries = self._survey.seen
        for place, entry in sorted(entries.items()):
            if entry.kind != EntryKind.DIRECTORY:
                target = f" -> {entry.target}" if entry.target else ""
                yield ReportLine(_plain(f"{place}{target}"), lead=f"{_size(entry.size):>9}  ")
        files = sum(entry.kind == EntryKind.FILE for entry in entries.values())
        total = _size(sum(entry.size for entry in entries.values()))
        yield ReportLine(_NOTHING_WRITTEN.to(language).format(files, total))
        for place, reason in self._survey.left_out.items():
            yield ReportLine(_plain(_LEFT_OUT.to(language).format(place, as_reason(reason).to(language))))
        yield from _missing_lines(self.missing, language)

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """``entries``, ``missing`` and ``left_out``."""
        return {
            "dry_run": True,
            "entries": [
                {"path": place, "kind": entry.kind, "bytes": entry.size}
                for place, entry in sorted(self._survey.seen.items())
            ],
            "missing": [{"path": place, "reason": reason} for place, reason in self.missing.items()],
            "left_out": [
                {"path": place, "reason": reason} for place, reason in self._survey.left_out.items()
            ],
        }


class PruneReport(CommandReport):
    """Which backups were removed, or would be."""

    command = "backup prune"

    def __init__(self, removed: Sequence[Path], *, dry_run: bool) -> None:
        self._removed = removed
        self._dry_run = dry_run

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each."""
        words = (_WOULD_REMOVE if self._dry_run else _REMOVED).to(language)
        for path in self._removed:
            yield ReportLine(_plain(words.format(path)))
        if not self._removed:
            yield ReportLine(_NOTHING_TO_REMOVE.to(language))

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """``removed``: paths."""
        return {"dry_run": self._dry_run, "removed": [str(path) for path in self._removed]}


class PinReport(CommandReport):
    """That a backup is pinned, or no longer, and whether that is new."""

    def __init__(self, path: Path, *, pinned: bool, changed: bool) -> None:
        self.command = "backup pin" if pinned else "backup unpin"
        self._path, self._pinned, self._changed = path, pinned, changed

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """One line."""
        words = _PIN_RESULTS[self._pinned, self._changed].to(language)
        yield ReportLine(_plain(words.format(self._path)))

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """``path``, ``pinned``, and whether this run changed it."""
        return {"path": str(self._path), "pinned": self._pinned, "changed": self._changed}


class VerifyReport(CommandReport):
    """Whether one backup could be restored."""

    command = "backup verify"

    def __init__(self, verified: Verified) -> None:
        self._verified = verified

    @property
    def status(self) -> Status:
        """unknown if nothing could be compared with anything."""
        return _STATUSES[self._verified.good]

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """The verdict with its first reason; further reasons; what was checked; what one should know."""
        verified = self._verified
        reasons = verified.problems or (verified.notes if verified.good is None else [])
        yield ReportLine(
            _plain(_VERIFIED[verified.good].to(language))
            + (COLON.to(language) + _plain(reasons[0].to(language)) if reasons else ""),
            lead=_plain(str(verified.path)) + COLON.to(language),
        )
        for each in verified.problems[1:]:
            yield ReportLine(_plain(each.to(language)), indent=2, lead="- ")
        if verified.good:
            checked = ("; " if language == "en" else "；").join(each.to(language) for each in verified.checks)
            yield ReportLine(_plain(checked), indent=2, lead=_CHECKED.to(language))
        for each in verified.notes if verified.good is not None else verified.notes[1:]:
            yield ReportLine(_plain(each.to(language)), indent=2, lead=_NOTE.to(language))

    def document(self, language: Language) -> dict[str, Any]:
        """``good``: null if nothing could be compared."""
        verified = self._verified
        return {
            "path": str(verified.path),
            "good": verified.good,
            "encrypted": verified.encrypted,
            "opened": verified.opened,
            "signature": verified.signature.state if verified.signature else None,
            "created_at": _iso(verified.manifest.created_at) if verified.manifest else None,
            "checked": [each.to(language) for each in verified.checks],
            "problems": [each.to(language) for each in verified.problems],
            "notes": [each.to(language) for each in verified.notes],
        }


def warn(words: Text, language: Language) -> None:
    """One line on standard error, beside a report in any format."""
    from ops.report.formats.text import write_lines

    write_lines([_warning(words.to(language))], sys.stdout)


def progress_line(what: str, bytes_done: int, total: int, language: Language) -> str:
    """What is being done, how many bytes of it are done, and the share."""
    share = f"{100 * bytes_done // total:3d} %" if total else ""
    return f"{_PROGRESS[what].to(language)} {_size(bytes_done)} {share}"


def _missing_lines(missing: Mapping[str, str], language: Language) -> Iterator[ReportLine]:
    for path, reason in missing.items():
        yield _warning(_MISSING.to(language).format(path, as_reason(reason).to(language)))


def _warning(words: str) -> ReportLine:
    return ReportLine(_plain(words), is_warning=True)


def _signature_words(signature: SignatureCheck) -> Text:
    words = _SIGNATURES[signature.state]
    return Text(en=words.en.format(signature.detail), zh=words.zh.format(chinese(signature.detail)))


def _plain(words: str) -> str:
    """One line: file names may hold anything."""
    return without_controls(words).replace("\n", " ")


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _local(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
