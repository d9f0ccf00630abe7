"""Which of gunicorn's settings are judged, and so which values of its file go into a snapshot."""

from __future__ import annotations

from ops.facts.snapshot import ConfigValue
from ops.text.sanitize import HIDDEN, safe_line

# The settings whose values something reads; of every other name the file's own line is enough.
JUDGED_SETTINGS = frozenset(
    {
        "accesslog", "bind", "daemon", "errorlog", "max_requests", "pidfile", "preload_app", "reload", "threads",
        "timeout", "worker_class",
    }
)  # fmt: skip


def without_private_value(name: str, value: ConfigValue) -> ConfigValue:
    """An assignment as it goes into the snapshot: any other name in the file may hold a password."""
    # True, False and None hide nothing, and tell which setting was meant.
    if name in JUDGED_SETTINGS or (value.known and (value.value is None or isinstance(value.value, bool))):
        return value
    if name == "raw_env" and isinstance(value.value, list):
        names = [f"{str(item).partition('=')[0]}={HIDDEN}" for item in value.value]
        return ConfigValue(line=value.line, known=True, value=names, source=safe_line(repr(names), 120))
    return ConfigValue(line=value.line, known=False)
