"""The safeguards' systemd units: timers, the services they start, the watchdog's own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.safeguards import BootService, CronEntry, WatchdogFacts
from ops.facts.snapshot import Snapshot
from ops.facts.units import UnwritablePlace
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import HEALTHY, NOW, but, unit, units

STOPPED: dict[str, Any] = {"active": "inactive", "sub": "dead"}
DENIED = UnwritablePlace(path="/srv/backups", setting="ProtectSystem=strict", is_directory=True)
FAILED: dict[str, Any] = {"active": "failed", "sub": "failed", "result": "exit-code", "status": 1}
BY_CRON = CronEntry(
    file="/etc/cron.d/backup", line=3, when="0 3 * * *", user="root", command="gte-ops backup create"
)


def changed(name: str, **changes: Any) -> Snapshot:
    return but(units=units(unit(name, **changes)))


def backed_up_by_cron(**changes: Any) -> Snapshot:
    snapshot = changed("gte-ops-backup.timer", **changes)
    return but(snapshot, schedule__cron=(*snapshot.schedule.cron, BY_CRON))


def encrypted(**drill: Any) -> Snapshot:
    backup = msgspec.structs.replace(HEALTHY.backups.backups[0], path="/var/backups/gte-ops/a.tar.zst.age")
    return but(changed("gte-ops-drill.timer", **drill), backups__backups=(backup,))


CASES = [
    fires("OPS009", "enabled, but stopped", changed("gte-ops-backup.timer", **STOPPED), severity="warn"),
    fires("OPS009", "not enabled", changed("gte-ops-backup.timer", **STOPPED, file_state="disabled")),
    fires("OPS009", "masked", changed("logrotate.timer", load="masked", **STOPPED)),
    fires("OPS009", "certbot's, whose certificate is served", changed("certbot.timer", **STOPPED)),
    quiet("OPS009", "certbot's that is disabled is another cause", changed(
        "certbot.timer", **STOPPED, file_state="disabled"
    )),
    quiet("OPS009", "certbot's, where the certificate is not certbot's", but(
        changed("certbot.timer", **STOPPED), target__certificate="/etc/ssl/own.pem"
    )),
    quiet("OPS009", "cron does the same", backed_up_by_cron(**STOPPED)),
    fires("OPS009", "the drill's", changed("gte-ops-drill.timer", **STOPPED, file_state="disabled")),
    quiet("OPS009", "the drill's, which could not open an encrypted backup", encrypted(
        **STOPPED, file_state="disabled"
    )),
    fires("OPS009", "the drill's, enabled by somebody and stopped", encrypted(**STOPPED)),
    quiet("OPS009", "every timer waits", but(units=units())),
    fires("OPS010", "the backup fails", changed("gte-ops-backup.service", **FAILED), severity="warn"),
    fires("OPS010", "its file is not understood", changed("gte-ops-backup.service", load="bad-setting", **STOPPED)),
    quiet("OPS010", "it runs just now", changed("gte-ops-backup.service", active="activating", sub="start")),
    quiet("OPS010", "another service of the host fails", changed("apache2.service", **FAILED)),
    fires("OPS013", "its sandbox forbids the backups' directory", changed(
        "gte-ops-backup.service", **STOPPED, unwritable=(DENIED,)
    ), "ProtectSystem=strict", severity="warn"),
    fires("OPS013", "a condition of it is not met", changed(
        "gte-ops-backup.service", **STOPPED, unmet=("ConditionPathExists=/srv/x",)
    )),
    fires("OPS013", "its program is gone", changed(
        "gte-ops-backup.service", **STOPPED, program_error="no such file or directory"
    )),
    quiet("OPS013", "it has failed of that already", changed("gte-ops-backup.service", **FAILED, unwritable=(DENIED,))),
    quiet("OPS013", "it can do its task", changed("gte-ops-backup.service", **STOPPED)),
    fires("OPS011", "failed", changed("gte-ops-watchdog.service", **FAILED), severity="warn"),
    fires("OPS011", "restarting for ever", changed(
        "gte-ops-watchdog.service", active="activating", sub="auto-restart", result="exit-code", status=64
    )),
    fires("OPS011", "masked", changed("gte-ops-watchdog.service", load="masked", **STOPPED)),
    quiet("OPS011", "stopped in order", changed("gte-ops-watchdog.service", **STOPPED)),
    fires("OPS012", "a timer's file has changed", changed("gte-ops-backup.timer", needs_reload=True)),
    quiet("OPS012", "a masked timer with a drop-in", changed(
        "logrotate.timer", load="masked", **STOPPED, needs_reload=True
    )),
    quiet("OPS012", "the service's own is another cause", changed("gte-api.service", needs_reload=True)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_a_watchdog_that_systemd_does_not_keep_up_counts_as_absent() -> None:
    state = WatchdogFacts(
        path="/var/lib/gte-ops/watchdog.json", last_round=NOW - 20, gave_up=False, actions=0
    )
    service = BootService(
        name="gte-ops-watchdog.service",
        file="/etc/systemd/system/gte-ops-watchdog.service",
        commands=("gte-ops watchdog",),
    )
    watched = but(schedule__cron=(), schedule__services=(service,), watchdog=state, units=units())
    at_boot = but(watched, units=units(unit("gte-ops-watchdog.service", **STOPPED)))
    assert "OPS006" not in found(watched)
    assert "OPS006" in found(at_boot)
