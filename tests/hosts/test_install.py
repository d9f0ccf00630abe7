"""`gte-ops install` on a host as Debian leaves it: to a watched HTTPS service, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.layer import DOMAIN, settings_text
from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.authority import Authority

# An installation waits until the service is ready.
INSTALL_SECONDS = 240.0
PAIR = "/root/pair"
# Paths, modes, owners, and what regular files hold. What the system itself writes meanwhile is left
# out: logs, caches, its own state, the names of other test hosts, and the backup copies of the account files.
LISTING = r"""
find /etc /opt /usr/local /var/lib /var/backups /var/log /var/www /run/gte-api -xdev \
  -not -path '/var/lib/systemd/*' -not -path '/var/log/journal*' -not -path '/var/lib/logrotate*' \
  -not -path '*/__pycache__*' -not -path '/var/lib/gte-ops-test*' -not -name '*-' -not -name '.pwd.lock' \
  -not -path '/etc/sub[ug]id' -not -path /etc/hosts -printf '%p %M %u %g %l\n' 2>/dev/null | sort
find /etc /opt /usr/local -xdev -type f -not -path '*/__pycache__*' -not -name '*-' -not -name '.pwd.lock' \
  -not -path '/etc/sub[ug]id' -not -path /etc/hosts -print0 | sort -z | xargs -0 sha256sum
"""

pytestmark = pytest.mark.long


@pytest.fixture
def host(environment: Path) -> Iterator[Machine]:
    """A host with Debian's nginx, gte-ops in its environment, a certificate and a gte-ops.toml."""
    with Machine(environment) as machine:
        authority = Authority()
        issued = authority.issue([DOMAIN])
        machine.write("/root/pair/chain.pem", issued.fullchain_pem.decode())
        machine.write("/root/pair/key.pem", issued.key_pem.decode())
        machine.write("/root/pair/ca.pem", authority.root.pem.decode())
        machine.sh("chmod 600 /root/pair/key.pem")
        machine.write("/root/gte-ops.toml", settings_text(pair=PAIR))
        yield machine


def installed(host: Machine, *options: str) -> str:
    """The report of an installation."""
    words = (GTE_OPS, "install", "--config", "/root/gte-ops.toml", *options)
    return host.run(*words, seconds=INSTALL_SECONDS).stdout


def test_from_a_bare_host_to_a_watched_service_and_back(host: Machine) -> None:
    before = host.sh(LISTING)
    planned = installed(host, "--dry-run")
    assert "systemctl enable --now gte-api.service" in planned
    assert host.sh(LISTING) == before, "a dry run changes nothing"

    assert "gte-ops-watchdog.service" in installed(host)
    host.sh("cp /root/pair/ca.pem /etc/gte-ops/ca.pem")
    assert host.answers("/ready") == 200
    host.sh("rm /etc/gte-ops/ca.pem")
    for unit in ("gte-api.service", "gte-ops-watchdog.service", "gte-ops-backup.timer", "gte-ops-cert.timer"):
        assert host.sh(f"systemctl is-enabled {unit}; systemctl is-active {unit}").split() == [
            "enabled",
            "active",
        ]
    pid = host.show("gte-api.service", "MainPID")
    host.run("/usr/local/bin/gte-ops", "service", "reload")
    assert host.show("gte-api.service", "MainPID") == pid
    host.run("/usr/local/bin/gte-ops", "service", "restart")
    assert host.show("gte-api.service", "MainPID") != pid
    host.run("/usr/local/bin/gte-ops", "backup", "create")
    report = host.doctor()
    assert report.codes == [], report.stdout
    assert "0 loaded units" in host.sh("systemctl --failed")

    after = host.sh("find /etc -xdev -newermt '-1 hour' -type f -not -name '*-' | sort | xargs sha256sum")
    assert "Nothing to do" in installed(host)
    assert (
        host.sh("find /etc -xdev -newermt '-1 hour' -type f -not -name '*-' | sort | xargs sha256sum")
        == after
    )

    host.run(GTE_OPS, "uninstall", "--purge", seconds=INSTALL_SECONDS)
    assert host.sh(LISTING) == before
    assert host.sh("ls /var/lib/systemd/timers | grep gte-", check=False) == ""
    assert host.answers() == 0
    assert "0 loaded units" in host.sh("systemctl --failed")


def test_a_service_that_cannot_start_leaves_the_host_as_it_was(host: Machine) -> None:
    before = host.sh(LISTING)
    host.sh("mv /opt/gte-api/venv/bin/gunicorn /root/")
    ran = host.run(
        GTE_OPS,
        "install",
        "--config",
        "/root/gte-ops.toml",
        "--wait",
        "5s",
        check=False,
        seconds=INSTALL_SECONDS,
    )
    host.sh("mv /root/gunicorn /opt/gte-api/venv/bin/")
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "nothing was changed" in ran.stderr or "everything is as it was" in ran.stderr
    assert host.sh(LISTING) == before


@pytest.mark.parametrize("seconds", [0.6, 1.0, 1.5, 2.5, 4.0])
def test_killed_on_the_way_the_next_run_ends_it(host: Machine, seconds: float) -> None:
    before = host.sh(LISTING)
    host.sh(f"timeout --signal=KILL {seconds} {GTE_OPS} install --config /root/gte-ops.toml || true")
    installed(host)
    host.sh("cp /root/pair/ca.pem /etc/gte-ops/ca.pem")
    assert host.answers("/ready") == 200
    host.sh("rm /etc/gte-ops/ca.pem")
    host.run(GTE_OPS, "uninstall", "--purge", seconds=INSTALL_SECONDS)
    assert host.sh(LISTING) == before


def test_a_throwaway_pair_is_made_and_served_and_an_edit_by_hand_is_left_alone(host: Machine) -> None:
    before = host.sh(LISTING)
    host.sh("sed -i 's,/root/pair/,/etc/gte-ops/,' /root/gte-ops.toml")
    installed(host, "--certificate", "throwaway")
    assert host.answers("/ready") == 200
    host.sh("echo '# mine' >>/etc/nginx/conf.d/gte-api.conf")
    ran = host.run(GTE_OPS, "install", "--config", "/root/gte-ops.toml", check=False, seconds=INSTALL_SECONDS)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "-# mine" in ran.stdout
    assert host.sh("tail -n 1 /etc/nginx/conf.d/gte-api.conf") == "# mine\n"
    assert "replaced" in installed(host, "--overwrite")
    host.run(GTE_OPS, "uninstall", "--purge", seconds=INSTALL_SECONDS)
    assert host.sh(LISTING) == before
