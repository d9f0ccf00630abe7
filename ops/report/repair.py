"""The report of `doctor --fix`: the plan, before anything is done, and the outcome with the second diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ops.diagnosis.catalogue import catalogue, is_command
from ops.diagnosis.model import Cause, Status
from ops.diagnosis.steps import step_marks
from ops.facts.status import Severity
from ops.repair.audit_log import UnfinishedRemedy
from ops.repair.model import (
    Outcome,
    Remedy,
    RemedyResult,
    Repair,
    Safety,
    brings_back,
    helps,
    most_helpful_level,
)
from ops.repair.undo import Undo, UndoKind, undo
from ops.report.doctor.json import to_document
from ops.report.doctor.text import verdict
from ops.report.model import BLANK, CommandReport, ReportLine, command_line
from ops.report.sentences import command, sentence
from ops.text.language import Language, Text

_REMEDIES = Text(en="Remedies", zh="修复方案")
_SAFE = Text(en="safe", zh="安全")
_RISKY = Text(en="risky: {}", zh="有风险：{}")
_BY_HAND = Text(en="by hand:", zh="手动处理：")
_COLON = Text(en=": ", zh="：")
_NOTHING = Text(en="There is nothing to fix.", zh="没有需要修复的问题。")
_UNCHANGED = Text(en="Nothing was changed.", zh="未作任何改动。")
_WOULD = {
    Safety.SAFE: Text(
        en="--fix --yes would do {done} of {all}: {codes}.",
        zh="--fix --yes 会执行 {all} 项中的 {done} 项：{codes}。",
    ),
    Safety.RISKY: Text(
        en="--fix=risky --yes would do {done} of {all}: {codes}.",
        zh="--fix=risky --yes 会执行 {all} 项中的 {done} 项：{codes}。",
    ),
}
_WOULD_NOTHING = Text(
    en="--fix would do nothing for the {all} found.", zh="--fix 对这 {all} 项都不会做任何事。"
)
_AT_A_RISK = Text(en="Only with --fix=risky: {}.", zh="只有 --fix=risky 才执行：{}。")
_LEFT_BY_HAND = Text(en="By hand: {}.", zh="需要手动处理：{}。")
_BRINGS_BACK = {
    True: Text(en="This should bring the service back.", zh="服务应能因此恢复。"),
    False: Text(en="This will not bring the service back.", zh="服务不会因此恢复。"),
}
_RISKY_BRINGS_BACK = Text(
    en="This will not bring the service back; --fix=risky should.",
    zh="服务不会因此恢复；--fix=risky 应能恢复。",
)
_NOT_JUDGED = Text(
    en="not judged again, for want of time: {codes}. Look again before you rely on it:",
    zh="时间不够，没有重新判断：{codes}。请再诊断一次：",
)
_BY_HAND_NEXT = Text(en="Next, by hand ({}):", zh="下一步，手动处理（{}）：")
_NEXT_REPAIR = Text(en="Next, for {}: ", zh="下一步，针对 {}：")
_APPLY = Text(en="To apply it: ", zh="执行修复：")
_OUTCOMES: dict[Outcome, Text] = {
    Outcome.SHOWN: Text(en="not done", zh="未执行"),
    Outcome.DECLINED: Text(en="declined", zh="选择不执行"),
    Outcome.BLOCKED: Text(en="left alone", zh="未改动"),
    Outcome.NOT_NEEDED: Text(en="no longer needed", zh="已不需要"),
    Outcome.APPLIED: Text(en="done", zh="已执行"),
    Outcome.REFUSED: Text(en="refused", zh="未通过"),
    Outcome.FAILED: Text(en="failed", zh="失败"),
}
# Another remedy of the same cause helped: the report as a whole must not say that it failed.
_NO_HELP = Text(en="did not help, the next was tried", zh="没有效果，改用下一种方案")
_STYLES: dict[Outcome, str] = {
    Outcome.APPLIED: "green",
    Outcome.REFUSED: "bold red",
    Outcome.FAILED: "bold red",
}
_UNDO = Text(en="undo: {}", zh="撤销：{}")
_COPY = Text(en="the file as it was: {}", zh="原文件：{}")
_AFTER = Text(en="Diagnosed again", zh="重新诊断")
_NOT_FIXED = Text(
    en="NOT fixed: {codes}. {title} now ({new}): users are still without the service.",
    zh="没有修好：{codes}。现在是“{title}”（{new}），用户仍无法使用服务。",
)
_NOT_FIXED_ONLY = Text(en="NOT fixed: {codes}. See what it says above.", zh="没有修好：{codes}。原因见上。")
_NEXT = Text(en="Next:", zh="下一步：")
_FIXED = Text(en="fixed", zh="已修复")
_REMAINING = Text(en="still there", zh="仍然存在")
_NEW = Text(en="new", zh="新出现")
_LOG = Text(en="Log: ", zh="日志：")
QUESTION = Text(en="Do it?", zh="执行？")
_UNFINISHED = Text(
    en="The last --fix was cut off ({time}) at {code}: {what}",
    zh="上一次 --fix 在 {code} 处中断（{time}）：{what}",
)
_OLD_FILE = Text(en="{path} as it was before: {copy}", zh="{path} 修改前的副本：{copy}")


def plan_lines(
    remedies: Sequence[Remedy], cut_off: UnfinishedRemedy | None, language: Language
) -> Iterator[ReportLine]:
    """The plan: each remedy with its command or diff, or the steps by hand. ``cut_off``: the remedy that an earlier run
    did not end."""
    yield BLANK
    if cut_off is not None:
        yield from _unfinished_lines(cut_off, language)
    if not remedies:
        yield ReportLine(_NOTHING.to(language))
        return
    yield ReportLine(_REMEDIES.to(language), style="bold")
    for number, remedy in enumerate(remedies, 1):
        yield ReportLine(
            sentence(remedy.what, language), lead=f"{number}. {remedy.cause.code}  ", lead_style="bold"
        )
        if remedy.action is None:
            yield ReportLine(_BY_HAND.to(language), indent=5)
            for mark, step in step_marks(remedy.cause.fix):
                yield command_line(_step(step, language), indent=7, lead=mark)
        else:
            style = "green" if remedy.safety is Safety.SAFE else "yellow"
            yield ReportLine(_safety(remedy, language), indent=5, style=style)
            for words in remedy.commands:
                yield command_line(command(words, language), indent=5, lead="$ ")
            yield from _undo_lines(undo(remedy), language)
        for line in remedy.diff:
            yield command_line(line, indent=5)


def _unfinished_lines(cut_off: UnfinishedRemedy, language: Language) -> Iterator[ReportLine]:
    words = {name: sentence(getattr(cut_off, name), language) for name in ("time", "code", "what")}
    yield ReportLine(_UNFINISHED.to(language).format(**words), style="yellow")
    for path, copy in cut_off.copies:
        old_file = {"path": command(path, language), "copy": command(copy, language)}
        yield command_line(_OLD_FILE.to(language).format(**old_file), indent=5)


def question_lines(remedy: Remedy, language: Language) -> Iterator[ReportLine]:
    """The remedy, above the question, which is short because a prompt that wraps is not shown whole."""
    yield BLANK
    yield ReportLine(sentence(remedy.what, language), lead=f"{remedy.cause.code}  ", lead_style="bold")


class RepairReport(CommandReport):
    """What `gte-ops doctor --fix` did, or would do, and the last diagnosis. ``again``: the command that applies the
    plan, by level."""

    command = "doctor --fix"

    def __init__(self, repair: Repair, again: Callable[[Safety], str]) -> None:
        self._repair = repair
        self._again = again

    @property
    def status(self) -> Status:
        """The last diagnosis's."""
        return self._repair.last.status

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """The outcome of each remedy and the second diagnosis; without --yes, what it would do."""
        repair = self._repair
        if not repair.results:
            return
        yield BLANK
        if repair.log is None:
            yield from self._forecast_lines(language)
            return
        for item in repair.results:
            if item.remedy.action is not None:
                yield from _result_lines(item, language, is_superseded=repair.is_superseded(item))
        if repair.acted:
            yield from self._second_diagnosis_lines(language)
        yield command_line(repair.log, lead=_LOG.to(language))

    def document(self, language: Language) -> dict[str, Any]:
        """The document of the last diagnosis, with the key ``fix`` added."""
        repair = self._repair
        fix = {
            "level": repair.level,
            "acted": repair.acted,
            "log": repair.log,
            "before": {"status": repair.first.status, "causes": _codes(repair.first.causes)},
            "fixed": list(repair.fixed),
            "not_fixed": list(repair.not_fixed),
            "remaining": list(repair.remaining),
            "new": list(repair.new),
            "remedies": [_result(item, language) for item in repair.results],
        }
        return to_document(repair.last, language) | {"fix": fix}

    def _forecast_lines(self, language: Language) -> Iterator[ReportLine]:
        """What --yes would do, what is left to a person, and whether users get their service back."""
        repair = self._repair
        remedies = [result.remedy for result in repair.results]
        everything = _unique(remedies)
        applicable = [remedy for remedy in remedies if helps(remedy, repair.level)]
        risky = [remedy for remedy in remedies if remedy.action and not helps(remedy, repair.level)]
        by_hand = [remedy for remedy in remedies if remedy.action is None]
        counts = {
            "done": len(_unique(applicable)),
            "all": len(everything),
            "codes": _listed(_unique(applicable), language),
        }
        words = [_UNCHANGED.to(language)]
        words.append((_WOULD[repair.level] if applicable else _WOULD_NOTHING).to(language).format(**counts))
        if risky:
            words.append(_AT_A_RISK.to(language).format(_listed(_unique(risky), language)))
        if by_hand:
            words.append(_LEFT_BY_HAND.to(language).format(_listed(_unique(by_hand), language)))
        # A certificate that ends tomorrow is a failure to come: the service is there.
        back = brings_back(remedies, repair.level) if repair.first.symptoms else None
        if back is False and brings_back(remedies, Safety.RISKY):
            words.append(_RISKY_BRINGS_BACK.to(language))
        elif back is not None:
            words.append(_BRINGS_BACK[back].to(language))
        yield ReportLine((" " if language == "en" else "").join(words))
        yield from self._next_lines(remedies, language)

    def _next_lines(self, remedies: Sequence[Remedy], language: Language) -> Iterator[ReportLine]:
        """The command that helps users most: the repair at the level that mends what affects them, else the steps by
        hand of the first cause that it does not mend."""
        level = most_helpful_level(remedies, self._repair.level)
        if level is not None:
            yield command_line(self._again(level), lead=_APPLY.to(language))
            return
        cause = next((item.cause for item in remedies if item.cause.severity == "fail"), remedies[0].cause)
        yield ReportLine(_BY_HAND_NEXT.to(language).format(cause.code))
        for mark, step in step_marks(cause.fix):
            yield command_line(_step(step, language), indent=2, lead=mark)

    def _second_diagnosis_lines(self, language: Language) -> Iterator[ReportLine]:
        repair, colon = self._repair, _COLON.to(language)
        yield BLANK
        yield ReportLine(
            verdict(repair.last, language), lead=f"{_AFTER.to(language)}{colon}", lead_style="bold"
        )
        for words, codes in ((_FIXED, repair.fixed), (_REMAINING, repair.remaining), (_NEW, repair.new)):
            if codes:
                titles = ", ".join(f"{code} {catalogue().entry(code).title.to(language)}" for code in codes)
                yield ReportLine(titles, indent=2, lead=f"{words.to(language)}{colon}")
        if repair.not_judged:
            unjudged = _listed(repair.not_judged, language)
            yield ReportLine(_NOT_JUDGED.to(language).format(codes=unjudged), indent=2, style="bold yellow")
            yield command_line(self._again(Safety.SAFE).partition(" --fix")[0], indent=4)
        not_fixed = [code for code in repair.not_fixed if code not in repair.not_judged]
        if not_fixed:
            yield from _not_fixed_lines(repair, not_fixed, language)
        elif repair.last.causes:
            yield from self._remaining_lines(language)

    def _remaining_lines(self, language: Language) -> Iterator[ReportLine]:
        """What helps next: the risky repair if that was left alone, else the steps by hand of the first cause."""
        repair = self._repair
        left = repair.last.causes[0]
        blocked = {r.remedy.cause.code for r in repair.results if r.outcome is Outcome.BLOCKED}
        if repair.level is Safety.SAFE and left.code in blocked:
            yield command_line(
                self._again(Safety.RISKY), indent=2, lead=_NEXT_REPAIR.to(language).format(left.code)
            )
            return
        yield ReportLine(_BY_HAND_NEXT.to(language).format(left.code), indent=2)
        for mark, step in step_marks(left.fix):
            yield command_line(_step(step, language), indent=4, lead=mark)


