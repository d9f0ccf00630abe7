"""`gte-ops preflight`: what must be true before the service is started, confirmation by confirmation.

The same collectors and judges as the doctor's, of which only those count that can be told without a running service,
and a few for what no process shows yet. Only what was looked at is confirmed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from ops.collect.run import collect
from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checklist import ConfirmationState, Confirmed, Preflight, PreflightItem
from ops.diagnosis.checks import CHECKS, FIRST_START
from ops.diagnosis.engine import diagnose, with_duration
from ops.diagnosis.model import Cause, CheckResult, CheckStatus
from ops.facts.base import NotSeen
from ops.facts.nginx import NginxConfig
from ops.facts.safeguards import Schedule
from ops.facts.snapshot import Snapshot
from ops.facts.status import Severity
from ops.facts.target import Target
from ops.interpret.nginx import names_match
from ops.interpret.schedule import SAFEGUARD_RUNS, WATCHDOG_RUN, jobs_running
from ops.interpret.site import find_site
from ops.settings import Settings
from ops.text.language import Text

# The first four are the deployment guide's own list.
CONFIRMATIONS = (
    PreflightItem(
        "model", Text(en="model files", zh="模型文件"), ("model.directory", "model.access", "model.files")
    ),
    PreflightItem(
        "python",
        Text(en="Python environment", zh="Python 环境"),
        ("env.packages", "env.versions", "env.accelerator"),
    ),
    PreflightItem(
        "nginx",
        Text(en="nginx", zh="nginx"),
        ("nginx.program", "nginx.configuration", "nginx.unit", "net.holder"),
    ),
    PreflightItem(
        "name", Text(en="name and address", zh="域名与地址"), ("dns.resolution", "dns.address", "dns.literal")
    ),
    PreflightItem(
        "site",
        Text(en="nginx's site of the service", zh="服务在 nginx 中的站点"),
        ("nginx.health_location", "nginx.user_agents", "nginx.keepalive", "nginx.limit_status"),
    ),
    PreflightItem(
        "certificate",
        Text(en="certificate and key", zh="证书与私钥"),
        ("tls.first_served", "tls.lines", "tls.order", "tls.files", "tls.key", "tls.renewal"),
    ),
    PreflightItem(
        "unit",
        Text(en="the service's systemd unit", zh="服务的 systemd unit"),
        ("gunicorn.unit_start", "gunicorn.unit_reload"),
    ),
    PreflightItem(
        "start",
        Text(en="what the first start needs", zh="首次启动的条件"),
        (
            "gunicorn.settings",
            "gunicorn.reload",
            "gunicorn.memory",
            "gunicorn.port",
            "gunicorn.recycling",
            "app.server",
            "host.space",
            "host.memory",
            "host.clock",
            "host.open_files",
        ),
    ),
    PreflightItem(
        "safeguards",
        Text(en="rotation, timers and watchdog", zh="日志轮转、定时器与 watchdog"),
        (
            "ops.rotation",
            "ops.timers",
            "ops.timed_services",
            "ops.next_run",
            "ops.watchdog_unit",
            "ops.unit_files",
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
    ids = {name for item in CONFIRMATIONS for name in item.checks}
    checks = tuple(check for check in (*CHECKS, *FIRST_START) if check.id in ids)
    diagnosis = diagnose(snapshot, checks, settings.doctor.ignore)
    # What users meet is no news of a service that is not started yet; and that an older process still serves, which
    # softens some causes for the doctor, does not help the next start.
    causes = tuple(replace(cause, severity=_severity(cause)) for cause in diagnosis.causes)
    diagnosis = replace(diagnosis, symptoms=(), causes=causes)
    codes = {check.id: set(check.codes) for check in checks}
    confirmed: list[Confirmed] = []
    for item in CONFIRMATIONS:
        results = tuple(result for result in diagnosis.checks if result.id in item.checks)
        own_codes = set[str]().union(*(codes[name] for name in item.checks))
        # What only follows from another confirmation's cause is not confirmed either.
        own_causes = tuple(cause for cause in causes if own_codes & {cause.code, *cause.explains})
        nothing = _NOTHING_OF[item.id](snapshot, settings) if item.id in _NOTHING_OF else None
        confirmed.append(_confirmed(item, results, own_causes, nothing))
    result = Preflight(tuple(confirmed), diagnosis)
    return replace(result, diagnosis=replace(diagnosis, status=result.status))


def _severity(cause: Cause) -> Severity:
    """The catalogue's, or what the judge said if that is worse."""
    usual = catalogue().entry(cause.code).severity
    return Severity.FAIL if Severity.FAIL in (usual, cause.severity) else usual


