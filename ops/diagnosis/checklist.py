"""The result of a preflight, which all its reports render."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ops.diagnosis.model import EXIT_CODES, Cause, CheckResult, Diagnosis, Status
from ops.text.language import Text


class ConfirmationState(StrEnum):
    """The outcome of one confirmation. ABSENT: what it is about is not on this host yet."""

    CONFIRMED = "confirmed"
    WARN = "warn"
    FAIL = "fail"
    UNCONFIRMED = "unconfirmed"
    NOT_NEEDED = "not_needed"
    ABSENT = "absent"


class PreflightItem(msgspec.Struct, frozen=True):
    """One thing to confirm: the checks that must find nothing, by their ids."""

    id: str
    title: Text
    checks: tuple[str, ...]


class Confirmed(msgspec.Struct, frozen=True):
    """The outcome of one confirmation, its checks, and the causes found. ``because``: why there is nothing to
    confirm."""

    confirmation: PreflightItem
    standing: ConfirmationState
    checks: tuple[CheckResult, ...]
    causes: tuple[Cause, ...]
    because: Text | None = None


class Preflight(msgspec.Struct, frozen=True):
    """All confirmations, and the diagnosis that they are based on."""

    confirmed: tuple[Confirmed, ...]
    diagnosis: Diagnosis

    @property
    def status(self) -> Status:
        """fail if anything failed, else unknown if something could not be confirmed, else warn or ok."""
        standings = {item.standing for item in self.confirmed}
        if ConfirmationState.FAIL in standings:
            return Status.FAIL
        if ConfirmationState.UNCONFIRMED in standings:
            return Status.UNKNOWN
        return Status.WARN if ConfirmationState.WARN in standings else Status.OK

    @property
    def exit_code(self) -> int:
        """The process's exit code."""
        return EXIT_CODES[self.status]
