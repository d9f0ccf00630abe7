"""Three hosts behind one balancer, under load: an upgrade host by host, and one host broken: cut off, stopped, full,
expired, slow, wrong by its clock, killed. What it costs users, and whether the fleet's report names host and cause.

The counts: --log-cli-level=INFO.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.hosts.fleet import CLIENTS, Fleet, Request, codes, counted, diagnosed, failed, summaries
from tests.hosts.host import HOME
from tests.hosts.layer import DOMAIN
from tests.hosts.machine import Machine
from tests.lab.authority import Authority
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long
LOG = logging.getLogger(__name__)

LIVE = f"/etc/letsencrypt/live/{DOMAIN}"
WRONG_BY = 600.0
# All of gunicorn's processes stand still for most of the time.
HALTING = (
    "while :; do systemctl kill --signal=STOP gte-api; sleep 3;"
    " systemctl kill --signal=CONT gte-api; sleep 0.3; done"
)
METADATA = "/opt/gte-api/venv/lib/python3.11/site-packages/gte_ops-*.dist-info/METADATA"


@pytest.fixture(scope="module")
def fleet(layer: Path) -> Iterator[Fleet]:
    with Fleet(layer) as three:
        yield three


def ready(host: Machine) -> None:
    """Wait until the host's own service is ready."""
    wait_for(
        lambda: "200" in host.sh("curl -s -o /dev/null -w '%{http_code}' localhost:8000/ready", check=False),
        "the host to be ready",
        within=120,
        every=0.3,
    )


def become(host: Machine, version: str) -> None:
    """Another version of the service, as an upgrade leaves it."""
    host.sh(f"sed -i 's/^Version: .*/Version: {version}/' {METADATA}; systemctl restart gte-api")
    ready(host)


def test_an_upgrade_host_by_host_fails_no_request(fleet: Fleet, tmp_path: Path) -> None:
    with fleet.clients(tmp_path) as requests:
        for number, host in enumerate(fleet.hosts):
            fleet.deploy("drain", host)
            become(host, "9.9.9")
            fleet.deploy("undrain", host)
            if number == 0:
                report = fleet.balancer.doctor()
                assert "NGX049" in report.codes, report.stdout
    LOG.info("rolling upgrade: %s", counted(requests))
    assert len(requests) > 50
    assert failed(requests) == []
    assert "NGX049" not in fleet.balancer.doctor().codes


def test_a_host_that_is_cut_off_costs_no_more_than_the_requests_on_their_way(
    fleet: Fleet, tmp_path: Path
) -> None:
    host = fleet.hosts[0]
    with fleet.clients(tmp_path) as requests:
        host.sh(
            "nft add table inet cut && nft add chain inet cut input '{ type filter hook input priority 0; }'"
            " && nft add rule inet cut input tcp dport 8000 drop"
        )
        wait_for(
            lambda: "NGX043" in fleet.balancer.doctor().codes, "the balancer to name it", within=120, every=1
        )
        report = fleet.bundles(tmp_path / "bundles", fleet.hosts)
    host.sh("nft delete table inet cut")
    LOG.info("cut off: %s", counted(requests))
    # What a kept connection had just taken is lost with it: nginx repeats no POST that was sent.
    assert len(failed(requests)) <= 4 * CLIENTS
    assert fleet.address(host) in summaries(report, fleet.balancer, "NGX043")


def test_a_stopped_service_costs_no_more_than_the_posts_on_kept_connections(
    fleet: Fleet, tmp_path: Path
) -> None:
    host = fleet.hosts[1]
    host.sh("systemctl stop gte-ops-watchdog")
    with fleet.clients(tmp_path) as requests:
        host.sh("systemctl stop gte-api")
        report = fleet.bundles(tmp_path / "bundles", fleet.hosts)
    host.sh("systemctl start gte-api gte-ops-watchdog")
    ready(host)
    # gunicorn closes its idle connections, and nginx repeats no POST that it has sent on one: 502 with Retry-After.
    cost("service stopped", requests, at_most=CLIENTS)
    assert fleet.address(host) in summaries(report, fleet.balancer, "NGX043")
    assert "GUN001" in codes(report, host)


def cost(what: str, requests: Sequence[Request], *, at_most: int = 0) -> None:
    """Log the counts; at most so many requests failed."""
    LOG.info("%s: %s", what, counted(requests))
    assert len(requests) > 20
    assert len(failed(requests)) <= at_most


def test_a_full_disk_costs_no_request_and_is_named(fleet: Fleet, tmp_path: Path) -> None:
    host = fleet.hosts[0]
    with fleet.clients(tmp_path) as requests:
        # gunicorn opens its logs anew on the small disk (USR1), which is full then.
        host.sh(
            "mount -t tmpfs -o size=1m,mode=0755 tmpfs /var/log/gte-api && chown gte-api: /var/log/gte-api"
            " && systemctl kill --signal=USR1 --kill-whom=main gte-api"
        )
        host.sh("head -c 2M /dev/zero >/var/log/gte-api/filling || true")
        report = fleet.bundles(tmp_path / "bundles", fleet.hosts)
    host.sh("umount -l /var/log/gte-api; systemctl kill --signal=USR1 --kill-whom=main gte-api")
    cost("full disk", requests)
    assert "HST001" in codes(report, host)
    assert all("HST001" not in codes(report, other) for other in fleet.hosts[1:])


