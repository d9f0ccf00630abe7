"""The pages of `gte-ops explain`: one entry of the catalogue without a host, and the list of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ops.diagnosis.catalogue import GUIDE_VALUES, Catalogue, CauseEntry, catalogue, is_command
from ops.diagnosis.steps import step_marks
from ops.facts.status import Severity
from ops.report.model import BLANK, CommandReport, ReportLine, command_line
from ops.text.language import Language, Text

_MEANS = Text(en="What it means", zh="含义")
_SHOWS = Text(en="How it shows", zh="表现")
_VERIFY = Text(en="Verify", zh="验证")
_FIX = Text(en="Fix", zh="修复")
_PREVENT = Text(en="Prevent", zh="预防")
_USUALLY: dict[Severity, Text] = {
    Severity.FAIL: Text(en="usually: users are affected now", zh="通常：用户已受影响"),
    Severity.WARN: Text(en="usually: a warning", zh="通常：警告"),
}
_EXAMPLE_HOST = Text(
    en="Paths and addresses are those of the deployment guide; gte-ops doctor shows this host's own.",
    zh="路径和地址按部署指南示例，gte-ops doctor 会显示本机的实际值。",
)


class ExplanationReport(CommandReport):
    """The page about one cause."""

    command = "explain"

    def __init__(self, code: str, all_causes: Catalogue | None = None) -> None:
        """``code`` in either case of letters; ``all_causes``: the catalogue with the site's own causes. Raises
        `ops.diagnosis.catalogue.UnknownCodeError`."""
        self.entry = (all_causes or catalogue()).entry(code.strip().upper())
        self.values = example_values(self.entry)

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """Meaning, signs, proof, fix and prevention."""
        entry = self.entry
        yield ReportLine(
            entry.title.to(language), style="bold", lead=f"{entry.code}  ", lead_style="bold red"
        )
        yield ReportLine(_USUALLY[entry.severity].to(language), style="dim")
        yield from _section(_MEANS, entry.means, language)
        yield from _section(_SHOWS, entry.shows, language)
        yield from _heading(_VERIFY.to(language))
        yield command_line(entry.verify_with(self.values).to(language), indent=3)
        yield from _heading(_FIX.to(language))
        for mark, step in step_marks(entry.fix_with(self.values)):
            show = command_line if is_command(step) else ReportLine
            yield show(step.to(language), indent=3, lead=mark)
        yield from _section(_PREVENT, entry.prevent, language)
        yield BLANK
        yield ReportLine(_EXAMPLE_HOST.to(language), style="dim")

    def document(self, language: Language) -> dict[str, Any]:
        """The entry, with the deployment guide's values in its commands."""
        entry = self.entry
        return {
            "code": entry.code,
            "severity": entry.severity,
            "title": entry.title.to(language),
            "means": entry.means.to(language),
            "shows": entry.shows.to(language),
            "verify": entry.verify_with(self.values).to(language),
            "fix": [step.to(language) for step in entry.fix_with(self.values)],
            "prevent": entry.prevent.to(language),
        }


class CauseListReport(CommandReport):
    """Every code and its title, in the catalogue's order."""

    command = "explain"

    def __init__(self, all_causes: Catalogue | None = None) -> None:
        """``all_causes``: the catalogue with the site's own causes."""
        self.all_causes = all_causes or catalogue()

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each code."""
        for code in self.all_causes.codes:
            title = self.all_causes.entry(code).title.to(language)
            yield ReportLine(title, lead=f"{code}  ", lead_style="bold")

    def document(self, language: Language) -> dict[str, Any]:
        """``causes``: code, severity and title of each."""
        entries = [self.all_causes.entry(code) for code in self.all_causes.codes]
        return {
            "causes": [
                {"code": entry.code, "severity": entry.severity, "title": entry.title.to(language)}
                for entry in entries
            ]
        }


def example_values(entry: CauseEntry) -> dict[str, str]:
    """The guide's own host, and for what only a real case knows the name in capitals: ``kill PID``."""
    return GUIDE_VALUES | {name: name.upper() for name in entry.facts}


def _section(heading: Text, words: Text, language: Language) -> Iterator[ReportLine]:
    """A text below its heading; nothing if a site's own cause does not have it."""
    if words.to(language):
        yield from _heading(heading.to(language))
        yield ReportLine(words.to(language), indent=3)


def _heading(words: str) -> Iterator[ReportLine]:
    yield BLANK
    yield ReportLine(words, style="bold")
