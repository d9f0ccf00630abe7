"""The doctor's document. What other programs rely on: keys are added, never changed."""

from __future__ import annotations

from typing import Any

from ops.diagnosis.catalogue import is_command
from ops.diagnosis.finding import Evidence
from ops.diagnosis.model import Cause, CheckResult, Diagnosis, Symptom
from ops.report.json_document import started_at
from ops.report.sentences import command, next_command, next_commands, sentence
from ops.text.language import Language
from ops.text.sanitize import safe_line


def to_document(diagnosis: Diagnosis, language: Language) -> dict[str, Any]:
    """The document: texts in ``language``, times as ISO 8601 with the local offset, durations in milliseconds."""
    return {
        "status": diagnosis.status,
        "target": {
            sentence(name, language): command(value, language) for name, value in diagnosis.target.items()
        },
        "started_at": started_at(diagnosis),
        "duration_ms": round(diagnosis.duration_ms),
        "symptoms": [_symptom(symptom, diagnosis, language) for symptom in diagnosis.symptoms],
        "causes": [cause_document(cause, language) for cause in diagnosis.causes],
        "checks": [_check(check, language) for check in diagnosis.checks],
        "unseen": [
            {"what": sentence(what, language), "reason": sentence(reason, language)}
            for what, reason in diagnosis.unseen
        ],
        "ignored": [
            {
                "code": item.cause.code,
                "title": sentence(item.cause.title, language),
                "reason": sentence(item.reason, language),
                "until": item.until,
            }
            for item in diagnosis.ignored
        ],
        "changes": _changes(diagnosis, language),
    } | _of_bundle(diagnosis, language)


def _of_bundle(diagnosis: Diagnosis, language: Language) -> dict[str, Any]:
    """What a program has to know before it passes a command on."""
    if not diagnosis.is_from_bundle:
        return {}
    from ops.report.doctor.text import bundle_notice

    return {"origin": "bundle", "notice": bundle_notice(diagnosis, language) or None}


def _changes(diagnosis: Diagnosis, language: Language) -> dict[str, Any] | None:
    if diagnosis.last_good is None:
        return None
    from ops.report.changes import changes_document

    return changes_document(diagnosis, language)


def _symptom(symptom: Symptom, diagnosis: Diagnosis, language: Language) -> dict[str, Any]:
    return {
        "id": symptom.id,
        "summary": sentence(symptom.summary, language),
        "explained_by": list(symptom.explained_by),
        "next": next_command(symptom, diagnosis),
        "evidence": _pieces(symptom.evidence, language),
        "route": [
            {"where": sentence(step.source, language), "words": sentence(step.detail, language)}
            for step in symptom.route
        ],
        "next_commands": list(next_commands(symptom, diagnosis)),
    }


def _pieces(evidence: tuple[Evidence, ...], language: Language) -> list[dict[str, str]]:
    return [
        {"source": sentence(piece.source, language), "detail": sentence(piece.detail, language)}
        for piece in evidence
    ]


def cause_document(cause: Cause, language: Language) -> dict[str, Any]:
    """One cause for a program."""
    return {
        "code": cause.code,
        "severity": cause.severity,
        "title": sentence(cause.title, language),
        "summary": sentence(cause.summary, language),
        "explains": list(cause.explains),
        "evidence": _pieces(cause.evidence, language),
        "verify": command(cause.verify, language),
        "fix": [(command if is_command(step) else sentence)(step, language) for step in cause.fix],
        "learn": command(cause.learn, language),
        **({"kind": cause.kind} if cause.kind else {}),
        **({"subjects": [safe_line(subject) for subject in cause.subjects]} if cause.subjects else {}),
    }


def _check(check: CheckResult, language: Language) -> dict[str, Any]:
    because = check.skipped_because
    return {
        "id": check.id,
        "status": check.status,
        "summary": check.summary.to(language),  # no foreign word: the check's title, or the cause's
        "duration_ms": round(check.duration_ms, 1),
        "skipped_because": None if because is None else sentence(because, language),
    }
