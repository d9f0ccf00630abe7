"""The judgements that commands share. In JSON each is its value."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """A command's judgement, of the whole or of one item. FAIL: users are affected; UNKNOWN: it could not be judged."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """The severity of a cause. FAIL: users are affected now."""

    FAIL = "fail"
    WARN = "warn"


# As monitoring plugins use it (Monitoring Plugins Development Guidelines, section 2.3).
EXIT_CODES: dict[Status, int] = {Status.OK: 0, Status.WARN: 1, Status.FAIL: 2, Status.UNKNOWN: 3}
