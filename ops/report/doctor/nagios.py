"""The report for Nagios and its kin: one line with performance data, then one line for each cause.

Monitoring Plugins Development Guidelines, sections 2.1 (output) and 2.6 (performance data)."""

from __future__ import annotations

from typing import TextIO

from ops.diagnosis.model import Diagnosis
from ops.report.sentences import (
    STATUS_WORDS,
    leading_cause,
    readable_language,
    sentence,
    showable,
    unexplained,
)
from ops.text.language import Language, Text

_ALL_WELL = Text(en="{} answers as it should", zh="{} 工作正常")
_NOT_JUDGED = Text(en="{} could not be judged", zh="{} 无法判断")
_UNEXPLAINED = Text(en="unexplained: {}", zh="尚无解释：{}")


def render_nagios(diagnosis: Diagnosis, language: Language, out: TextIO, color: bool | None = None) -> None:  # noqa: ARG001
    """Write the status line and the long output. The status word follows the exit code; labels stay English."""
    language = readable_language(language, out)
    lines = [
        f"GTE-OPS {STATUS_WORDS[diagnosis.status]}: {_headline(diagnosis, language)} | {_measures(diagnosis)}"
    ]
    lines += [
        _field(f"{cause.code} {STATUS_WORDS[cause.severity]}: {sentence(cause.summary, language)}", language)
        + f" ({cause.learn})"
        for cause in diagnosis.causes
    ]
    lines += [
        _field(_UNEXPLAINED.to(language).format(sentence(symptom.summary, language)), language)
        for symptom in unexplained(diagnosis)
    ]
    for line in lines:
        out.write(showable(line, out) + "\n")


def _headline(diagnosis: Diagnosis, language: Language) -> str:
    if leading := leading_cause(diagnosis):
        others = len(diagnosis.causes) - 1
        more = f" (+{others} more)" if others else ""
        return _field(f"{leading.code} {sentence(leading.title, language)}", language) + more
    if diagnosis.status != "unknown" and (open_symptoms := unexplained(diagnosis)):
        return _field(
            _UNEXPLAINED.to(language).format(sentence(open_symptoms[0].summary, language)), language
        )
    words = _NOT_JUDGED if diagnosis.status == "unknown" else _ALL_WELL
    return _field(words.to(language).format(diagnosis.target.get("url", "gte")), language)


def _field(words: str, language: Language) -> str:
    """Words on one line. A vertical bar would begin performance data."""
    return sentence(words, language).replace("|", "/")


def _measures(diagnosis: Diagnosis) -> str:
    skipped = sum(check.status == "skip" for check in diagnosis.checks)
    crashed = sum(check.status == "error" for check in diagnosis.checks)
    counts = {
        "causes": len(diagnosis.causes),
        "symptoms": len(diagnosis.symptoms),
        "checks": len(diagnosis.checks),
        "skipped": skipped,
        "crashed": crashed,
    }
    duration = f"'duration'={diagnosis.duration_ms / 1000:.3f}s;;;0"
    return " ".join([duration, *(f"'{name}'={count};;;0" for name, count in counts.items())])
