"""The result of a preflight, which all its reports render."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ops.diagnosis.model import EXIT_CODES, Cause, CheckResult, Diagnosis, Status
from ops.text.language import Text


class ConfirmationState(StrEnum):
    """The outcome of one confirmation."""

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
    """The outcome of one confirmation, its checks, and the causes found."""

    confirmation: PreflightItem
    standing: ConfirmationState
    checks: tuple[CheckResult, ...]
    causes: tuple[Cause, ...]


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
