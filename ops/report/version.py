"""Versions of the tool and of what it watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ops.report.model import CommandReport, ReportLine, Samples
from ops.text.language import Language


class VersionReport(CommandReport):
    """What `gte-ops version` reports: a program's name to its version."""

    command = "version"

    def __init__(self, versions: Mapping[str, str]) -> None:
        self._versions = versions

    def lines(self, language: Language) -> Iterator[ReportLine]:  # noqa: ARG002  names and numbers
        """A line for each program."""
        width = max(map(len, self._versions), default=0)
        for name, number in self._versions.items():
            yield ReportLine(number, lead=f"{name:{width}}  ", lead_style="bold")

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """Each program's name with its version."""
        return dict(self._versions)

    def samples(self) -> Iterable[Samples]:
        """One series for each program, as is usual for versions: the value is 1."""
        series = tuple(({"program": name, "version": number}, 1.0) for name, number in self._versions.items())
        yield Samples("version_info", "The version of a program.", series)
