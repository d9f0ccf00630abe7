"""What `doctor --fix` would do, and what became of it: for a person, and as a part of the JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from ops.diagnosis.catalogue import catalogue, is_command
from ops.diagnosis.model import Cause
from ops.repair.model import Remedy, Repair, Result, Treated
from ops.report.doctor.json import to_document
from ops.report.doctor.text import verdict
from ops.report.json_document import write_document
from ops.report.sentences import command, readable_language, sentence
from ops.report.terminal import Page
from ops.text.language import Language, Text

_REMEDIES = Text(en="Remedies", zh="修复方案")
_SAFE = Text(en="safe", zh="安全")
_RISKY = Text(en="risky: {}", zh="有风险：{}")
_BY_HAND = Text(en="by hand: {}", zh="手动处理：{}")
_NOTHING = Text(en="There is nothing to mend.", zh="没有需要修复的问题。")
_WOULD = Text(en="Nothing was changed. To apply it: {}", zh="未作任何改动。执行修复：{}")
_RESULTS: dict[Result, Text] = {
    "shown": Text(en="not done", zh="未执行"),
    "declined": Text(en="declined", zh="已跳过"),
    "held": Text(en="left alone", zh="未执行"),
    "unneeded": Text(en="no longer needed", zh="已不需要"),
    "applied": Text(en="done", zh="已执行"),
    "refused": Text(en="refused", zh="未通过"),
    "failed": Text(en="failed", zh="失败"),
}
_STYLES: dict[Result, str] = {"applied": "green", "refused": "bold red", "failed": "bold red"}
_KEPT = Text(en="the file as it was: {}", zh="原文件：{}")
_AFTER = Text(en="Diagnosed again", zh="重新诊断")
_FIXED = Text(en="fixed", zh="已修复")
_REMAINING = Text(en="still there", zh="仍然存在")
_NEW = Text(en="new", zh="新出现")
_LOG = Text(en="Log: ", zh="日志：")
_QUESTION = Text(en="Do it?", zh="执行？")


def show_remedies(remedies: Sequence[Remedy], language: Language, out: TextIO) -> None:
    """The plan: each remedy with its command or diff; where there is none, what to do by hand."""
    language = readable_language(language, out)
    page = Page(out)
    page.blank()
    if not remedies:
        page.prose(_NOTHING.to(language))
        return
    page.prose(_REMEDIES.to(language), style="bold")
    for number, remedy in enumerate(remedies, 1):
        page.prose(
            sentence(remedy.what, language),
            lead=f"{number}. {remedy.cause.code}  ",
            lead_style="bold",
        )
        if remedy.action is None:
            for step in remedy.cause.fix:
                page.command(_BY_HAND.to(language).format(_step(step, language)), indent=5)
            for line in remedy.diff:
                page.command(line, indent=5)
            continue
        page.prose(
            _safety(remedy, language), indent=5, style="green" if remedy.safety == "safe" else "yellow"
        )
        for words in remedy.commands:
            page.command(command(words, language), indent=5, lead="$ ")
        for line in remedy.diff:
            page.command(line, indent=5)


def show_outcome(repair: Repair, language: Language, out: TextIO, again: str) -> None:
    """What became of each remedy, and what a second diagnosis says. ``again``: the command that applies the plan."""
    language = readable_language(language, out)
    page = Page(out)
    if not any(item.remedy.action for item in repair.treated):
        return
    page.blank()
    if repair.log is None:
        page.command(again, lead=_WOULD.to(language).format(""))
        return
    for item in repair.treated:
        if item.remedy.action is not None:
            _show_treated(page, item, language)
    if repair.acted:
        page.blank()
        page.prose(verdict(repair.last, language), lead=f"{_AFTER.to(language)}: ", lead_style="bold")
        for words, codes in ((_FIXED, repair.fixed), (_REMAINING, repair.remaining), (_NEW, repair.new)):
            if codes:
                titles = ", ".join(f"{code} {catalogue().entry(code).title.to(language)}" for code in codes)
                page.prose(titles, indent=2, lead=f"{words.to(language)}: ")
    page.command(repair.log, lead=_LOG.to(language))


def _show_treated(page: Page, item: Treated, language: Language) -> None:
    said = [sentence(item.detail, language)] if item.detail else []
    if item.before or item.after:
        said.append(sentence(f"{item.before} -> {item.after}" if item.before else item.after, language))
    words = _RESULTS[item.result].to(language) + (": " + "; ".join(said) if said else "")
    page.prose(words, lead=f"{item.remedy.cause.code}  ", lead_style=_STYLES.get(item.result, "bold"))
    for kept in item.kept:
        page.command(_KEPT.to(language).format(command(kept, language)), indent=8)


def _safety(remedy: Remedy, language: Language) -> str:
    if remedy.safety == "safe":
        return _SAFE.to(language)
    return _RISKY.to(language).format(sentence(remedy.risk, language) if remedy.risk else "")


def _step(step: Text, language: Language) -> str:
    return command(step, language) if is_command(step) else sentence(step, language)


def pose(remedy: Remedy, language: Language, out: TextIO) -> str:
    """Say what is asked about, and return the question: short, because a prompt that wraps is not shown whole."""
    language = readable_language(language, out)
    page = Page(out)
    page.blank()
    page.prose(sentence(remedy.what, language), lead=f"{remedy.cause.code}  ", lead_style="bold")
    return _QUESTION.to(language)


def write_repair(repair: Repair, language: Language, out: TextIO) -> None:
    """The document of the last diagnosis, with one key more: ``fix``."""
    document = to_document(repair.last, language)
    document["fix"] = {
        "level": repair.level,
        "acted": repair.acted,
        "log": repair.log,
        "before": {"status": repair.first.status, "causes": _codes(repair.first.causes)},
        "fixed": list(repair.fixed),
        "remaining": list(repair.remaining),
        "new": list(repair.new),
        "remedies": [_treated(item, language) for item in repair.treated],
    }
    write_document(document, out)


def _codes(causes: Sequence[Cause]) -> list[str]:
    return [cause.code for cause in causes]


def _treated(item: Treated, language: Language) -> dict[str, Any]:
    remedy = item.remedy
    return {
        "code": remedy.cause.code,
        "safety": remedy.safety,
        "what": sentence(remedy.what, language),
        "risk": sentence(remedy.risk, language) if remedy.risk else None,
        "commands": [command(words, language) for words in remedy.commands],
        "diff": list(remedy.diff),
        "by_hand": [] if remedy.action else [_step(step, language) for step in remedy.cause.fix],
        "result": item.result,
        "detail": sentence(item.detail, language) if item.detail else None,
        "before": sentence(item.before, language),
        "after": sentence(item.after, language),
        "kept": [command(kept, language) for kept in item.kept],
    }
