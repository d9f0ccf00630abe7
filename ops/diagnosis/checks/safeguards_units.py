"""Judges of the safeguards' systemd units: timers that do not run, services that fail, files that are not in force."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

from ops.diagnosis.checks.gunicorn_unit import steps_to_allow, unit_evidence, unwritable_words
from ops.diagnosis.checks.nginx_unit import FAULT_WORDS, fault_words
from ops.diagnosis.finding import Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Host
from ops.facts.safeguards import Backups, Schedule
from ops.facts.target import Target
from ops.facts.units import Unit, Units
from ops.interpret.balancer import is_balancer
from ops.interpret.schedule import SAFEGUARD_RUNS, jobs_running
from ops.interpret.units import is_up, last_words, stale_units, start_obstacle, state_words
from ops.text.language import Text, verbatim

# What they start saves and restores the service.
_DRILL = "gte-ops-drill.timer"
_OF_SERVICE = ("gte-ops-backup.timer", _DRILL)
_CERTBOTS = ("certbot.timer", "certbot-renew.timer", "snap.certbot.renew.timer")


@check("ops.timers", "OPS009", en="the safeguards' timers run", zh="各项保障的定时器都在运行")
def timers(
    units: Units, schedule: Schedule | NotSeen, host: Host, target: Target, backups: Backups | NotSeen
) -> Iterator[Finding]:
    """OPS009: a timer is installed and not active: enabled but stopped, disabled, or masked. Quiet where another
    schedule does the same; certbot's timer that is not enabled is TLS011's. A balancer needs no backup of a service,
    and what is encrypted cannot be drilled without the identity, which is kept elsewhere."""
    for timer in units.units:
        if not timer.name.endswith(".timer") or timer.active in ("active", "activating"):
            continue
        if timer.load not in ("loaded", "masked") or not _is_wanted(timer, target):
            continue
        if timer.name in _OF_SERVICE and not _is_enabled(timer) and is_balancer(target, host):
            continue
        if timer.name == _DRILL and not _is_enabled(timer) and _is_encrypted(backups):
            continue
        pattern = SAFEGUARD_RUNS.get(timer.name)
        if pattern is not None and isinstance(schedule, Schedule):
            others = (
                job
                for job in jobs_running(schedule, pattern, has_systemd=host.has_systemd)
                if job.idle is None and job.where != timer.name
            )
            if any(others):
                continue
        name = shlex.quote(timer.name)
        unmask = (verbatim(f"systemctl unmask {name}"),) if timer.load == "masked" else ()
        yield Finding(
            "OPS009",
            (quote(f"systemctl show {timer.name}", state_words(timer)),),
            {"unit": timer.name, "state": _state(timer)},
            fix=(*unmask, verbatim(f"systemctl enable --now {name}")),
        )


def _is_encrypted(backups: Backups | NotSeen) -> bool:
    """Whether the newest backup is encrypted, by its name."""
    return isinstance(backups, Backups) and bool(backups.backups) and backups.backups[0].path.endswith(".age")


def _is_wanted(timer: Unit, target: Target) -> bool:
    """Whether this host needs the timer: certbot's only for a certificate of certbot's, and only if it is enabled."""
    if timer.name not in _CERTBOTS:
        return True
    is_certbots = bool(target.certificate) and PurePosixPath(target.certificate or "/").is_relative_to(
        target.letsencrypt_dir
    )
    return is_certbots and _is_enabled(timer)


def _is_enabled(timer: Unit) -> bool:
    return timer.file_state.startswith("enabled")


def _state(timer: Unit) -> Text:
    if timer.load == "masked":
        return Text(en="masked", zh="已被屏蔽（masked）")
    if timer.active == "failed":
        return Text(en="failed", zh="已失败")
    if _is_enabled(timer):
        return Text(en="enabled, but stopped", zh="已启用但被停止")
    return Text(en="neither enabled nor started", zh="既未启用也未启动")


@check(
    "ops.timed_services",
    "OPS010",
    en="the services of the timers succeed",
    zh="定时器启动的服务都执行成功",
)
def timed_services(units: Units) -> Iterator[Finding]:
    """OPS010: the service that a safeguard's timer starts has failed in its last run."""
    started = {name for timer in units.units for name in timer.triggers if timer.name.endswith(".timer")}
    known = {
        unit.name.removesuffix(".timer") + ".service" for unit in units.units if unit.name.endswith(".timer")
    }
    for service in units.units:
        if service.name not in (started | known) or service.name in (
            units.service,
            units.nginx,
            units.watchdog,
        ):
            continue
        has_failed = service.active == "failed" or (service.result != "success" and not is_up(service))
        if service.load in ("loaded", "bad-setting", "error") and (has_failed or service.load != "loaded"):
            name = shlex.quote(service.name)
            yield Finding(
                "OPS010",
                unit_evidence(service),
                {"unit": service.name, "words": last_words(service) or state_words(service)},
                fix=(
                    verbatim(f"journalctl -u {name} -n 40 --no-pager"),
                    Text(
                        en=f"Fix the error of the last run of {service.name}",
                        zh=f"按 {service.name} 上次运行的报错修正",
                    ),
                    verbatim(f"systemctl start {name}"),
                ),
            )


