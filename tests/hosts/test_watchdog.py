"""The watchdog as a unit of systemd beside the service's: what it undoes, what it leaves, and what it tells."""

from __future__ import annotations

import json
import time

import pytest

from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long

STATE = "/var/lib/gte-ops/watchdog.json"
# Three checks of the interval that the host's settings name (5 s), and what an action may take.
CHECKS = 25.0
SECONDS_OF_ONCE = 50.0


def state(machine: Machine) -> dict[str, object]:
    content: dict[str, object] = json.loads(machine.sh(f"cat {STATE}"))
    return content


def rounds(machine: Machine) -> int:
    return int(str(state(machine)["rounds"]))


def wait_for_rounds(machine: Machine, number: int) -> None:
    until = rounds(machine) + number
    wait_for(lambda: rounds(machine) >= until, f"{number} checks of the watchdog", within=60, every=0.5)


def main_pid(machine: Machine) -> int:
    return int(machine.show("gte-api", "MainPID"))


def test_a_stop_by_systemctl_is_said_and_not_undone(machine: Machine) -> None:
    wait_for_rounds(machine, 1)
    machine.run("systemctl", "stop", "gte-api")
    wait_for_rounds(machine, 5)
    assert machine.show("gte-api", "ActiveState") == "inactive"
    told = machine.run(GTE_OPS, "watchdog", "status", check=False).stdout
    assert "master" in told
    assert "stays stopped" in machine.sh(
        "systemctl status gte-ops-watchdog; journalctl -u gte-ops-watchdog", check=False
    )
    machine.run("systemctl", "start", "gte-api")
    machine.wait_until_serving()


def test_a_start_that_failed_for_another_unit_is_tried_again(machine: Machine) -> None:
    """systemd does not: it counts such a start as no failure."""
    machine.write(
        "/etc/systemd/system/data.service", "[Service]\nType=oneshot\nExecStart=/usr/bin/test -e /run/data\n"
    )
    machine.write(
        "/etc/systemd/system/gte-api.service.d/x.conf", "[Unit]\nRequires=data.service\nAfter=data.service\n"
    )
    machine.sh("systemctl daemon-reload; systemctl restart gte-api", check=False)
    assert machine.show("gte-api", "ActiveState") == "inactive"
    machine.sh("touch /run/data")
    wait_for(lambda: machine.answers("/ready") == 200, "the watchdog to start it", within=90, every=0.5)


def test_a_stop_is_undone_where_that_is_configured(machine: Machine) -> None:
    machine.sh("sed -i 's/^interval = 5/interval = 5\\nstart_stopped = true/' /etc/gte-ops/gte-ops.toml")
    machine.run("systemctl", "restart", "gte-ops-watchdog")
    wait_for_rounds(machine, 1)
    machine.run("systemctl", "stop", "gte-api")
    wait_for(lambda: machine.answers("/ready") == 200, "the watchdog to start it", within=60, every=0.5)


def test_a_socket_in_a_private_tmp_is_found(machine: Machine) -> None:
    machine.sh(
        "sed -i 's|^bind = .*|bind = \"unix:/tmp/gte.sock\"|' /etc/gte-ops/gte-ops.toml;"
        "mkdir -p /etc/systemd/system/gte-api.service.d;"
        "printf '[Service]\\nEnvironment=GTE_BIND=unix:/tmp/gte.sock\\n'"
        " >/etc/systemd/system/gte-api.service.d/x.conf; systemctl daemon-reload;"
        "systemctl restart gte-api gte-ops-watchdog"
    )
    pid = main_pid(machine)
    wait_for_rounds(machine, 6)
    assert state(machine)["state"] in ("healthy", "booting"), state(machine)
    wait_for(lambda: state(machine)["state"] == "healthy", "the watchdog to see it", within=60, every=0.5)
    assert main_pid(machine) == pid, "a healthy service was restarted"


def test_resume_ends_the_waiting_of_a_spent_budget(machine: Machine) -> None:
    wait_for_rounds(machine, 1)
    machine.run("systemctl", "stop", "gte-ops-watchdog")
    content = state(machine)
    content |= {"holding": True, "rearm_at": 1e12, "level": 3, "futile": True, "futile_fingerprint": "x"}
    machine.write(STATE, json.dumps(content))
    machine.run("systemctl", "start", "gte-ops-watchdog")
    assert "OPS007" in machine.doctor().codes
    told = machine.run(GTE_OPS, "watchdog", "resume").stdout
    assert "the budget of actions starts again" in told
    wait_for_rounds(machine, 2)
    assert not state(machine)["holding"]
    assert "OPS007" not in machine.doctor().codes


def test_one_run_from_cron_ends_within_a_minute_whatever_the_start_does(machine: Machine) -> None:
    machine.sh(
        "systemctl disable --now gte-ops-watchdog; mkdir -p /etc/systemd/system/gte-api.service.d;"
        "printf '[Service]\\nExecStart=\\nExecStart=/bin/sleep 600\\n' >/etc/systemd/system/gte-api.service.d/x.conf;"
        "systemctl daemon-reload; systemctl kill -s KILL gte-api || true"
    )
    for _ in range(3):
        began = time.monotonic()
        machine.run(GTE_OPS, "watchdog", "--once", check=False)
        assert time.monotonic() - began < SECONDS_OF_ONCE


def test_the_metrics_are_node_exporter_s_to_read(machine: Machine) -> None:
    wait_for_rounds(machine, 1)
    shown = machine.sh("stat -c '%a %n' /var/lib/gte-ops /var/lib/gte-ops/*").splitlines()
    modes = {line.split()[1]: line.split()[0] for line in shown}
    assert modes["/var/lib/gte-ops"] == "755"
    assert modes["/var/lib/gte-ops/watchdog.prom"] == "644"
    machine.sh("runuser -u nobody -- cat /var/lib/gte-ops/watchdog.prom")
    others = {path: mode for path, mode in modes.items() if path.startswith("/var/lib/gte-ops/")}
    open_to_all = [path for path, mode in others.items() if mode[-1] != "0" and not path.endswith(".prom")]
    assert not open_to_all


def test_no_child_of_the_watchdog_speaks_to_systemd_for_it(machine: Machine) -> None:
    wait_for_rounds(machine, 1)
    pid = machine.show("gte-ops-watchdog", "MainPID")
    machine.sh("kill -KILL $(cat /run/gte-api/gunicorn.pid)", check=False)
    machine.wait_until_serving()
    shown = machine.sh(
        f"for p in $(pgrep -P {pid}); do tr '\\0' '\\n' </proc/$p/environ; done; journalctl -u gte-ops-watchdog"
    )
    assert "NOTIFY_SOCKET" not in shown
    assert "reception only permitted for main PID" not in shown