def _not_fixed_lines(repair: Repair, not_fixed: Sequence[str], language: Language) -> Iterator[ReportLine]:
    """Which repairs did not help, what keeps users from the service now, and what to do next."""
    codes = _listed(not_fixed, language)
    new = next((c for c in repair.last.causes if c.code in repair.new and c.severity is Severity.FAIL), None)
    if new is None:
        yield ReportLine(_NOT_FIXED_ONLY.to(language).format(codes=codes), indent=2, style="bold red")
        return
    words = {"codes": codes, "title": sentence(new.title, language), "new": new.code}
    yield ReportLine(_NOT_FIXED.to(language).format(**words), indent=2, style="bold red")
    yield ReportLine(_NEXT.to(language), indent=2)
    for mark, step in step_marks(new.fix):
        yield command_line(_step(step, language), indent=4, lead=mark)


def _unique(remedies: Sequence[Remedy]) -> list[str]:
    return list(dict.fromkeys(remedy.cause.code for remedy in remedies))


def _listed(codes: Sequence[str], language: Language) -> str:
    return (", " if language == "en" else "、").join(codes)


def _result_lines(item: RemedyResult, language: Language, *, is_superseded: bool) -> Iterator[ReportLine]:
    details = [sentence(item.detail, language)] if item.detail else []
    before, after = sentence(item.before, language), sentence(item.after, language)
    if before or after:
        details.append(f"{before} -> {after}" if before else after)
    separator = "; " if language == "en" else "；"
    words = (_NO_HELP if is_superseded else _OUTCOMES[item.outcome]).to(language)
    if details:
        words += _COLON.to(language) + separator.join(details)
    yield ReportLine(
        words,
        lead=f"{item.remedy.cause.code}  ",
        lead_style="bold" if is_superseded else _STYLES.get(item.outcome, "bold"),
    )
    for copy in item.copies:
        yield command_line(_COPY.to(language).format(command(copy, language)), indent=8)
    if item.outcome is Outcome.APPLIED:
        way = undo(item.remedy, item.copies)
        if way is not None and way.kind is not UndoKind.AUTOMATIC:
            yield from _undo_lines(way, language, indent=8)


