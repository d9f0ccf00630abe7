"""What several formats write alike: the moment of a run, and one format inside another."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TextIO

from ops.diagnosis import Diagnosis
from ops.language import Language
from ops.moment import local_time


def started_at(diagnosis: Diagnosis) -> str:
    """When the run began: ISO 8601 with the offset of the host that was looked at, also where it is read elsewhere."""
    return local_time(diagnosis.started_at, diagnosis.utc_offset).isoformat(timespec="seconds")


def text_of(
    render: Callable[[Diagnosis, Language, TextIO, bool | None], None],
    diagnosis: Diagnosis,
    language: Language,
) -> str:
    """What ``render`` writes, as words, without colours."""
    out = io.StringIO()
    render(diagnosis, language, out, False)
    return out.getvalue()
