"""Mark a deployment, so that changes near it and the timeline name it."""

from __future__ import annotations

import time

from ops.baselines.directory import baseline_directory
from ops.baselines.state import Mark
from ops.baselines.store import BaselineStore
from ops.files.own_user import own_user_name
from ops.settings import Settings
from ops.text.sanitize import safe_line

MAX_TEXT_CHARS = 200


def mark_deployment(settings: Settings, text: str) -> Mark:
    """Add a mark of now, by the user who runs this. Raises BaselineError."""
    mark = Mark(time=time.time(), text=safe_line(text, MAX_TEXT_CHARS), by=own_user_name())
    BaselineStore(baseline_directory(settings)).mark(mark)
    return mark
