"""What several formats write alike: the moment of a run, and one format inside another."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TextIO

from ops.diagnosis import Diagnosis
from ops.language import Language


def started_at(diagnosis: Diagnosis) -> str:
    """When the run began: ISO 8601 with the offset of the host that was looked at, also where it is read elsewhere."""
    zone = timezone(timedelta(seconds=diagnosis.utc_offset))
    return datetime.fromtimestamp(diagnosis.started_at, UTC).astimezone(zone).isoformat(timespec="seconds")


def text_of(
    render: Callable[[Diagnosis, Language, TextIO, bool | None], None],
    diagnosis: Diagnosis,
    language: Language,
) -> str:
    """What ``render`` writes, as words, without colours."""
    out = io.StringIO()
    render(diagnosis, language, out, False)
    return out.getvalue()
