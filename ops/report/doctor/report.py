"""A diagnosis as a report for every format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ops.diagnosis.catalogue import layer_of
from ops.diagnosis.model import CheckResult, CheckStatus, Diagnosis, Status
from ops.report.doctor.text import report_lines
from ops.report.model import (
    Alert,
    CaseStatus,
    CommandReport,
    PerformanceValue,
    ReportCase,
    ReportLine,
    Samples,
)
from ops.report.sentences import (
    STATUS_WORDS,
    gap_words,
    is_cut_short,
    leading_cause,
    next_command,
    sentence,
    unexplained,
)
from ops.text.language import Language, Text

if TYPE_CHECKING:
    from ops.facts.timeline import Timeline

_ALL_WELL = Text(en="{} answers as it should", zh="{} 工作正常")
_NOT_JUDGED = Text(en="{} could not be judged", zh="{} 无法判断")
_NOT_ALL_SEEN = Text(
    en="{}: not all was seen in time, nothing wrong in the rest", zh="{} 时限内未能看完，已看到的部分正常"
)
_UNEXPLAINED = Text(en="unexplained: {}", zh="尚无解释：{}")
_MORE = Text(en=" (+{} more)", zh="（另有 {} 项）")


class DoctorReport(CommandReport):
    """What `gte-ops doctor` reports."""

    command = "doctor"

    def __init__(self, diagnosis: Diagnosis, timeline: Timeline | None = None) -> None:
        """``timeline``: what happened before, for the page."""
        self.diagnosis = diagnosis
        self.timeline = timeline

    @property
    def status(self) -> Status:
        """The diagnosis's."""
        return self.diagnosis.status

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """Verdict, causes, what nothing explains, what was not seen."""
        return report_lines(self.diagnosis, language)

    def document(self, language: Language) -> dict[str, Any]:
        """Schema: `doctor.schema.json`."""
        from ops.report.doctor.json import to_document

        return to_document(self.diagnosis, language)

    def page(self, language: Language) -> dict[str, Any]:
        """Causes as articles, checks as a table."""
        from ops.report.doctor.html import page_values

        values = page_values(self.diagnosis, language)
        if self.timeline is None:
            return values
        from ops.report.timeline import TimelineReport

        story = TimelineReport(self.timeline).page(language)
        return values | {"picture": story["picture"], "events": story["events"]}

    def started_at(self) -> str:
        """When the diagnosis began, by the clock of the host that was looked at."""
        from ops.report.json_document import started_at

        return started_at(self.diagnosis)

    def suite(self) -> tuple[str, float]:
        """The service's URL, and the run's length."""
        name = sentence(self.diagnosis.target.get("url", "gte"), "en")
        return name, self.diagnosis.duration_ms / 1000

    def cases(self, language: Language) -> Sequence[ReportCase]:
        """A case for each check, one for each symptom that nothing explains."""
        return [
            *(_case(check, language) for check in self.diagnosis.checks),
            *(
                ReportCase(
                    "gte-ops.symptom",
                    sentence(symptom.id, "en"),
                    CaseStatus.UNEXPLAINED,
                    sentence(symptom.summary, language),
                    next_command(symptom, self.diagnosis) or "",
                )
                for symptom in unexplained(self.diagnosis)
            ),
        ]

    def alert(self, language: Language) -> Alert:
        """The leading cause, then each cause, then what nothing explains."""
        causes = (
            f"{cause.code} {STATUS_WORDS[cause.severity]}: {sentence(cause.summary, language)} ({cause.learn})"
            for cause in self.diagnosis.causes
        )
        symptoms = (
            _UNEXPLAINED.to(language).format(sentence(symptom.summary, language))
            for symptom in unexplained(self.diagnosis)
        )
        values = (
            PerformanceValue("duration", f"{self.diagnosis.duration_ms / 1000:.3f}s"),
            *(PerformanceValue(name, str(count)) for name, count in self._counts().items()),
        )
        return Alert(self._headline(language), (*causes, *symptoms), values)

    def samples(self) -> Iterator[Samples]:
        """The status, the run's length, what was counted, each cause that is proven."""
        yield from super().samples()
        diagnosis = self.diagnosis
        yield Samples(
            "doctor_duration_seconds", "How long the run took.", (({}, diagnosis.duration_ms / 1000),)
        )
        counts = tuple(({"of": name}, float(count)) for name, count in self._counts().items())
        yield Samples("doctor_count", "Causes, symptoms and checks of the run.", counts)
        # The layer is the page of docs/causes that explains the cause; the site's own causes have none.
        causes = tuple(
            ({"code": c.code, "severity": c.severity, "layer": layer_of(c.code) or "README", **subject}, 1.0)
            for c in diagnosis.causes
            for subject in [{"subject": name} for name in c.subjects] or [{}]
        )
        yield Samples("doctor_cause", "A cause that is proven.", causes)

    def _counts(self) -> dict[str, int]:
        checks = self.diagnosis.checks
        return {
            "causes": len(self.diagnosis.causes),
            "symptoms": len(self.diagnosis.symptoms),
            "checks": len(checks),
            "skipped": sum(check.status is CheckStatus.SKIP for check in checks),
            "crashed": sum(check.status is CheckStatus.ERROR for check in checks),
        }

    def _headline(self, language: Language) -> str:
        diagnosis = self.diagnosis
        if leading := leading_cause(diagnosis):
            others = len(diagnosis.causes) - 1
            more = _MORE.to(language).format(others) if others else ""
            return f"{leading.code} {sentence(leading.title, language)}{more}"
        if diagnosis.status is not Status.UNKNOWN and (symptoms := unexplained(diagnosis)):
            return _UNEXPLAINED.to(language).format(sentence(symptoms[0].summary, language))
        words = _ALL_WELL
        if diagnosis.status is Status.UNKNOWN:
            words = _NOT_ALL_SEEN if is_cut_short(diagnosis) else _NOT_JUDGED
        headline = words.to(language).format(diagnosis.target.get("url", "gte"))
        return headline + gap_words(diagnosis, language)


def _case(check: CheckResult, language: Language) -> ReportCase:
    return ReportCase(
        sentence(f"gte-ops.{check.id.partition('.')[0]}", "en"),
        sentence(check.id, "en"),
        CaseStatus(check.status),
        sentence(check.summary, language),
        because=sentence(check.skipped_because, language) if check.skipped_because else "",
        seconds=check.duration_ms / 1000,
    )
