"""A host laid out by docs/deployment.md, in each of the layouts that systemd allows: the doctor has nothing to say."""

from __future__ import annotations

import pytest

from tests.hosts.machine import GTE_OPS, Machine

# Seconds of a whole run on a healthy host, the units of systemd among them.
DOCTOR_SECONDS = 5.0

pytestmark = pytest.mark.long


def test_no_unit_fails_and_the_doctor_is_green(machine: Machine) -> None:
    machine.run(GTE_OPS, "backup", "create")
    told = machine.doctor()
    assert told.codes == [], told.stdout
    assert told.exit_code == 0, told.stdout
    assert "0 loaded units" in machine.sh("systemctl --failed")


def green(machine: Machine) -> None:
    """The service is ready, and the doctor has nothing to say."""
    machine.wait_until_serving()
    machine.run("systemctl", "start", "gte-ops-backup.service")
    told = machine.doctor()
    assert (told.codes, told.exit_code) == ([], 0), told.stdout


def test_drop_ins(machine: Machine) -> None:
    machine.sh(
        "mkdir -p /etc/systemd/system/gte-api.service.d /etc/systemd/system/nginx.service.d;"
        "printf '[Service]\\nMemoryMax=4G\\nLimitNOFILE=20000\\n'"
        " >/etc/systemd/system/gte-api.service.d/10-limits.conf;"
        "printf '[Service]\\nRestart=on-failure\\n' >/etc/systemd/system/nginx.service.d/restart.conf;"
        "systemctl daemon-reload; systemctl restart gte-api nginx"
    )
    green(machine)


def test_an_instance_of_a_template(machine: Machine) -> None:
    machine.sh(
        "systemctl disable --now gte-api; cd /etc/systemd/system; mv gte-api.service gte-api@.service;"
        "sed -i 's/gte-api.service/gte-api@1.service/' /etc/gte-ops/gte-ops.toml gte-ops-watchdog.service;"
        "systemctl daemon-reload; systemctl enable --now gte-api@1; systemctl restart gte-ops-watchdog"
    )
    green(machine)


def test_socket_activation(machine: Machine) -> None:
    machine.write(
        "/etc/systemd/system/gte-api.socket",
        "[Socket]\nListenStream=127.0.0.1:8000\n[Install]\nWantedBy=sockets.target\n",
    )
    machine.sh(
        "systemctl disable --now gte-api; systemctl daemon-reload; systemctl enable --now gte-api.socket;"
        "curl -s http://127.0.0.1:8000/health"
    )
    green(machine)


def test_a_dynamic_user(machine: Machine) -> None:
    machine.sh(
        "mkdir -p /etc/systemd/system/gte-api.service.d; rm -rf /var/log/gte-api /run/gte-api;"
        "printf '[Service]\\nDynamicUser=yes\\nUser=gte-dyn\\nGroup=gte-dyn\\n'"
        " >/etc/systemd/system/gte-api.service.d/x.conf; systemctl daemon-reload; systemctl restart gte-api"
    )
    green(machine)


def test_the_journal_alone(machine: Machine) -> None:
    machine.sh(
        "sed -i '/_log = /d' /etc/gte-ops/gte-ops.toml;"
        "sed -i 's|GTE_ACCESS_LOG=[^ ]*|GTE_ACCESS_LOG=-|; s|GTE_ERROR_LOG=[^ ]*|GTE_ERROR_LOG=-|'"
        " /etc/systemd/system/gte-api.service; rm -f /var/log/gte-api/*;"
        "systemctl daemon-reload; systemctl restart gte-api gte-ops-watchdog"
    )
    green(machine)


def test_asking_systemd_costs_little(machine: Machine) -> None:
    times = sorted(machine.doctor().seconds for _ in range(3))
    assert times[0] < DOCTOR_SECONDS, times
