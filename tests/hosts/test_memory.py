"""Memory that runs out in the service's own control group."""

from __future__ import annotations

import pytest

from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long


def test_a_kill_for_memory_names_the_limit(machine: Machine) -> None:
    machine.run("systemctl", "start", "gte-ops-backup.service")
    machine.run(GTE_OPS, "watchdog", "pause", "1h")
    machine.sh(
        "mkdir -p /etc/systemd/system/gte-api.service.d;"
        "printf '[Service]\\nMemoryMax=90M\\n' >/etc/systemd/system/gte-api.service.d/x.conf;"
        "systemctl daemon-reload; systemctl restart gte-api"
    )
    wait_for(
        lambda: (
            machine.run("grep", "-q", "SIGKILL", "/var/log/gte-api/error.log", check=False).returncode == 0
        ),
        "a worker to be killed",
        within=60,
    )
    ran = machine.doctor()
    assert ran.first == "GUN005", ran.codes
    cause = ran.report["causes"][0]
    told = "\n".join((cause["summary"], *cause["fix"]))
    assert "MemoryMax" in told
    assert "gte-api.service" in told
