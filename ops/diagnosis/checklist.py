"""What a preflight is made of: the one thing its reports render."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ops.diagnosis.model import EXIT_CODES, Cause, CheckResult, Diagnosis, Status
from ops.text.language import Text


class ConfirmationState(StrEnum):
    """How one confirmation went."""

    CONFIRMED = "confirmed"
    WARN = "warn"
    FAIL = "fail"
    UNCONFIRMED = "unconfirmed"
    NOT_NEEDED = "not_needed"


class PreflightItem(msgspec.Struct, frozen=True):
    """One thing to confirm: the causes that must not be found. ``codes`` are the catalogue's."""

    id: str
    title: Text
    codes: tuple[str, ...]


class Confirmed(msgspec.Struct, frozen=True):
    """How one confirmation went: its checks, and the causes found."""

    confirmation: PreflightItem
    standing: ConfirmationState
    checks: tuple[CheckResult, ...]
    causes: tuple[Cause, ...]


class Preflight(msgspec.Struct, frozen=True):
    """All confirmations, and the diagnosis they stand on."""

    confirmed: tuple[Confirmed, ...]
    diagnosis: Diagnosis

    @property
    def status(self) -> Status:
        """fail and warn as found; unknown where something could not be confirmed; else ok."""
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