def _confirmed(
    item: PreflightItem, checks: tuple[CheckResult, ...], causes: tuple[Cause, ...], nothing: _Nothing | None
) -> Confirmed:
    """Confirmed only if every check was made for which there is something to judge, and one at least."""
    severities = {cause.severity for cause in causes}
    state, because = ConfirmationState.CONFIRMED, None
    if Severity.FAIL in severities:
        state = ConfirmationState.FAIL
    elif any(check.is_gap for check in checks):
        state = ConfirmationState.UNCONFIRMED
    elif Severity.WARN in severities:
        state = ConfirmationState.WARN
    elif nothing is not None:
        state, because = nothing.state, nothing.because
    elif all(check.status is CheckStatus.SKIP for check in checks):
        state = ConfirmationState.UNCONFIRMED
    return Confirmed(item, state, checks, causes, because)


class _Nothing(NamedTuple):
    """Why there is nothing to confirm."""

    because: Text
    state: ConfirmationState = ConfirmationState.ABSENT


# --- what is not there yet -------------------------------------------------------------------------------------------


def _no_model(_: Snapshot, settings: Settings) -> _Nothing | None:
    if settings.model.dir is not None:
        return None
    return _Nothing(
        Text(en="no model directory is configured", zh="没有配置模型目录"), ConfirmationState.NOT_NEEDED
    )


def _no_site(snapshot: Snapshot, _: Settings) -> _Nothing | None:
    config, target = snapshot.nginx_config, snapshot.target
    if not isinstance(config, NginxConfig) or not isinstance(target, Target):
        return None
    site = find_site(config, target.domain, target.backend)
    if site is not None and (
        names_match(site.server, target.domain)
        or any(target.backend in place.addresses for place in site.passes)
    ):
        return None
    return _Nothing(
        Text(
            en=f"no server block of nginx's is for {target.domain} or leads to {target.backend}",
            zh=f"nginx 没有用于 {target.domain} 或转发到 {target.backend} 的 server 块",
        )
    )


def _no_certificate(snapshot: Snapshot, _: Settings) -> _Nothing | None:
    target = snapshot.target
    if not isinstance(target, Target) or (target.certificate and target.origin.get("certificate") != "guide"):
        return None
    return _Nothing(
        Text(
            en="neither gte-ops.toml nor nginx's site names a certificate",
            zh="gte-ops.toml 和 nginx 站点都没有指定证书",
        )
    )


def _no_unit(snapshot: Snapshot, _: Settings) -> _Nothing | None:
    units = snapshot.units
    if isinstance(units, NotSeen):
        return None
    own = units.unit(units.service)
    if own is not None and (own.load != "not-found" or own.references):
        return None
    if own is None:
        return _Nothing(
            Text(en="systemd does not run here", zh="此处没有运行 systemd"), ConfirmationState.NOT_NEEDED
        )
    return _Nothing(Text(en=f"systemd has no {own.name}", zh=f"systemd 没有 {own.name}"))


def _no_safeguards(snapshot: Snapshot, _: Settings) -> _Nothing | None:
    units, schedule = snapshot.units, snapshot.schedule
    if isinstance(units, NotSeen) or not isinstance(schedule, Schedule):
        return None
    own = {*SAFEGUARD_RUNS} - {"logrotate.timer"} | {units.watchdog}
    if any(unit.name in own and unit.load != "not-found" for unit in units.units):
        return None
    patterns = (WATCHDOG_RUN, *(run for name, run in SAFEGUARD_RUNS.items() if name in own))
    if any(any(jobs_running(schedule, each, has_systemd=bool(units.units))) for each in patterns):
        return None
    return _Nothing(
        Text(
            en="no timer, cron entry or unit of gte-ops is installed",
            zh="没有安装 gte-ops 的定时器、cron 条目或 unit",
        )
    )


_NOTHING_OF: dict[str, Callable[[Snapshot, Settings], _Nothing | None]] = {
    "model": _no_model,
    "site": _no_site,
    "certificate": _no_certificate,
    "unit": _no_unit,
    "safeguards": _no_safeguards,
}
