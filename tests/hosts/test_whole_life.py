"""One gte-ops.toml and one command: from a host as Debian leaves it to HTTPS, watched, backed up, rotated; broken, and
back without a hand. Debian 12 and 13, an ACME authority and a client on hosts of their own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.acme import NAME, SERVER, start_pebble
from tests.hosts.layer import DOMAIN, PREDICTION, PYTHONS, SETTINGS, make_environment
from tests.hosts.machine import GTE_OPS, Machine
from tests.hosts.test_install import INSTALL_SECONDS
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long

NOTIFY = '\n[notify]\nurls = ["json://127.0.0.1:9099/"]\n'
# Writes what is posted to it, one request a line.
RECEIVER = """
import http.server

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/root/alerts", "ab") as file:
            file.write(body.replace(b"\\n", b" ") + b"\\n")
        self.send_response(204)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", 9099), Receiver).serve_forever()
"""
TIMERS = ("gte-ops-backup", "gte-ops-drill", "gte-ops-cert", "logrotate", "certbot")
# A timer's own next moment may be a day away, and the machine's clock is everybody's.
SOON = "[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=1s\nPersistent=no\n"


@pytest.fixture(params=sorted(PYTHONS))
def web(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """A host with Debian's nginx and certbot, and gte-ops in its environment alone. Prints at its end what the watchdog
    did, which pytest shows of a test that fails."""
    layer = make_environment(tmp_path / "layer", PYTHONS[request.param])
    with Machine(layer, suite=request.param) as machine:
        yield machine
        sys.stdout.write(
            machine.sh(
                f"journalctl --no-pager -n 60 -u gte-ops-watchdog -u gte-api; {GTE_OPS} watchdog status",
                check=False,
            )
        )
    shutil.rmtree(layer)


def test_one_file_and_one_command(web: Machine) -> None:
    with Machine() as authority, Machine() as client:
        server_root, root = start_pebble(authority, {DOMAIN: web.address})
        web.sh(f"echo '{authority.address} {NAME}' >>/etc/hosts")
        web.write("/etc/ssl/acme.pem", server_root)
        web.write("/etc/gte-ops/ca.pem", root)
        web.write("/root/gte-ops.toml", SETTINGS + NOTIFY)
        web.write("/root/receiver.py", RECEIVER)
        web.run("systemd-run", "--unit=receiver", "python3", "/root/receiver.py")
        # pip compiles what it installs; a layer's packages are as they were in their wheels.
        web.run(
            "/opt/gte-api/venv/bin/python3",
            "-m",
            "compileall",
            "-q",
            "/opt/gte-api/venv/lib",
            seconds=600,
            check=False,
        )

        web.run(
            *(GTE_OPS, "install", "--config", "/root/gte-ops.toml", "--certificate", "certbot"),
            *("--acme-server", SERVER, "--acme-ca", "/etc/ssl/acme.pem"),
            seconds=INSTALL_SECONDS,
        )

        client.write("/root/ca.pem", root)
        ask = (
            f"curl --silent --show-error --cacert /root/ca.pem --resolve {DOMAIN}:443:{web.address}"
            f" https://{DOMAIN}/predict --json '{PREDICTION}'"
        )
        assert "北京" in client.sh(ask)

        for name in TIMERS:
            assert web.sh(f"systemctl is-enabled {name}.timer; systemctl is-active {name}.timer").split() == [
                "enabled",
                "active",
            ]
            runs_by_its_timer(web, name)
        assert "0 loaded units" in web.sh("systemctl --failed")
        web.run("/usr/local/bin/gte-ops", "cert", "check")
        report = web.doctor()
        assert (report.exit_code, report.codes) == (0, []), report.stdout

        # systemd starts again what ends; what hangs is the watchdog's.
        pid = web.show("gte-api.service", "MainPID")
        web.sh(f"kill -KILL {pid}")
        wait_for(
            lambda: web.show("gte-api.service", "MainPID") not in ("0", pid), "a new gunicorn", within=60
        )
        wait_for(lambda: "北京" in client.sh(ask, check=False), "a prediction after the kill", within=90)
        web.sh("systemctl kill --signal=STOP gte-api.service")
        wait_for(lambda: "北京" not in client.sh(f"{ask} --max-time 3", check=False), "the hang", within=30)
        wait_for(
            lambda: "北京" in client.sh(f"{ask} --max-time 5", check=False),
            "a prediction after the hang",
            within=180,
        )
        wait_for(lambda: "recovered" in web.sh("cat /root/alerts", check=False), "both alerts", within=600)
        assert "gunicorn" in web.sh("cat /root/alerts")


def runs_by_its_timer(machine: Machine, name: str) -> None:
    """Wait until the timer has started its service, and that has ended well."""
    # The installation itself makes the first backup.
    before = machine.show(f"{name}.service", "ExecMainExitTimestampMonotonic")
    machine.write(f"/run/systemd/system/{name}.timer.d/soon.conf", SOON)
    machine.sh(f"systemctl daemon-reload; systemctl restart {name}.timer")

    def ended() -> bool:
        return machine.show(f"{name}.service", "ExecMainExitTimestampMonotonic") not in ("", "0", before)

    wait_for(ended, f"{name}.timer to start its service, and that to end", within=120)
    assert machine.show(f"{name}.timer", "LastTriggerUSec") not in ("", "n/a")
    assert machine.show(f"{name}.service", "Result") == "success", machine.sh(f"journalctl -n 20 -u {name}")
    machine.sh(f"rm -r /run/systemd/system/{name}.timer.d; systemctl daemon-reload")
