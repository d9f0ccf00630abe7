"""What can go wrong in the toolkit itself. Every message says what failed, on what, and the next step."""

from __future__ import annotations

from enum import StrEnum


class ErrorKind(StrEnum):
    """What a program may want to tell apart (``error.kind`` in docs/json.md)."""

    USAGE = "usage"
    SETTINGS = "settings"
    FAILED = "failed"
    DECLINED = "declined"
    LOCKED = "locked"
    INTERRUPTED = "interrupted"
    DEFECT = "defect"


class OpsError(Exception):
    """The toolkit could not do what was asked. ``exit_code`` is what the command ends with."""

    exit_code = 3
    kind = ErrorKind.FAILED


class SettingsError(OpsError):
    """gte-ops.toml cannot be used as it stands."""

    kind = ErrorKind.SETTINGS


class UsageError(OpsError):
    """An option's value makes no sense."""

    kind = ErrorKind.USAGE
