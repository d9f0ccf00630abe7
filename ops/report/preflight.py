"""The preflight's report: one line a confirmation, then what stands in the way."""

from __future__ import annotations

from typing import TextIO

from ops.diagnosis.checklist import Preflight
from ops.report.doctor.json import to_document
from ops.report.doctor.text import show_cause
from ops.report.json_document import write_document
from ops.report.sentences import readable_language, sentence
from ops.report.terminal import Page
from ops.text.language import Language, Text

_STANDINGS: dict[str, tuple[Text, str]] = {
    "confirmed": (Text(en="confirmed", zh="已确认"), "bold green"),
    "warn": (Text(en="warning", zh="警告"), "bold yellow"),
    "fail": (Text(en="FAILS", zh="不通过"), "bold red"),
    "unconfirmed": (Text(en="NOT CONFIRMED", zh="未能确认"), "bold magenta"),
    "not_needed": (Text(en="not needed", zh="不需要"), "dim"),
}


def render_checklist(form: str, preflight: Preflight, language: Language, out: TextIO) -> None:
    """Write ``preflight`` as text or as one JSON document: the doctor's, with ``confirmations`` beside it."""
    if form == "json":
        document = to_document(preflight.diagnosis, language)
        document["confirmations"] = [
            {
                "id": item.confirmation.id,
                "title": item.confirmation.title.to(language),
                "status": item.standing,
                "causes": [cause.code for cause in item.causes],
                "not_judged": [check.id for check in item.checks if check.status in ("skip", "error")],
            }
            for item in preflight.confirmed
        ]
        write_document(document, out)
        return
    language = readable_language(language, out)
    page = Page(out)
    for item in preflight.confirmed:
        word, style = _STANDINGS[item.standing]
        titles = [cause.code for cause in item.causes]
        unjudged = [check for check in item.checks if check.status in ("skip", "error")]
        told = item.confirmation.title.to(language) + (f": {', '.join(titles)}" if titles else "")
        page.prose(told, lead=f"{word.to(language)}  ", lead_style=style)
        if item.standing != "not_needed":
            for check in unjudged:
                because = sentence(check.skipped_because or "?", language)
                page.prose(because, indent=4, style="dim", lead=f"{check.id}: ")
    for number, cause in enumerate(preflight.diagnosis.causes, 1):
        show_cause(page, number, cause, preflight.diagnosis, language)
