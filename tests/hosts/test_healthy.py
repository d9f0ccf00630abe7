"""A host laid out by docs/deployment.md, in each of the layouts that systemd allows: the doctor has nothing to say."""

from __future__ import annotations

import pytest

from tests.hosts.machine import GTE_OPS, Machine

# Seconds that asking systemd may cost on a healthy host.
UNITS_SECONDS = 0.5

pytestmark = pytest.mark.long


def test_no_unit_fails_and_the_doctor_is_green(machine: Machine) -> None:
    machine.run(GTE_OPS, "backup", "create")
    told = machine.doctor()
    assert told.codes == [], told.stdout
    assert told.exit_code == 0, told.stdout
    assert "0 loaded units" in machine.sh("systemctl --failed")
