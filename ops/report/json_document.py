"""What several reports write alike: a JSON document, the moment of a run."""

from __future__ import annotations

import json
from typing import Any, TextIO

from ops.diagnosis.model import Diagnosis
from ops.report.sentences import can_show
from ops.text.timestamps import local_time


def write_document(document: Any, out: TextIO) -> None:
    """Write one JSON document and a newline. Characters that ``out`` cannot encode are escaped as JSON does."""
    words = json.dumps(document, ensure_ascii=False, indent=2)
    out.write((words if can_show(words, out) else json.dumps(document, indent=2)) + "\n")


def started_at(diagnosis: Diagnosis) -> str:
    """When the run began: ISO 8601 with the offset of the host that was looked at, also where it is read elsewhere."""
    return local_time(diagnosis.started_at, diagnosis.utc_offset).isoformat(timespec="seconds")
