"""`gte-ops preflight`: what must be true before the service is started, confirmation by confirmation.

The same collectors and judges as the doctor's, of which only those count that can be told without a running service."""

from __future__ import annotations

import time
from collections.abc import Iterable

from msgspec.structs import replace

from ops.collect.run import collect
from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checklist import ConfirmationState, Confirmed, Preflight, PreflightItem
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose, with_duration
from ops.diagnosis.model import Cause, CheckResult, CheckStatus, Diagnosis
from ops.doctor import chosen_checks
from ops.facts.snapshot import Snapshot
from ops.facts.status import Severity
from ops.settings import Settings
from ops.text.language import Text

# The first four are the deployment guide's own list.
CONFIRMATIONS = (
    PreflightItem(
        "model",
        Text(en="model files", zh="模型文件"),
        ("MOD001", "MOD002", "MOD003", "MOD004", "MOD005"),
    ),
    PreflightItem("python", Text(en="Python environment", zh="Python 环境"), ("ENV001", "ENV002", "ENV003")),
    PreflightItem(
        "nginx",
        Text(en="nginx and its certificate", zh="nginx 及其证书"),
        ("NGX001", "NGX003", "NGX006", "NGX010", "NGX017", "NGX018", "TLS007", "TLS010", "TLS011", "TLS012"),
    ),
    PreflightItem("name", Text(en="name and address", zh="域名与地址"), ("DNS001", "DNS002", "DNS003")),
    PreflightItem(
        "start",
        Text(en="what the first start needs", zh="首次启动的条件"),
        (
            "GUN008",
            "GUN009",
            "GUN010",
            "GUN012",
            "GUN013",
            "APP006",
            "HST001",
            "HST002",
            "HST003",
            "HST004",
            "OPS001",
        ),
    ),
)


def preflight(settings: Settings, budget: float) -> Preflight:
    """Look at this host. ``budget``: the whole run's length (seconds)."""
    started = time.monotonic()
    snapshot = collect(settings, settings.doctor.since, budget)
    result = confirm(snapshot, settings)
    return replace(result, diagnosis=with_duration(result.diagnosis, time.monotonic() - started))


def confirm(snapshot: Snapshot, settings: Settings) -> Preflight:
    """Every confirmation on ``snapshot``."""
    judged_codes = {code for check in CHECKS for code in check.codes}
    codes = [code for item in CONFIRMATIONS for code in item.codes if code in judged_codes]
    diagnosis = diagnose(snapshot, chosen_checks(codes, ()), settings.doctor.ignore)
    # What users meet is no news of a service that is not started yet; and that an older process still serves, which
    # softens some causes for the doctor, does not help the next start.
    causes = tuple(replace(c, severity=catalogue().entry(c.code).severity) for c in diagnosis.causes)
    diagnosis = replace(diagnosis, symptoms=(), causes=causes)
    needs_model = settings.model.dir is not None
    confirmed = tuple(_confirmed(item, diagnosis, needs_model=needs_model) for item in CONFIRMATIONS)
    result = Preflight(confirmed, diagnosis)
    return replace(result, diagnosis=replace(diagnosis, status=result.status))


def _confirmed(item: PreflightItem, diagnosis: Diagnosis, *, needs_model: bool) -> Confirmed:
    ids = {check.id for check in CHECKS if set(check.codes) & set(item.codes)}
    checks = tuple(check for check in diagnosis.checks if check.id in ids)
    causes = tuple(cause for cause in diagnosis.causes if cause.code in item.codes)
    return Confirmed(item, _standing(item, checks, causes, needs_model=needs_model), checks, causes)


def _standing(
    item: PreflightItem, checks: Iterable[CheckResult], causes: Iterable[Cause], *, needs_model: bool
) -> ConfirmationState:
    severities = {cause.severity for cause in causes}
    if Severity.FAIL in severities:
        return ConfirmationState.FAIL
    statuses = {check.status for check in checks}
    if statuses <= {CheckStatus.SKIP} and item.id == "model" and not needs_model:
        return ConfirmationState.NOT_NEEDED
    if CheckStatus.ERROR in statuses or statuses <= {CheckStatus.SKIP}:
        return ConfirmationState.UNCONFIRMED
    return ConfirmationState.WARN if Severity.WARN in severities else ConfirmationState.CONFIRMED
