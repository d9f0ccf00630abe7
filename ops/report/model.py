"""What every command reports, whatever the format: the one thing that the writers in `ops/report/formats/` take."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from ops.facts.status import EXIT_CODES, Status

if TYPE_CHECKING:
    from ops.text.language import Language


class ReportLine(msgspec.Struct, frozen=True):
    """A line for a person: ``lead`` (a number, a code), then ``words``, which continue under themselves.

    ``is_verbatim``: a command, a path or a file's line, to be copied, so never wrapped. ``is_warning``: for standard
    error. ``is_detail``: only for a terminal, so that cron stays quiet."""

    words: str = ""
    indent: int = 0
    style: str = ""
    lead: str = ""
    lead_style: str = ""
    is_verbatim: bool = False
    is_warning: bool = False
    is_detail: bool = False

    @property
    def plain(self) -> str:
        """The line as it is in a pipe."""
        line = f"{' ' * self.indent}{self.lead}{self.words}"
        return line if self.is_verbatim else line.rstrip()


BLANK = ReportLine()


def command_line(words: str, indent: int = 0, lead: str = "") -> ReportLine:
    """A command on one line, however long."""
    return ReportLine(words, indent, "cyan", lead, is_verbatim=True)


class CaseStatus(StrEnum):
    """The outcome of one case. ERROR: it could not be judged; WARN, FAIL and UNEXPLAINED are the kinds of failure, by
    which a CI server tells them apart."""

    PASS = "pass"  # noqa: S105  no password
    SKIP = "skip"
    ERROR = "error"
    WARN = "warn"
    FAIL = "fail"
    UNEXPLAINED = "unexplained"


# As which case a judgement counts.
CASE_STATUSES: dict[Status, CaseStatus] = {
    Status.OK: CaseStatus.PASS,
    Status.WARN: CaseStatus.WARN,
    Status.FAIL: CaseStatus.FAIL,
    Status.UNKNOWN: CaseStatus.ERROR,
}


class ReportCase(msgspec.Struct, frozen=True):
    """One thing that was checked. ``because``: why it was skipped or could not be judged. ``seconds`` None: not
    measured."""

    group: str
    name: str
    status: CaseStatus
    summary: str = ""
    detail: str = ""
    because: str = ""
    seconds: float | None = None


class PerformanceValue(msgspec.Struct, frozen=True):
    """One number for a monitoring system. ``value`` with its unit; ``limits``: ``;warn;crit;min;max``
    (Monitoring Plugins Development Guidelines, 2.6)."""

    label: str
    value: str
    limits: str = ";;;0"


class Samples(msgspec.Struct, frozen=True):
    """One metric of Prometheus: its name without the prefix ``gte_ops_``, its help, and a value for each set of
    labels."""

    name: str
    text: str
    values: tuple[tuple[dict[str, str], float], ...]


class Alert(msgspec.Struct, frozen=True):
    """What a monitoring system shows: a headline after the status word, then one line a finding."""

    headline: str
    details: tuple[str, ...] = ()
    values: tuple[PerformanceValue, ...] = ()


class CommandReport(ABC):
    """One command's result. A command has to say its lines and its document; the rest follows from them, unless the
    command knows better."""

    command = "gte-ops"
    # What the line for Nagios begins with; {} is the status word.
    alert_lead = "GTE-OPS {}: "

    @property
    def status(self) -> Status:
        """The judgement behind the exit code."""
        return Status.OK

    @abstractmethod
    def lines(self, language: Language) -> Iterator[ReportLine]:
        """The report for a person."""

    @abstractmethod
    def document(self, language: Language) -> dict[str, Any]:
        """The report for a program, in JSON's types. The writer adds ``schema_version``, and ``status`` where it is
        not in it."""

    def plain_lines(self, language: Language) -> list[str]:
        """The lines without colours."""
        return [line.plain for line in self.lines(language)]

    def headline(self, language: Language) -> str:
        """The report in one line."""
        return next((line for line in self.plain_lines(language) if line), self.command)

    def alert(self, language: Language) -> Alert:
        """The report for Nagios and its kin."""
        headline, *details = [line for line in self.plain_lines(language) if line] or [self.command]
        return Alert(headline, tuple(details))

    def started_at(self) -> str:
        """When the command began: ISO 8601 with the offset."""
        return time.strftime("%Y-%m-%dT%H:%M:%S%z")

    def suite(self) -> tuple[str, float]:
        """What was looked at, and for how many seconds."""
        return self.command, 0.0

    def cases(self, language: Language) -> Sequence[ReportCase]:
        """What was checked, one by one."""
        words = self.headline(language)
        return (ReportCase("gte-ops", self.command, CASE_STATUSES[self.status], words, because=words),)

    def samples(self) -> Iterable[Samples]:
        """The report for Prometheus."""
        yield Samples(
            "command_status",
            "How a command ended: 0 ok, 1 warning, 2 critical, 3 unknown.",
            (({"command": self.command}, float(EXIT_CODES[self.status])),),
        )

    def page(self, language: Language) -> dict[str, Any]:
        """The values of the HTML page."""
        from ops.report.formats.html import plain_page

        return plain_page(self, language)
