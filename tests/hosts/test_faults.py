"""Each fault of a unit, on a real host: a client meets it, the doctor names its cause first, and its fix mends it."""

from __future__ import annotations

from typing import Any

import pytest

from ops.diagnosis.checks import CHECKS
from tests.hosts.faults import FAULTS, HostFault
from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long

# What an attempt to mend may last, seconds.
MENDED_WITHIN = 60.0


def told(cause: dict[str, Any]) -> str:
    details = [f"{item['source']} {item['detail']}" for item in cause["evidence"]]
    return "\n".join((cause["summary"], *details, *cause["fix"]))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_first_cause_is_the_fault(machine: Machine, fault: HostFault) -> None:
    # Whoever breaks a unit is not to race with the watchdog, which would repair what it can.
    if not fault.code.startswith("OPS"):
        machine.run(GTE_OPS, "watchdog", "pause", "1h")
    # The backup's timer has not fired yet.
    machine.run("systemctl", "start", "gte-ops-backup.service")
    machine.sh(fault.script, check=False)
    wait_for(
        lambda: machine.run("sh", "-c", fault.until, check=False).returncode == 0, fault.until, within=30
    )
    if fault.users:
        asks = machine.answers_outside if fault.outside else machine.answers
        wait_for(lambda: asks() != 200, "a client to meet the fault", within=30)
    ran = machine.doctor()
    assert ran.codes, ran.stdout
    assert ran.first == fault.code, told(ran.report["causes"][0])
    assert ran.codes == [fault.code]
    cause = ran.report["causes"][0]
    assert cause["severity"] == (fault.severity or ("fail" if fault.users else "warn"))
    assert not [words for words in fault.says if words not in told(cause)], told(cause)
    if fault.mended is None:
        return
    machine.sh(fault.mended, check=False)
    for step in cause["fix"]:
        if step.startswith(("systemctl ", "useradd ", "install -d ", "test -d ", "printf ")):
            machine.sh(step, check=False)
    wait_for(
        lambda: machine.answers("/ready") == 200 and fault.code not in machine.doctor().codes,
        "the fix's own commands to mend it",
        within=MENDED_WITHIN,
        every=1.0,
    )


def test_every_cause_of_a_unit_has_a_fault_here() -> None:
    modules = ("_unit", "_units", "net_filter")
    nameable = {code for check in CHECKS if check.judge.__module__.endswith(modules) for code in check.codes}
    assert nameable <= {fault.code for fault in FAULTS}
