"""The preflight's report: one line a confirmation, then what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ops.diagnosis.checklist import ConfirmationState, Confirmed, Preflight
from ops.diagnosis.model import CheckResult, CheckStatus, Status
from ops.report.doctor.json import to_document
from ops.report.doctor.text import cause_lines
from ops.report.model import CaseStatus, CommandReport, ReportCase, ReportLine
from ops.report.sentences import sentence
from ops.text.language import COLON, COMMA, Language, Text

_STANDINGS: dict[ConfirmationState, tuple[Text, str]] = {
    ConfirmationState.CONFIRMED: (Text(en="confirmed", zh="已确认"), "bold green"),
    ConfirmationState.WARN: (Text(en="warning", zh="警告"), "bold yellow"),
    ConfirmationState.FAIL: (Text(en="FAILS", zh="不通过"), "bold red"),
    ConfirmationState.UNCONFIRMED: (Text(en="NOT CONFIRMED", zh="未能确认"), "bold magenta"),
    ConfirmationState.NOT_NEEDED: (Text(en="not needed", zh="不需要"), "dim"),
    ConfirmationState.ABSENT: (Text(en="not there yet", zh="尚不存在"), "dim"),
}
_CASES: dict[ConfirmationState, CaseStatus] = {
    ConfirmationState.CONFIRMED: CaseStatus.PASS,
    ConfirmationState.WARN: CaseStatus.WARN,
    ConfirmationState.FAIL: CaseStatus.FAIL,
    ConfirmationState.UNCONFIRMED: CaseStatus.ERROR,
    ConfirmationState.NOT_NEEDED: CaseStatus.SKIP,
    ConfirmationState.ABSENT: CaseStatus.SKIP,
}


class PreflightReport(CommandReport):
    """What `gte-ops preflight` reports."""

    command = "preflight"

    def __init__(self, preflight: Preflight) -> None:
        self.preflight = preflight

    @property
    def status(self) -> Status:
        """fail and warn as found; unknown if something could not be confirmed."""
        return self.preflight.status

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each confirmation, then the causes."""
        for item in self.preflight.confirmed:
            word, style = _STANDINGS[item.standing]
            codes = [cause.code for cause in item.causes]
            yield ReportLine(
                item.confirmation.title.to(language)
                + (COLON.to(language) + COMMA.to(language).join(codes) if codes else ""),
                lead=f"{word.to(language)}  ",
                lead_style=style,
            )
            if item.because is not None:
                yield ReportLine(sentence(item.because, language), indent=4, style="dim")
            else:
                for check in _unjudged(item):
                    because = sentence(check.skipped_because or "?", language)
                    yield ReportLine(because, indent=4, style="dim", lead=check.id + COLON.to(language))
        diagnosis = self.preflight.diagnosis
        for number, cause in enumerate(diagnosis.causes, 1):
            yield from cause_lines(number, cause, diagnosis, language)

    def document(self, language: Language) -> dict[str, Any]:
        """The doctor's, with ``confirmations`` beside it."""
        return {
            "status": self.preflight.diagnosis.status,
            **to_document(self.preflight.diagnosis, language),
            "confirmations": [
                {
                    "id": item.confirmation.id,
                    "title": item.confirmation.title.to(language),
                    "status": item.standing,
                    "causes": [cause.code for cause in item.causes],
                    "not_judged": [check.id for check in _unjudged(item)],
                    "because": item.because.to(language) if item.because else None,
                }
                for item in self.preflight.confirmed
            ],
        }

    def cases(self, language: Language) -> Sequence[ReportCase]:
        """A case for each confirmation."""
        return [
            ReportCase(
                "gte-ops.preflight",
                item.confirmation.id,
                _CASES[item.standing],
                item.confirmation.title.to(language),
                " ".join(cause.code for cause in item.causes),
                because=_STANDINGS[item.standing][0].to(language),
            )
            for item in self.preflight.confirmed
        ]


def _unjudged(item: Confirmed) -> list[CheckResult]:
    return [check for check in item.checks if check.status in (CheckStatus.SKIP, CheckStatus.ERROR)]
