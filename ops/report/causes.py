"""What `gte-ops causes` reports: the causes that the site defines, and whether their conditions hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ops.diagnosis.catalogue import fill_text
from ops.diagnosis.site_causes import ProofDefinition, SiteCauseDefinition
from ops.facts.base import NotSeen
from ops.facts.site_causes import ProofObservation, SiteCause
from ops.facts.status import Status
from ops.report.model import CommandReport, ReportLine
from ops.text.language import COLON, Language, Text
from ops.text.reasons import reason
from ops.text.sanitize import safe_line

_PROVEN = Text(en="proven", zh="已证实")
_NOT_PROVEN = Text(en="not proven", zh="未证实")
_NOT_JUDGED = Text(en="not judged", zh="未判断")
_HOLDS = Text(en="holds", zh="成立")
_FAILS = Text(en="does not hold", zh="不成立")
_NOT_SEEN = Text(en="not seen", zh="未看到")
_IN_ORDER = Text(en="in order", zh="正常")
_NONE = Text(en="no cause is defined in {}", zh="{} 中没有定义故障原因")


class CausesCheckReport(CommandReport):
    """The files of causes as they are written."""

    command = "causes check"

    def __init__(
        self, place: str, definitions: Sequence[SiteCauseDefinition], refused: Sequence[Text]
    ) -> None:
        self.place, self.definitions, self.refused = place, definitions, refused

    @property
    def status(self) -> Status:
        """unknown if a file is not used: its causes are not judged."""
        return Status.UNKNOWN if self.refused else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each cause, then one for each file that is not used."""
        for definition in self.definitions:
            title = safe_line(definition.entry.title.to(language))
            yield ReportLine(
                f"{title}  ({definition.file}{COLON.to(language)}{_IN_ORDER.to(language)})",
                lead=f"{definition.code}  ",
                lead_style="bold",
            )
        for words in self.refused:
            yield ReportLine(safe_line(words.to(language), 600), style="bold red", is_warning=True)
        if not self.definitions and not self.refused:
            yield ReportLine(_NONE.to(language).format(safe_line(self.place)))

    def document(self, language: Language) -> dict[str, Any]:
        """``causes``: code, title and file of each; ``refused``: the files that are not used, each with the reason."""
        return {
            "causes": [
                {"code": one.code, "title": one.entry.title.to(language), "file": one.file}
                for one in self.definitions
            ],
            "refused": [words.to(language) for words in self.refused],
        }


class CausesTestReport(CommandReport):
    """Each cause of a file with its conditions as they are on a host."""

    command = "causes test"

    def __init__(self, tested: Sequence[tuple[SiteCauseDefinition, SiteCause]]) -> None:
        self.tested = tested

    @property
    def status(self) -> Status:
        """The worst severity that is proven; unknown if none is and a condition was not seen."""
        proven = {definition.entry.severity for definition, cause in self.tested if _is_proven(cause)}
        if proven:
            return Status.FAIL if "fail" in proven else Status.WARN
        is_open = any(_verdict(cause) is _NOT_JUDGED for _, cause in self.tested)
        return Status.UNKNOWN if is_open else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """Each cause, and below it each condition with what was seen."""
        colon = "：" if language == "zh" else ": "
        for definition, cause in self.tested:
            verdict = _verdict(cause)
            words = (
                _summary(definition, cause).to(language)
                if verdict is _PROVEN
                else definition.entry.title.to(language)
            )
            style = "bold red" if verdict is _PROVEN else "bold"
            yield ReportLine(
                f"{verdict.to(language)}{colon}{safe_line(words)}",
                lead=f"{definition.code}  ",
                lead_style=style,
            )
            for proof, observation in zip(definition.proofs, cause.observations, strict=True):
                state, detail = _observed(observation)
                place = f"{proof.kind} {_place(proof)}"
                yield ReportLine(
                    f"{state.to(language)}{colon}{safe_line(place)}{colon}{detail.to(language)}", indent=4
                )

    def document(self, language: Language) -> dict[str, Any]:
        """``causes``: each with ``verdict`` (proven, not_proven, not_judged) and its conditions."""
        names = {_PROVEN.en: "proven", _NOT_PROVEN.en: "not_proven", _NOT_JUDGED.en: "not_judged"}
        return {
            "causes": [
                {
                    "code": definition.code,
                    "severity": definition.entry.severity,
                    "verdict": names[_verdict(cause).en],
                    "summary": _summary(definition, cause).to(language),
                    "conditions": [
                        {
                            "kind": proof.kind.value,
                            "place": _place(proof),
                            "holds": observation.holds if isinstance(observation, ProofObservation) else None,
                            "detail": _observed(observation)[1].to(language),
                        }
                        for proof, observation in zip(definition.proofs, cause.observations, strict=True)
                    ],
                }
                for definition, cause in self.tested
            ]
        }


def _is_proven(cause: SiteCause) -> bool:
    return all(isinstance(item, ProofObservation) and item.holds for item in cause.observations)


def _verdict(cause: SiteCause) -> Text:
    if _is_proven(cause):
        return _PROVEN
    fails = any(isinstance(item, ProofObservation) and not item.holds for item in cause.observations)
    return _NOT_PROVEN if fails else _NOT_JUDGED


def _summary(definition: SiteCauseDefinition, cause: SiteCause) -> Text:
    values = {
        name: words
        for item in cause.observations
        if isinstance(item, ProofObservation)
        for name, words in item.values.items()
    }
    return fill_text(definition.entry.summary, values)


def _observed(observation: ProofObservation | NotSeen) -> tuple[Text, Text]:
    if isinstance(observation, NotSeen):
        return _NOT_SEEN, reason(observation.reason)
    return (_HOLDS if observation.holds else _FAILS), reason(observation.detail)


def _place(proof: ProofDefinition) -> str:
    value = getattr(proof, proof.kind)
    return " ".join(value) if isinstance(value, tuple) else str(value)
