"""The report for a person at a terminal, at two in the morning: what is broken, the proof, the line that mends it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from ops.diagnosis.catalogue import catalogue, is_command
from ops.diagnosis.model import Cause, CheckResult, Diagnosis, Status
from ops.report.sentences import (
    command,
    leading_cause,
    next_command,
    readable_language,
    sentence,
    unexplained,
)
from ops.report.terminal import Page
from ops.text.language import Language, Text

_STYLES: dict[Status, str] = {
    "ok": "bold green",
    "warn": "bold yellow",
    "fail": "bold red",
    "unknown": "bold magenta",
}
_VERDICTS: dict[Status, Text] = {
    "ok": Text(en="OK", zh="正常"),
    "warn": Text(en="WARNING", zh="警告"),
    "fail": Text(en="CRITICAL", zh="故障"),
    "unknown": Text(en="UNKNOWN", zh="无法判断"),
}
_SERVICE = Text(en="the service", zh="服务")
_ALL_WELL = Text(en="answers as it should", zh="工作正常")
_NOT_JUDGED = Text(en="could not be judged; what was missing stands below", zh="无法判断，缺少的信息见下文")
_MORE = Text(en=" (+{} more)", zh="（另有 {} 项）")
_UNEXPLAINED_VERDICT = Text(en="{} (the cause is not proven)", zh="{}（原因未能证实）")
_PROOF = Text(en="Proof", zh="证据")
_VERIFY = Text(en="Verify", zh="验证")
_FIX = Text(en="Fix", zh="修复")
_EXPLAINS = Text(en="Explains", zh="由此引起")
_LEARN = Text(en="More: ", zh="详情：")
_UNEXPLAINED = Text(en="Unexplained", zh="尚无解释")
_TRY = Text(en="Try next", zh="下一步可执行")
_COUNTS = Text(
    en="{total} checks: {passed} passed, {found} found something, {skip} skipped, {error} crashed; {seconds:.1f} s",
    zh="共 {total} 项检查：{passed} 项正常，{found} 项发现问题，{skip} 项跳过，{error} 项出错；用时 {seconds:.1f} 秒",
)
_SKIPPED = Text(en="Skipped: ", zh="跳过：")
_CRASHED = Text(en="Crashed (a defect of gte-ops): ", zh="出错（gte-ops 自身缺陷）：")
_UNSEEN = Text(en="Not seen: ", zh="未能看到：")
_IGNORED = Text(en="Ignored until {until} ({reason}): ", zh="忽略至 {until}（{reason}）：")


def render_text(diagnosis: Diagnosis, language: Language, out: TextIO, color: bool | None = None) -> None:
    """Write the report for a person. English where ``out`` cannot show Chinese."""
    language = readable_language(language, out)
    page = Page(out, color)
    page.prose(
        verdict(diagnosis, language),
        lead=_VERDICTS[diagnosis.status].to(language) + "  ",
        lead_style=_STYLES[diagnosis.status],
    )
    hurts_first = leading_cause(diagnosis) is not None
    if not hurts_first:
        _show_unexplained(page, diagnosis, language)
    for number, cause in enumerate(diagnosis.causes, 1):
        show_cause(page, number, cause, diagnosis, language)
    if hurts_first:
        _show_unexplained(page, diagnosis, language)
    if diagnosis.causes or diagnosis.symptoms or diagnosis.ignored:
        page.blank()
    for item in diagnosis.ignored:
        lead = _IGNORED.to(language).format(until=item.until, reason=sentence(item.reason, language))
        page.prose(f"{item.cause.code} {sentence(item.cause.title, language)}", style="dim", lead=lead)
    _show_checks(page, diagnosis, language)


def verdict(diagnosis: Diagnosis, language: Language) -> str:
    """What is broken, in one line."""
    place = sentence(diagnosis.target.get("url") or _SERVICE.to(language), language)
    if leading := leading_cause(diagnosis):
        others = len(diagnosis.causes) - 1
        words = sentence(leading.title, language) + (_MORE.to(language).format(others) if others else "")
        return f"{place}{': ' if language == 'en' else '：'}{words}"
    if diagnosis.status == "unknown":
        return f"{place} {_NOT_JUDGED.to(language)}"
    if open_symptoms := unexplained(diagnosis):
        return _UNEXPLAINED_VERDICT.to(language).format(sentence(open_symptoms[0].summary, language))
    return f"{place} {_ALL_WELL.to(language)}"


def show_cause(page: Page, number: int, cause: Cause, diagnosis: Diagnosis, language: Language) -> None:
    """Write one cause: title, summary, proof, verify, fix, what follows from it."""
    page.blank()
    page.prose(
        sentence(cause.title, language),
        style="bold",
        lead=f"{number}. {sentence(cause.code, language)}  ",
        lead_style=_STYLES[cause.severity],
    )
    page.prose(sentence(cause.summary, language), indent=3)
    if cause.evidence:
        page.prose(_PROOF.to(language), indent=3, style="bold")
        for piece in cause.evidence:
            page.prose(
                sentence(piece.detail, language), indent=5, lead=sentence(piece.source, language) + ": "
            )
    page.prose(_VERIFY.to(language), indent=3, style="bold")
    page.command(command(cause.verify, language), indent=5)
    page.prose(_FIX.to(language), indent=3, style="bold")
    for step_number, step in enumerate(cause.fix, 1):
        lead = f"{step_number}. "
        if is_command(step):
            page.command(command(step, language), indent=5, lead=lead)
        else:
            page.prose(sentence(step, language), indent=5, lead=lead)
    if cause.explains:
        page.prose(_EXPLAINS.to(language), indent=3, style="bold")
        for name in cause.explains:
            page.prose(follower(name, diagnosis, language), indent=5, lead="- ")
    page.command(command(cause.learn, language), indent=3, lead=_LEARN.to(language))


def follower(name: str, diagnosis: Diagnosis, language: Language) -> str:
    """A symptom's sentence, or a code that only follows, with its title."""
    for symptom in diagnosis.symptoms:
        if symptom.id == name:
            return sentence(symptom.summary, language)
    book = catalogue()
    title = " " + book.entry(name).title.to(language) if name in book.codes else ""
    return sentence(name + title, language)


