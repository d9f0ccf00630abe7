"""Disaster recovery: a host is destroyed; a fresh one, one archive and one identity serve the same name again."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from tests.hosts.acme import NAME, SERVER, start_pebble
from tests.hosts.layer import DOMAIN, PREDICTION, SETTINGS
from tests.hosts.machine import GTE_OPS, Machine
from tests.hosts.test_install import INSTALL_SECONDS

ARCHIVES = "/var/backups/gte-ops"
SERVED = (
    f"openssl s_client -connect 127.0.0.1:443 -servername {DOMAIN} </dev/null 2>/dev/null"
    " | openssl x509 -noout -serial"
)
UNITS = (
    "gte-api.service",
    "gte-ops-watchdog.service",
    "gte-ops-backup.timer",
    "gte-ops-cert.timer",
)

pytestmark = pytest.mark.long


@pytest.fixture
def authority() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


def archive_of_a_host_that_is_destroyed(
    environment: Path, authority: Machine, recipient: str
) -> tuple[str, bytes, str]:
    """The archive of a host that served, its name, and the serial number of the certificate that it served."""
    with Machine(environment) as host:
        server_root, root = start_pebble(authority, {DOMAIN: host.address})
        host.sh(f"echo '{authority.address} {NAME}' >>/etc/hosts")
        host.write("/etc/ssl/acme.pem", server_root)
        host.write("/etc/gte-ops/ca.pem", root)
        host.write("/etc/gte-api/keys.json", "[]\n")
        own = f'\n[backup]\nrecipients = ["{recipient}"]\ninclude = ["/etc/ssl/acme.pem"]\n'
        host.write("/root/gte-ops.toml", SETTINGS + own)
        options = ("--certificate", "certbot", "--acme-server", SERVER, "--acme-ca", "/etc/ssl/acme.pem")
        host.run(GTE_OPS, "install", "--config", "/root/gte-ops.toml", *options, seconds=INSTALL_SECONDS)
        host.sh("echo '# by hand' >>/etc/nginx/conf.d/gte-api.conf")
        host.run(GTE_OPS, "backup", "create")
        name = host.sh(f"ls {ARCHIVES} | grep age$ | sort | tail -n 1").strip()  # the first is install's own
        return name, base64.b64decode(host.sh(f"base64 -w0 {ARCHIVES}/{name}")), host.sh(SERVED)


def test_a_fresh_host_serves_the_same_name_and_renews_its_certificate(
    environment: Path, authority: Machine
) -> None:
    identity = pyrage.x25519.Identity.generate()
    name, archive, serial = archive_of_a_host_that_is_destroyed(
        environment, authority, str(identity.to_public())
    )
    with Machine(environment) as host:
        host.write("/root/archive.txt", base64.b64encode(archive).decode())
        host.write("/root/identity.txt", f"{identity}\n")
        host.sh(f"base64 -d /root/archive.txt >/root/{name}; chmod 600 /root/identity.txt")
        command = (GTE_OPS, "backup", "restore", "--bootstrap", "--yes", f"/root/{name}")
        unproven = host.run(*command, "--identity", "/root/identity.txt", check=False)
        assert unproven.returncode == 2
        assert "--unsigned" in unproven.stderr
        assert host.sh("id gte-api", check=False) == "", "nothing was changed"
        told = host.run(
            *command, "--identity", "/root/identity.txt", "--unsigned", seconds=INSTALL_SECONDS, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr
        assert "the host serves again; it took" in told.stdout

        assert host.sh(SERVED) == serial
        assert host.answers("/ready") == 200
        predicted = host.sh(
            f"curl --silent --fail --cacert /etc/gte-ops/ca.pem -H 'Content-Type: application/json'"
            f" -d '{PREDICTION}' https://{DOMAIN}/predict"
        )
        assert "entities" in predicted
        assert host.sh("tail -n 1 /etc/nginx/conf.d/gte-api.conf") == "# by hand\n"
        assert host.sh("cat /etc/gte-api/keys.json") == "[]\n"
        for unit in UNITS:
            states = host.sh(f"systemctl is-enabled {unit}; systemctl is-active {unit}").split()
            assert states == ["enabled", "active"], unit
        host.run("/usr/local/bin/gte-ops", "backup", "create")
        report = host.doctor()
        assert report.codes == [], report.stdout
        assert host.run("/usr/local/bin/gte-ops", "cert", "check").returncode == 0
        assert "0 loaded units" in host.sh("systemctl --failed")

        authority.sh(
            f"sed 's/.* {DOMAIN}$/{host.address} {DOMAIN}/' /etc/hosts >/root/h; cat /root/h >/etc/hosts"
        )
        host.sh(f"echo '{authority.address} {NAME}' >>/etc/hosts")
        host.sh(
            "mkdir -p /run/systemd/system/certbot.service.d; printf '[Service]\\nExecStart=\\nExecStart="
            "/usr/bin/certbot -q renew --force-renewal --no-random-sleep-on-renew\\n'"
            " >/run/systemd/system/certbot.service.d/now.conf; systemctl daemon-reload; systemctl start certbot.service"
        )
        assert host.sh(SERVED) != serial, (
            "certbot renews by the old account, and nginx serves the new certificate"
        )
        again = host.run(
            *command, "--identity", "/root/identity.txt", "--unsigned", check=False, seconds=INSTALL_SECONDS
        )
        assert again.returncode == 0, again.stdout + again.stderr
