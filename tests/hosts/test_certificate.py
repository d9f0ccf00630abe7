"""`gte-ops install --certificate certbot`: a real ACME authority's certificate, or a host left bare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts.acme import NAME, SERVER, start_pebble
from tests.hosts.layer import DOMAIN, SETTINGS
from tests.hosts.machine import GTE_OPS, Machine
from tests.hosts.test_install import INSTALL_SECONDS, LISTING

OPTIONS = ("--certificate", "certbot", "--acme-server", SERVER, "--acme-ca", "/etc/ssl/acme.pem")
COMMAND = (GTE_OPS, "install", "--config", "/root/gte-ops.toml", *OPTIONS)

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Hosts:
    """The host that is installed, and the authority's."""

    web: Machine
    authority: Machine


@pytest.fixture
def hosts(environment: Path) -> Iterator[Hosts]:
    """A host with Debian's nginx and certbot, gte-ops and a gte-ops.toml; pebble on a second one."""
    with Machine(environment) as machine, Machine() as authority:
        server_root, root = start_pebble(authority, {DOMAIN: machine.address})
        machine.sh(f"echo '{authority.address} {NAME}' >>/etc/hosts")
        machine.write("/etc/ssl/acme.pem", server_root)
        machine.write("/root/gte-ops.toml", SETTINGS)
        machine.write("/etc/gte-ops/ca.pem", root)
        yield Hosts(machine, authority)


def test_a_bare_host_gets_its_certificate_and_gives_all_of_it_back(hosts: Hosts) -> None:
    host = hosts.web
    before = host.sh(LISTING)
    planned = host.run(*COMMAND, "--dry-run").stdout
    assert (
        f"certbot certonly --non-interactive --webroot --webroot-path /var/www/letsencrypt --domain {DOMAIN}"
        in planned
    )
    assert "+    location /.well-known/acme-challenge/ {" in planned
    assert host.sh(LISTING) == before, "a dry run changes nothing"

    host.run(*COMMAND, seconds=INSTALL_SECONDS)
    assert host.answers("/ready") == 200, "by a certificate that pebble's root signed"
    assert host.sh("ls /etc/nginx/conf.d").split() == ["gte-api.conf"]
    assert "Nothing to do" in host.run(*COMMAND).stdout
    host.run("/usr/local/bin/gte-ops", "backup", "create")
    report = host.doctor()
    assert report.codes == [], report.stdout

    served = (
        f"openssl s_client -connect 127.0.0.1:443 -servername {DOMAIN} </dev/null 2>/dev/null"
        " | openssl x509 -noout -serial"
    )
    serial = host.sh(served)
    host.sh(
        "mkdir -p /run/systemd/system/certbot.service.d; printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/certbot"
        " -q renew --force-renewal --no-random-sleep-on-renew\\n' >/run/systemd/system/certbot.service.d/now.conf;"
        " systemctl daemon-reload; systemctl start certbot.service"
    )
    assert host.sh(served) != serial, "certbot's own unit renews, and its hook has nginx take the new one up"
    host.sh("rm -r /run/systemd/system/certbot.service.d; systemctl daemon-reload")

    host.run(GTE_OPS, "uninstall", seconds=INSTALL_SECONDS)
    assert host.sh(f"ls /etc/letsencrypt/live/{DOMAIN}/fullchain.pem")
    host.run(GTE_OPS, "uninstall", "--purge", seconds=INSTALL_SECONDS)
    assert host.sh(LISTING) == before
    assert "0 loaded units" in host.sh("systemctl --failed")


def test_an_authority_that_refuses_leaves_the_host_as_it_was(hosts: Hosts) -> None:
    host = hosts.web
    hosts.authority.sh(
        f"sed 's/.* {DOMAIN}$/127.0.0.1 {DOMAIN}/' /etc/hosts >/root/hosts; cat /root/hosts >/etc/hosts"
    )
    before = host.sh(LISTING)
    ran = host.run(*COMMAND, check=False, seconds=INSTALL_SECONDS)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "certbot certonly" in ran.stderr
    assert "returned 404; everything" in ran.stderr, "what the authority says"
    assert "everything is as it was" in ran.stderr
    assert host.sh(LISTING) == before
    assert host.sh("curl --silent http://127.0.0.1/ | grep -c nginx") != "0\n", "Debian's own page"


@pytest.mark.parametrize("moment", ["challenge", "lineage"])
def test_killed_while_the_certificate_is_obtained_the_next_run_ends_it(hosts: Hosts, moment: str) -> None:
    host = hosts.web
    before = host.sh(LISTING)
    path = {
        "challenge": "/etc/nginx/conf.d/00-gte-ops-challenge.conf",
        "lineage": f"/etc/letsencrypt/live/{DOMAIN}",
    }[moment]
    host.sh(
        f"{' '.join(COMMAND)} >/dev/null 2>&1 & pid=$!; "
        f"for i in $(seq 6000); do [ -e {path} ] && break; sleep 0.005; done;"
        f" kill -KILL $pid; wait $pid; [ -e {path} ]",
        seconds=INSTALL_SECONDS,
    )
    host.run(*COMMAND, seconds=INSTALL_SECONDS)
    assert host.answers("/ready") == 200
    host.run(GTE_OPS, "uninstall", "--purge", seconds=INSTALL_SECONDS)
    assert host.sh(LISTING) == before