def _show_unexplained(page: Page, diagnosis: Diagnosis, language: Language) -> None:
    for symptom in unexplained(diagnosis):
        page.blank()
        page.prose(
            sentence(symptom.summary, language),
            lead=_UNEXPLAINED.to(language) + "  ",
            lead_style=_STYLES["unknown"],
        )
        if following := next_command(symptom, diagnosis):
            page.prose(_TRY.to(language), indent=3, style="bold")
            page.command(following, indent=5)


def _show_checks(page: Page, diagnosis: Diagnosis, language: Language) -> None:
    checks = diagnosis.checks
    skipped = [check for check in checks if check.status == "skip"]
    crashed = [check for check in checks if check.status == "error"]
    counts = _COUNTS.to(language).format(
        total=len(checks),
        passed=sum(check.status == "pass" for check in checks),
        found=sum(check.status in ("warn", "fail") for check in checks),
        skip=len(skipped),
        error=len(crashed),
        seconds=diagnosis.duration_ms / 1000,
    )
    page.prose(counts, style="dim")
    if crashed:
        page.prose(
            _by_reason(_reasons(crashed, language)), lead=_CRASHED.to(language), lead_style="bold magenta"
        )
    told = _by_reason(_reasons(skipped, language))
    if skipped:
        page.prose(told, style="dim", lead=_SKIPPED.to(language))
    # What made a check skip has been said; the rest was welcome but not to be had.
    unseen = [
        (sentence(place, language), sentence(reason, language))
        for place, reason in diagnosis.unseen
        if sentence(reason, language) not in told
    ]
    if unseen:
        page.prose(_by_reason(unseen), style="dim", lead=_UNSEEN.to(language))


def _reasons(checks: Iterable[CheckResult], language: Language) -> list[tuple[str, str]]:
    return [
        (sentence(check.id, language), sentence(check.skipped_because or "?", language)) for check in checks
    ]


def _by_reason(items: Iterable[tuple[str, str]]) -> str:
    """``name, name: reason; name: reason``, each reason once."""
    names: dict[str, list[str]] = {}
    for name, reason in items:
        names.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(found)}: {reason}" for reason, found in names.items())
