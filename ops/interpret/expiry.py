"""Judge how near a certificate's end is, relative to its lifetime: 200 days, 90, 45 or six.

Fixed numbers of days are false alarms for short certificates and too late for long ones. The marks here are shares of
the lifetime, bounded in days; renewal is due at a third of it (half under ten days), as in certbot since 4.0.
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
# A shorter lifetime has its own shares: on a long lifetime they would give false alarms.
SHORT_LIFETIME = 10 * DAY
# The last day is an emergency, unless the lifetime is so short that one day is a normal margin.
LAST_DAY = DAY
LAST_DAY_COUNTS_ABOVE = 4 * DAY
MOST_WARNING = 30 * DAY
# Renewal that failed this often since it was due is broken, even if much time is left.
FAILED_TRIES = 2


class Limits(msgspec.Struct, frozen=True):
    """An operator's limits for some names, in place of the rule; None keeps the rule."""

    warn: Margin | None = None
    fail: Margin | None = None


NO_LIMITS = Limits()


def rules_of(thresholds: Iterable[TlsThreshold]) -> tuple[ExpiryRule, ...]:
    """Return the settings' thresholds as facts."""
    return tuple(
        ExpiryRule(names=rule.names, warn=_margin(rule.warn), fail=_margin(rule.fail)) for rule in thresholds
    )


def _margin(text: str | None) -> Margin | None:
    return None if text is None else parse_margin(text)


def limits_for(names: Iterable[str], rules: Iterable[ExpiryRule]) -> Limits:
    """Return the limits of the first rule with a pattern that matches one of ``names``; else empty limits."""
    lowered = [name.lower() for name in names]
    for rule in rules:
        if any(fnmatch.fnmatchcase(name, pattern.lower()) for name in lowered for pattern in rule.names):
            return Limits(rule.warn, rule.fail)
    return Limits()


class Marks(msgspec.Struct, frozen=True):
    """Seconds before the end at which renewal is due, and at which each stage begins."""

    due: float
    warn: float
    fail: float
    page: float


class Expiry(msgspec.Struct, frozen=True):
    """A certificate's stage. ``left``: seconds, negative after the end; ``share``: of the lifetime, 0 to 1; ``due_at``:
    when renewal is due, Unix seconds; ``failing``: since then, renewal failed `FAILED_TRIES` times or more."""

    stage: ExpiryStage
    left: float
    lifetime: float
    share: float
    marks: Marks
    due_at: float
    failing: bool = False

    @property
    def severity(self) -> Severity | None:
        """The severity; None for ``due``, because renewal still has time, and for ``ok``."""
        if self.stage in (ExpiryStage.OK, ExpiryStage.DUE):
            return None
        return Severity.WARN if self.stage == ExpiryStage.WARN else Severity.FAIL


def marks_of(lifetime: float, limits: Limits = NO_LIMITS, due: float | None = None) -> Marks:
    """Return the marks for a lifetime in seconds. ``due``: the mark for renewal, if another rule determines it."""
    short = lifetime < SHORT_LIFETIME
    warn = 0.35 * lifetime if short else min(0.25 * lifetime, MOST_WARNING)
    if limits.warn is not None:
        warn = limits.warn.of(lifetime)
    page = LAST_DAY if lifetime > LAST_DAY_COUNTS_ABOVE else 0.10 * lifetime
    if limits.fail is not None:
        fail = limits.fail.of(lifetime)
    else:
        # A tenth of ten years is no emergency: a failure must not come before the warning.
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
    """Judge a certificate valid from ``not_before`` to ``not_after`` at ``now`` (Unix seconds).

    ``failed_since_due``: the number of attempts to renew it that failed since renewal was due."""
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