def _undo_lines(way: Undo | None, language: Language, indent: int = 5) -> Iterator[ReportLine]:
    """How a remedy is undone; nothing if there is nothing to undo."""
    if way is None or way.kind is UndoKind.NOTHING:
        return
    yield ReportLine(_UNDO.to(language).format(sentence(way.words, language)), indent=indent, style="dim")
    for words in way.commands:
        yield command_line(command(words, language), indent=indent, lead="$ ")


def _safety(remedy: Remedy, language: Language) -> str:
    if remedy.safety is Safety.SAFE:
        return _SAFE.to(language)
    return _RISKY.to(language).format(sentence(remedy.risk, language) if remedy.risk else "")


def _step(step: Text, language: Language) -> str:
    return command(step, language) if is_command(step) else sentence(step, language)


def _codes(causes: Sequence[Cause]) -> list[str]:
    return [cause.code for cause in causes]


def _result(item: RemedyResult, language: Language) -> dict[str, Any]:
    remedy = item.remedy
    way = undo(remedy, item.copies)
    return {
        "code": remedy.cause.code,
        "safety": remedy.safety,
        "what": sentence(remedy.what, language),
        "risk": sentence(remedy.risk, language) if remedy.risk else None,
        "commands": [command(words, language) for words in remedy.commands],
        "diff": list(remedy.diff),
        "by_hand": [] if remedy.action else [_step(step, language) for step in remedy.cause.fix],
        "result": item.outcome,
        "detail": sentence(item.detail, language) if item.detail else None,
        "before": sentence(item.before, language),
        "after": sentence(item.after, language),
        "kept": [command(copy, language) for copy in item.copies],
        "undo": None
        if way is None
        else {
            "kind": way.kind,
            "what": sentence(way.words, language),
            "commands": [command(words, language) for words in way.commands],
        },
    }
