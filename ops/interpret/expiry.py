"""How near a certificate's end is, by its own lifetime: 200 days, 90, 45 and six are each judged sensibly.

Fixed numbers of days cry wolf over short certificates and wake too late for long ones. The marks here are shares of the
lifetime, bounded in days; renewal is due at a third of it (half under ten days), as certbot does it since 4.0.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

import msgspec

from ops.facts.certificates import ExpiryStage
from ops.facts.status import Severity
from ops.facts.target import ExpiryRule
from ops.settings import TlsThreshold
from ops.text.duration import Margin, parse_margin

HOUR = 3600.0
DAY = 24 * HOUR
# Below this a lifetime is short: shares count that would be noise on a long one.
SHORT_LIFETIME = 10 * DAY
# Nobody sleeps through the last day, unless a day is an ordinary part of so short a life.
LAST_DAY = DAY
LAST_DAY_COUNTS_ABOVE = 4 * DAY
MOST_WARNING = 30 * DAY
# Renewal that failed this often since it was due is broken, however much time is left.
FAILED_TRIES = 2


class Limits(msgspec.Struct, frozen=True):
    """What an operator set for some names in place of the rule; None leaves the rule in force."""

    warn: Margin | None = None
    fail: Margin | None = None


NO_LIMITS = Limits()


def rules_of(thresholds: Iterable[TlsThreshold]) -> tuple[ExpiryRule, ...]:
    """The settings' thresholds as facts."""
    return tuple(
        ExpiryRule(names=rule.names, warn=_margin(rule.warn), fail=_margin(rule.fail)) for rule in thresholds
    )


def _margin(written: str | None) -> Margin | None:
    return None if written is None else parse_margin(written)


def limits_for(names: Iterable[str], rules: Iterable[ExpiryRule]) -> Limits:
    """The limits of the first rule one of whose patterns matches one of ``names``; none where no rule does."""
    known = [name.lower() for name in names]
    for rule in rules:
        if any(fnmatch.fnmatchcase(name, pattern.lower()) for name in known for pattern in rule.names):
            return Limits(rule.warn, rule.fail)
    return Limits()


class Marks(msgspec.Struct, frozen=True):
    """Seconds before the end at which renewal is due, and at which each stage begins."""

    due: float
    warn: float
    fail: float
    page: float


class Expiry(msgspec.Struct, frozen=True):
    """Where a certificate stands. ``left`` is negative after the end; ``share``: of the lifetime, 0 to 1;
    ``due_at``: when renewal was or will be due, Unix seconds; ``failing``: renewal was tried in vain since."""

    stage: ExpiryStage
    left: float
    lifetime: float
    share: float
    marks: Marks
    due_at: float
    failing: bool = False

    @property
    def severity(self) -> Severity | None:
        """How grave it is: ``due`` alone is none, the rest of the time belongs to renewal."""
        if self.stage in (ExpiryStage.OK, ExpiryStage.DUE):
            return None
        return Severity.WARN if self.stage == ExpiryStage.WARN else Severity.FAIL


def marks_of(lifetime: float, limits: Limits = NO_LIMITS, due: float | None = None) -> Marks:
    """The marks of a certificate that lives ``lifetime`` seconds. ``due``: where its renewal begins by another rule."""
    short = lifetime < SHORT_LIFETIME
    warn = 0.35 * lifetime if short else min(0.25 * lifetime, MOST_WARNING)
    if limits.warn is not None:
        warn = limits.warn.of(lifetime)
    page = LAST_DAY if lifetime > LAST_DAY_COUNTS_ABOVE else 0.10 * lifetime
    if limits.fail is not None:
        fail = limits.fail.of(lifetime)
    else:
        # A tenth of ten years is no emergency: nothing is grave before it is worth a warning.
        fail = min(max(page, (0.15 if short else 0.10) * lifetime), warn)
    return Marks(
        due=due if due is not None else lifetime / (2 if short else 3),
        warn=max(warn, fail),
        fail=fail,
        page=min(page, fail),
    )


def expiry(
    not_before: float,
    not_after: float,
    now: float,
    *,
    limits: Limits = NO_LIMITS,
    due: float | None = None,
    failed_since_due: int = 0,
) -> Expiry:
    """Where a certificate valid from ``not_before`` to ``not_after`` stands at ``now`` (Unix seconds).

    ``failed_since_due``: attempts to renew it that failed since renewal was due."""
    lifetime, left = not_after - not_before, not_after - now
    marks = marks_of(lifetime, limits, due)
    failing = failed_since_due >= FAILED_TRIES and left < marks.due
    stage = ExpiryStage.OK
    if now < not_before:
        stage = ExpiryStage.NOT_YET
    elif left < 0:
        stage = ExpiryStage.EXPIRED
    elif left < marks.page:
        stage = ExpiryStage.PAGE
    elif left < marks.fail:
        stage = ExpiryStage.FAIL
    elif left < marks.warn or failing:
        stage = ExpiryStage.WARN
    elif left < marks.due:
        stage = ExpiryStage.DUE
    return Expiry(
        stage=stage,
        left=left,
        lifetime=lifetime,
        share=min(1.0, max(0.0, left / lifetime)) if lifetime > 0 else 0.0,
        marks=marks,
        due_at=not_after - marks.due,
        failing=failing,
    )
