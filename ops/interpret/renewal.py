"""Find the jobs that renew certbot's certificates, the rule for when they are due, and past attempts."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import msgspec

from ops.facts.base import NotSeen
from ops.facts.certificates import CertbotRuns, Lineage, Lineages, RenewalAttempt, RenewalOutcome
from ops.facts.safeguards import Schedule
from ops.interpret.expiry import DAY, SHORT_LIFETIME
from ops.interpret.schedule import Job, jobs_running

# The path of an authority's challenges (RFC 8555, 8.3), and the prefix of the doctor's own requests for one.
CHALLENGE_PATH = "/.well-known/acme-challenge/"
OWN_CHALLENGE = f"{CHALLENGE_PATH}gte-ops-"

# certbot before 4.0 renews this long before the end, whatever the lifetime (its renew_before_expiry).
FIXED_INTERVAL = 30 * DAY
FOLLOWS_LIFETIME_SINCE = (4, 0)

# Commands that renew: certbot's own subcommands, its snap and image, and scripts with such a name.
RENEWS = re.compile(
    r"\bcertbot(?:-auto)?\b[^;|&\n]*\b(?:renew|certonly|run)\b"
    r"|\bcertbot\.renew\b"
    r"|\bletsencrypt(?:-auto)?\b[^;|&\n]*\brenew\b"
    r"|\brenew[-_]?(?:cert|ssl|tls|letsencrypt)|(?:cert|certs|certificate|certificates|ssl|tls|letsencrypt)[-_]?renew",
    re.IGNORECASE,
)


def lineage_of(path: str, real_path: str, lineages: Lineages) -> Lineage | None:
    """Return the lineage of a certificate file, by its configured or its resolved path; None if it has none."""
    for lineage in lineages.lineages:
        archive = str(PurePosixPath(lineages.directory) / "archive" / lineage.name) + "/"
        if path.startswith(lineage.live + "/") or real_path.startswith(archive):
            return lineage
    return None


def renewers(schedule: Schedule, *, has_systemd: bool) -> tuple[Job, ...]:
    """Return all scheduled jobs that run renewal; those that do nothing here have the reason in ``idle``."""
    return tuple(jobs_running(schedule, RENEWS, has_systemd=has_systemd))


class CertbotRule(msgspec.Struct, frozen=True):
    """When certbot renews a lineage. ``before_end``: seconds before its end; ``too_old``: that is the lifetime or more,
    so certbot renews at every run; ``wasteful``: it renews while more than half of the lifetime is left."""

    version: str | None
    before_end: float
    too_old: bool
    wasteful: bool


def certbot_rule(lineage: Lineage, lifetime: float, runs: CertbotRuns | NotSeen) -> CertbotRule:
    """Return the rule for ``lineage``, from its renewal configuration and the version of certbot that ran last."""
    last = runs.version if isinstance(runs, CertbotRuns) else None
    version = last or lineage.renewal.version
    ours = lifetime / (2 if lifetime < SHORT_LIFETIME else 3)
    if lineage.renewal.renew_before is not None:
        before = lineage.renewal.renew_before
    else:
        before = FIXED_INTERVAL if _is_before_4(version) else ours
    return CertbotRule(
        version=version,
        before_end=before,
        too_old=before >= lifetime,
        wasteful=lifetime / 2 < before < lifetime,
    )


def _is_before_4(version: str | None) -> bool:
    numbers = re.findall(r"\d{1,6}", version or "")
    return bool(numbers) and tuple(int(number) for number in numbers[:2]) < FOLLOWS_LIFETIME_SINCE


def attempts_of(lineage: Lineage, runs: CertbotRuns | NotSeen) -> tuple[RenewalAttempt, ...]:
    """Return certbot's attempts for ``lineage``, oldest first."""
    if isinstance(runs, NotSeen):
        return ()
    return tuple(attempt for attempt in runs.attempts if attempt.lineage == lineage.name)


def failures_since(
    lineage: Lineage, runs: CertbotRuns | NotSeen, moment: float
) -> tuple[RenewalAttempt, ...]:
    """Return the attempts to renew ``lineage`` that failed since ``moment`` and since its last success."""
    failed: list[RenewalAttempt] = []
    for attempt in attempts_of(lineage, runs):
        if attempt.outcome == RenewalOutcome.RENEWED:
            failed.clear()
        elif attempt.outcome == RenewalOutcome.FAILED and attempt.time >= moment:
            failed.append(attempt)
    return tuple(failed)