@check(
    "ops.next_run",
    "OPS013",
    en="the services of the timers can run the next time",
    zh="定时器启动的服务下次能够运行",
)
def next_run(units: Units) -> Iterator[Finding]:
    """OPS013: the service of a safeguard's timer has not failed yet, and will at its next run: systemd cannot start it,
    or skips it, or its sandbox forbids it to write what it is there to write."""
    for timer in units.units:
        service = units.unit(timer.name.removesuffix(".timer") + ".service")
        if not timer.name.endswith(".timer") or service is None or service.load != "loaded":
            continue
        if service.active == "failed" or service.result != "success" or is_up(service):
            continue
        fault = start_obstacle(service)
        reason = fault_words(service, fault) if fault in FAULT_WORDS and fault else None
        steps: tuple[str | Text, ...] = (
            verbatim(f"systemctl cat {shlex.quote(service.name)}"),
            Text(en=f"Correct {service.file or service.name}", zh=f"改正 {service.file or service.name}"),
        )
        if reason is None and service.unwritable:
            reason, steps = unwritable_words(service.unwritable), steps_to_allow(service, service.unwritable)
        if reason is not None:
            yield Finding(
                "OPS013",
                (
                    quote(f"systemctl show {service.name}", state_words(service)),
                    *(quote(place.path, place.setting) for place in service.unwritable[:3]),
                ),
                {"unit": service.name, "reason": reason},
                fix=(
                    *steps,
                    verbatim("systemctl daemon-reload"),
                    verbatim(f"systemctl start {shlex.quote(service.name)}"),
                ),
            )


@check("ops.watchdog_unit", "OPS011", en="the watchdog's own unit runs", zh="watchdog 自己的 unit 在运行")
def watchdog_unit(units: Units) -> Iterator[Finding]:
    """OPS011: the watchdog's unit is installed and does not work: failed, restarting, masked, or its file not read."""
    own = units.unit(units.watchdog)
    if own is None or own.load == "not-found":
        return
    is_broken = own.load != "loaded" or own.active == "failed" or own.sub.startswith("auto-restart")
    if not is_broken:
        return
    name = shlex.quote(own.name)
    first: tuple[str | Text, ...] = (
        verbatim(f"journalctl -u {name} -n 40 --no-pager"),
        Text(en="Fix the error that it reports", zh="按其中的报错修正"),
    )
    if own.load == "masked":
        first = (verbatim(f"systemctl unmask {name}"),)
    yield Finding(
        "OPS011",
        unit_evidence(own),
        {"unit": own.name, "words": last_words(own) or state_words(own)},
        fix=(*first, verbatim(f"systemctl restart {name}")),
    )


@check(
    "ops.unit_files",
    "OPS012",
    en="systemd has read the units as they are on disk",
    zh="systemd 已读取磁盘上当前的 unit",
)
def unit_files(units: Units) -> Iterator[Finding]:
    """OPS012: the file or a drop-in of nginx's or a safeguard's unit has changed since systemd read it."""
    for unit in stale_units(units):
        if unit.name != units.service:
            files = ", ".join((unit.file, *unit.drop_ins)) if unit.file else unit.name
            yield Finding(
                "OPS012",
                (quote(f"systemctl show {unit.name}", f"NeedDaemonReload=yes: {files}"),),
                {"unit": unit.name},
            )


CHECKS = (timers, timed_services, next_run, watchdog_unit, unit_files)
