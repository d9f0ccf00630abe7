"""The judgements that commands share. On the wire each is its value."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """A command's judgement, of the whole or of one thing. FAIL: users are affected; UNKNOWN: it was not judged."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How grave a cause is. FAIL: users are affected now."""

    FAIL = "fail"
    WARN = "warn"


# As monitoring plugins use it (Monitoring Plugins Development Guidelines, section 2.3).
EXIT_CODES: dict[Status, int] = {Status.OK: 0, Status.WARN: 1, Status.FAIL: 2, Status.UNKNOWN: 3}