@contextmanager
def expire(host: Machine) -> Iterator[None]:
    """During the block the host's own certificate is one that ended three days ago, of an authority that it trusts."""
    authority = Authority()
    ended = datetime.now(UTC) - timedelta(days=3)
    expired = authority.issue([DOMAIN], not_before=ended - timedelta(days=90), not_after=ended)
    host.sh(f"cp -rL {LIVE} /root/live; cp /etc/gte-ops/ca.pem /root/ca.pem")
    host.write("/root/chain.pem", expired.fullchain_pem.decode())
    host.write("/root/key.pem", expired.key_pem.decode())
    host.write("/etc/gte-ops/ca.pem", authority.root.pem.decode())
    host.sh(
        f"cat /root/chain.pem >$(readlink -f {LIVE}/fullchain.pem);"
        f" cat /root/key.pem >$(readlink -f {LIVE}/privkey.pem); systemctl reload nginx"
    )
    yield
    host.sh(
        f"cat /root/live/fullchain.pem >$(readlink -f {LIVE}/fullchain.pem);"
        f" cat /root/live/privkey.pem >$(readlink -f {LIVE}/privkey.pem); systemctl reload nginx;"
        " cp /root/ca.pem /etc/gte-ops/ca.pem"
    )


def test_an_expired_certificate_of_a_host_behind_the_balancer_costs_no_request(
    fleet: Fleet, tmp_path: Path
) -> None:
    host = fleet.hosts[1]
    with fleet.clients(tmp_path) as requests, expire(host):
        report = fleet.bundles(tmp_path / "bundles", fleet.hosts)
    cost("expired certificate", requests)
    assert "TLS001" in codes(report, host)
    assert all("TLS001" not in codes(report, other) for other in (fleet.hosts[0], fleet.hosts[2]))


def test_a_slow_host_costs_no_request_and_is_named(fleet: Fleet, tmp_path: Path) -> None:
    host = fleet.hosts[2]
    host.sh("systemctl stop gte-ops-watchdog")
    with fleet.clients(tmp_path) as requests:
        host.run("systemd-run", "--unit=halting", "sh", "-c", HALTING)
        wait_for(
            lambda: "NGX048" in fleet.balancer.doctor().codes, "the balancer to name it", within=240, every=1
        )
    host.sh("systemctl stop halting; systemctl kill --signal=CONT gte-api; systemctl start gte-ops-watchdog")
    ready(host)
    cost("slow host", requests)


def test_a_wrong_clock_in_a_bundle_is_named(fleet: Fleet, tmp_path: Path) -> None:
    """The machine's clock is everybody's: the time of the recorded bundle is changed."""
    host = fleet.hosts[0]
    host.sh(
        f"sed -i 's/^\\[target\\]$/[target]\\nconnect_to = \"{fleet.balancer.address}:443\"/' /etc/gte-ops/gte-ops.toml"
    )
    directory = tmp_path / "bundles"
    fleet.bundles(directory, fleet.hosts)
    host.sh("sed -i '/^connect_to/d' /etc/gte-ops/gte-ops.toml")
    file = directory / f"{host.name}.json"
    bundle = json.loads(file.read_text())
    bundle["snapshot"]["taken_at"] -= WRONG_BY
    file.write_text(json.dumps(bundle))
    report = diagnosed(directory)
    assert "HST003" in codes(report, host)
    assert "10m" in summaries(report, host, "HST003")


def test_a_killed_host_costs_no_more_than_the_requests_on_their_way(fleet: Fleet, tmp_path: Path) -> None:
    """The last test: the host does not come back."""
    host = fleet.hosts[2]
    address = fleet.address(host)
    with fleet.clients(tmp_path) as requests:
        power_off(host)
        wait_for(
            lambda: "NGX043" in fleet.balancer.doctor().codes, "the balancer to name it", within=120, every=1
        )
        report = fleet.bundles(tmp_path / "bundles", fleet.hosts[:2])
    cost("killed host", requests, at_most=4 * CLIENTS)
    assert address in summaries(report, fleet.balancer, "NGX043")


def power_off(host: Machine) -> None:
    """As a power cut: all processes of the host end at once (--kill-child), and nobody answers for its address."""
    facts = json.loads((HOME / "hosts" / host.name / "host.json").read_text())
    subprocess.run(
        ["ip", "-n", facts["bridge"], "link", "del", f"v{facts['number']}"], check=True, timeout=60
    )
    os.kill(facts["pid"], signal.SIGKILL)
