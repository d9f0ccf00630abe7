"""Changes since the service was last healthy, for every report that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ops.diagnosis.changes import change_evidence, change_place
from ops.diagnosis.model import Diagnosis, RankedChange
from ops.facts.base import NotSeen
from ops.facts.changes import Change
from ops.report.model import BLANK, ReportLine
from ops.report.sentences import command, sentence
from ops.text.language import Language, Text
from ops.text.timestamps import local_time

# What a page of a terminal may spend on changes that belong to no cause, and on the lines of one change.
MAX_OTHERS = 12
MAX_DIFF_LINES = 8
BY: dict[str, Text] = {
    "watchdog": Text(en="the watchdog", zh="watchdog"),
    "doctor": Text(en="gte-ops doctor", zh="gte-ops doctor"),
    "accept": Text(en="gte-ops baseline accept", zh="gte-ops baseline accept"),
    "restore": Text(en="gte-ops backup restore", zh="gte-ops backup restore"),
}
_HEADING = Text(
    en="Changed since the service was last healthy ({at}, recorded by {by})",
    zh="服务上次健康（{at}，由 {by} 记录）之后的变更",
)
_FIT = Text(en="Part of the proof of {}", zh="属于 {} 的证据")
_OTHERS = Text(en="Other changes, to which no proven cause points", zh="其他变更，没有已证实的原因指向它们")
_HARMLESS = Text(en="comments only", zh="仅注释")
_MORE = Text(en="{} more: gte-ops baseline diff", zh="另有 {} 项：gte-ops baseline diff")
_NONE = Text(en="Nothing has changed since then", zh="此后没有变更")


def change_lines(diagnosis: Diagnosis, language: Language) -> Iterator[ReportLine]:
    """The section of the doctor's report: the changes that fit a cause with their lines, the others one line each."""
    good = diagnosis.last_good
    if good is None or not diagnosis.changes:
        return
    yield BLANK
    by = BY.get(good.by, Text(en=good.by, zh=good.by)).to(language)
    at = moment(good.confirmed_at, diagnosis.utc_offset)
    yield ReportLine(sentence(_HEADING.to(language).format(at=at, by=by), language), style="bold")
    fitting = [item for item in diagnosis.changes if item.fits]
    others = [item for item in diagnosis.changes if not item.fits]
    for item in fitting:
        yield from one_change(item, diagnosis.utc_offset, language)
        yield from diff_lines(item.change, indent=7)
    if fitting and others:
        yield ReportLine(_OTHERS.to(language), indent=3, style="dim")
    for item in others[:MAX_OTHERS]:
        yield from one_change(item, diagnosis.utc_offset, language)
    left_out = max(0, len(others) - MAX_OTHERS) + good.omitted
    if left_out:
        yield ReportLine(_MORE.to(language).format(left_out), indent=5, style="dim")


def one_change(item: RankedChange, utc_offset: int, language: Language) -> Iterator[ReportLine]:
    """One change in one line: place, kind, time, who, what became of what."""
    piece = change_evidence(item.change, NotSeen(reason=""), utc_offset)
    words = sentence(piece.detail, language).strip()
    if item.change.is_harmless:
        words += f" ({_HARMLESS.en})" if language == "en" else f"（{_HARMLESS.zh}）"
    if item.fits:
        codes = ", ".join(sentence(code, language) for code in item.fits)
        words += f"  [{_FIT.to(language).format(codes)}]"
    yield ReportLine(words, indent=5, lead=sentence(piece.source, language) + ": ")


def diff_lines(change: Change, indent: int, limit: int | None = MAX_DIFF_LINES) -> Iterator[ReportLine]:
    """The changed lines as a diff, without secrets; one line that became one other stands in the change's own line."""
    rows = list(diff(change))
    if limit is not None and len(rows) <= 3:
        return
    for row in rows[:limit]:
        style = {"-": "red", "+": "green"}.get(row[:1], "dim")
        yield ReportLine(row, indent, style, is_verbatim=True)
    if limit is not None and len(rows) > limit:
        yield ReportLine("...", indent, "dim", is_verbatim=True)


def diff(change: Change) -> Iterator[str]:
    """``@@ LINE``, then ``-`` and ``+`` lines, each piece of the change after the other."""
    for hunk in change.lines:
        yield f"@@ {hunk.line}"
        yield from (f"-{_shown(line)}" for line in hunk.before)
        yield from (f"+{_shown(line)}" for line in hunk.after)


def _shown(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())].replace("\t", "    ")
    return indent + command(line.strip(), "en")


def moment(at: float, utc_offset: int) -> str:
    """A time as the host writes it."""
    return local_time(at, utc_offset).strftime("%Y-%m-%d %H:%M:%S")


def changes_document(diagnosis: Diagnosis, language: Language) -> dict[str, Any] | None:
    """The section ``changes`` of a document: None if no baseline is kept."""
    good = diagnosis.last_good
    if good is None:
        return None
    return {
        "taken_at": _iso(good.taken_at, diagnosis.utc_offset),
        "confirmed_at": _iso(good.confirmed_at, diagnosis.utc_offset),
        "by": sentence(good.by, language),
        "omitted": good.omitted,
        "items": [change_document(item, diagnosis.utc_offset, language) for item in diagnosis.changes],
    }


def change_document(item: RankedChange, utc_offset: int, language: Language) -> dict[str, Any]:
    """One change for a program."""
    change = item.change
    return {
        "place": change.place,
        "what": sentence(change.what, language),
        "kind": change.kind,
        "time": None if change.time is None else _iso(change.time, utc_offset),
        "by": sentence(change.by, language) or None,
        "before": sentence(change.before, language),
        "after": sentence(change.after, language),
        "diff": list(diff(change)),
        "fits": list(item.fits),
        "comments_only": change.is_harmless,
    }


def _iso(at: float, utc_offset: int) -> str:
    return local_time(at, utc_offset).isoformat(timespec="seconds")


def page_changes(diagnosis: Diagnosis, language: Language) -> list[dict[str, Any]]:
    """What the HTML page shows of each change."""
    return [
        {
            "what": sentence(change_place(item.change), language),
            "words": next(line.words for line in one_change(item, diagnosis.utc_offset, language)),
            "fits": bool(item.fits),
            "diff": "\n".join(diff(item.change)),
        }
        for item in diagnosis.changes
    ]


def all_changes(changes: Iterable[RankedChange], utc_offset: int, language: Language) -> Iterator[ReportLine]:
    """Every change with all of its lines."""
    is_any = False
    for item in changes:
        is_any = True
        yield from one_change(item, utc_offset, language)
        yield from diff_lines(item.change, indent=7, limit=None)
    if not is_any:
        yield ReportLine(_NONE.to(language))
