"""For a program: one JSON document with the envelope that all commands share, errors included (docs/json.md)."""

from __future__ import annotations

from typing import Any, TextIO

from ops.report.json_document import write_document
from ops.report.model import CommandReport
from ops.text.language import Language

# Keys are added within a version, never removed or changed in meaning.
SCHEMA_VERSION = 1


def write(report: CommandReport, language: Language, out: TextIO, color: bool | None = None) -> None:  # noqa: ARG001
    """Write one document and a newline. Characters that ``out`` cannot encode are escaped as JSON does."""
    write_document(enveloped(report.status, report.document(language)), out)


def enveloped(status: str, document: dict[str, Any]) -> dict[str, Any]:
    """``document`` with the keys that every document has."""
    return {"schema_version": SCHEMA_VERSION, "status": status, **document}
