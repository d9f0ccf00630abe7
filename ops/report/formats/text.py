"""For a person: lines on a terminal, in a pipe or in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

from ops.report.model import CommandReport, ReportLine
from ops.report.sentences import readable_language
from ops.report.terminal import Page
from ops.text.language import Language


def write(report: CommandReport, language: Language, out: TextIO, color: bool | None = None) -> None:
    """Write the report's lines. English if ``out`` cannot show Chinese; warnings go to standard error."""
    write_lines(report.lines(readable_language(language, out)), out, color)


def write_lines(lines: Iterable[ReportLine], out: TextIO, color: bool | None = None) -> None:
    """Write lines as `write` does; for a command that asks a question between two parts of its report."""
    page, warnings = Page(out, color), None
    for line in lines:
        if line.is_warning:
            # In the order of the report, where both streams are one terminal.
            out.flush()
            warnings = warnings or Page(sys.stderr, color)
            warnings.line(line, before="gte-ops: ")
        elif not line.is_detail or out.isatty():
            page.line(line)
