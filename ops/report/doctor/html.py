"""The report as one page that needs nothing beside it: for a phone, a mail, a printer."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, TextIO

from ops.diagnosis.catalogue import catalogue, is_command
from ops.diagnosis.model import Cause, Diagnosis
from ops.report.doctor.text import follower, verdict
from ops.report.json_document import started_at
from ops.report.sentences import STATUS_WORDS, command, next_command, sentence, unexplained
from ops.text.language import Language, Text

_WORDS: dict[str, Text] = {
    "proof": Text(en="Proof", zh="证据"),
    "verify": Text(en="Verify", zh="验证"),
    "fix": Text(en="Fix", zh="修复"),
    "explains": Text(en="Explains", zh="由此引起"),
    "learn": Text(en="About this cause", zh="关于此原因"),
    "means": Text(en="What it means", zh="含义"),
    "prevent": Text(en="Prevent", zh="预防"),
    "unexplained": Text(en="Unexplained", zh="尚无解释"),
    "next": Text(en="Try next", zh="下一步可执行"),
    "checks": Text(en="Checks", zh="检查项"),
    "unseen": Text(en="Not seen", zh="未能看到"),
    "target": Text(en="What was looked at", zh="检查对象"),
    "ignored": Text(en="Known and set aside", zh="已知并忽略"),
    "until": Text(en="until", zh="截止"),
    "made": Text(en="Made by gte-ops doctor", zh="由 gte-ops doctor 生成"),
    "seconds": Text(en="s", zh="秒"),
}


def render_html(diagnosis: Diagnosis, language: Language, out: TextIO, color: bool | None = None) -> None:  # noqa: ARG001
    """Write one HTML document. Characters that ``out`` cannot encode become character references."""
    from jinja2 import Environment

    template = files("ops.report.doctor").joinpath("page.html.jinja").read_text(encoding="utf-8")
    # Whatever a peer or a log said is text on this page, never markup.
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    words = page.render(_contents(diagnosis, language)) + "\n"
    encoding = getattr(out, "encoding", None) or "utf-8"
    try:
        out.write(words.encode(encoding, "xmlcharrefreplace").decode(encoding))
    except LookupError:
        out.write(words.encode("ascii", "xmlcharrefreplace").decode("ascii"))


def _contents(diagnosis: Diagnosis, language: Language) -> dict[str, Any]:
    return {
        "language": "zh-CN" if language == "zh" else "en",
        "words": {name: text.to(language) for name, text in _WORDS.items()},
        "status": diagnosis.status,
        "status_word": STATUS_WORDS[diagnosis.status],
        "verdict": verdict(diagnosis, language),
        "started_at": started_at(diagnosis),
        "seconds": f"{diagnosis.duration_ms / 1000:.1f}",
        "target": [
            (sentence(name, language), command(value, language)) for name, value in diagnosis.target.items()
        ],
        "causes": [_cause(cause, diagnosis, language) for cause in diagnosis.causes],
        "unexplained": [
            {
                "summary": sentence(symptom.summary, language),
                "next": next_command(symptom, diagnosis),
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
                "summary": sentence(check.summary, language),
                "because": sentence(check.skipped_because, language) if check.skipped_because else "",
            }
            for check in diagnosis.checks
        ],
        "unseen": [
            (sentence(place, language), sentence(reason, language)) for place, reason in diagnosis.unseen
        ],
    }


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
