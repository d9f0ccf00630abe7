"""What the HTML page (`ops/report/formats/html.py`) shows of a diagnosis."""

from __future__ import annotations

from typing import Any

from ops.diagnosis.catalogue import catalogue, is_command
from ops.diagnosis.model import Cause, CheckStatus, Diagnosis, Viewpoint
from ops.report.doctor.text import bundle_notice, follower, outside_words, verdict
from ops.report.sentences import command, next_commands, sentence, unexplained
from ops.text.language import Language, Text

_CHECK_WORDS: dict[CheckStatus, Text] = {
    CheckStatus.PASS: Text(en=CheckStatus.PASS, zh="正常"),
    CheckStatus.WARN: Text(en=CheckStatus.WARN, zh="警告"),
    CheckStatus.FAIL: Text(en=CheckStatus.FAIL, zh="故障"),
    CheckStatus.SKIP: Text(en=CheckStatus.SKIP, zh="跳过"),
    CheckStatus.ERROR: Text(en=CheckStatus.ERROR, zh="出错"),
}


def page_values(diagnosis: Diagnosis, language: Language) -> dict[str, Any]:
    """What the page shows of a diagnosis."""
    return {
        "verdict": verdict(diagnosis, language),
        "notice": bundle_notice(diagnosis, language),
        "viewpoint": outside_words(diagnosis, language) if diagnosis.viewpoint is Viewpoint.OUTSIDE else "",
        "seconds": f"{diagnosis.duration_ms / 1000:.1f}",
        "target": [
            (sentence(name, language), command(value, language)) for name, value in diagnosis.target.items()
        ],
        "causes": [_cause(cause, diagnosis, language) for cause in diagnosis.causes],
        "unexplained": [
            {
                "summary": sentence(symptom.summary, language),
                "evidence": [
                    (sentence(piece.source, language), sentence(piece.detail, language))
                    for piece in symptom.evidence
                ],
                "route": [
                    (sentence(step.source, language), sentence(step.detail, language))
                    for step in symptom.route
                ],
                "next": "\n".join(next_commands(symptom, diagnosis)),
            }
            for symptom in unexplained(diagnosis)
        ],
        "ignored": [
            {
                "code": sentence(item.cause.code, language),
                "title": sentence(item.cause.title, language),
                "reason": sentence(item.reason, language),
                "until": item.until,
            }
            for item in diagnosis.ignored
        ],
        "checks": [
            {
                "id": sentence(check.id, language),
                "status": check.status,
                "status_word": _CHECK_WORDS[check.status].to(language),
                "summary": sentence(check.summary, language),
                "because": sentence(check.skipped_because, language) if check.skipped_because else "",
            }
            for check in diagnosis.checks
        ],
        "changes": _changes(diagnosis, language),
        "unseen": [
            (sentence(place, language), sentence(reason, language)) for place, reason in diagnosis.unseen
        ],
    }


def _changes(diagnosis: Diagnosis, language: Language) -> list[dict[str, Any]]:
    if not diagnosis.changes:
        return []
    from ops.report.changes import page_changes

    return page_changes(diagnosis, language)


def _cause(cause: Cause, diagnosis: Diagnosis, language: Language) -> dict[str, Any]:
    entry = catalogue().entry(cause.code) if cause.code in catalogue().codes else None
    return {
        "code": sentence(cause.code, language),
        "severity": cause.severity,
        "title": sentence(cause.title, language),
        "summary": sentence(cause.summary, language),
        "evidence": [
            (sentence(piece.source, language), sentence(piece.detail, language)) for piece in cause.evidence
        ],
        "verify": command(cause.verify, language),
        "fix": [
            {
                "is_command": is_command(step),
                "words": (command if is_command(step) else sentence)(step, language),
            }
            for step in cause.fix
        ],
        "explains": [follower(name, diagnosis, language) for name in cause.explains],
        "means": entry.means.to(language) if entry else "",
        "prevent": entry.prevent.to(language) if entry else "",
    }
