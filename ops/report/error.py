"""A command that could not do its work, as a report: a program reads an error in the format it asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ops.diagnosis.model import Status
from ops.errors import ErrorKind
from ops.report.model import CommandReport, ReportLine
from ops.text.language import Language
from ops.text.sanitize import safe_line

MAX_MESSAGE_CHARS = 600
_STATUSES: dict[int, Status] = {1: Status.WARN, 2: Status.FAIL}


class ErrorReport(CommandReport):
    """One error. ``exit_code``: what the command ends with."""

    def __init__(self, message: str, kind: ErrorKind, exit_code: int) -> None:
        self._message = safe_line(message, MAX_MESSAGE_CHARS)
        self._kind = kind
        self._exit_code = exit_code

    @property
    def status(self) -> Status:
        """As the exit code; unknown for any that is no judgement."""
        return _STATUSES.get(self._exit_code, Status.UNKNOWN)

    def lines(self, language: Language) -> Iterator[ReportLine]:  # noqa: ARG002  the message is in the reader's already
        """The message."""
        yield ReportLine(self._message)

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """``error``: message, kind, exit_code."""
        return {
            "error": {
                "message": self._message,
                "kind": str(self._kind),
                "exit_code": self._exit_code,
            }
        }
