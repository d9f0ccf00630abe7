"""For Nagios and its kin: one line with performance data, then one line for each finding.

Monitoring Plugins Development Guidelines, sections 2.1 (output) and 2.6 (performance data)."""

from __future__ import annotations

from typing import TextIO

from ops.report.model import CommandReport
from ops.report.sentences import STATUS_WORDS, readable_language, showable
from ops.text.language import Language
from ops.text.sanitize import safe_line

# Plugins' output is cut at 4 to 8 KiB as a whole (Monitoring Plugins Development Guidelines, 2.1).
MAX_LINE_CHARS = 1000


def write(report: CommandReport, language: Language, out: TextIO, color: bool | None = None) -> None:  # noqa: ARG001
    """Write the status line and the long output. The status word follows the exit code; labels stay English."""
    language = readable_language(language, out)
    alert = report.alert(language)
    first = report.alert_lead.format(STATUS_WORDS[report.status]) + plain_field(alert.headline)
    if alert.values:
        first += " | " + " ".join(f"'{each.label}'={each.value}{each.limits}" for each in alert.values)
    for line in (first, *map(plain_field, alert.details)):
        out.write(showable(line, out) + "\n")


def plain_field(words: str) -> str:
    """Words on one line. A vertical bar would begin performance data."""
    return safe_line(words, MAX_LINE_CHARS).replace("|", "/")
