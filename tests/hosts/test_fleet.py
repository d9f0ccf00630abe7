"""Three hosts behind one balancer, under load: an upgrade host by host, a host cut off, a service stopped.

The counts: --log-cli-level=INFO.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.fleet import CLIENTS, Fleet, codes, counted, failed, summaries
from tests.hosts.machine import Machine
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long
LOG = logging.getLogger(__name__)

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


def test_a_stopped_service_fails_no_request(fleet: Fleet, tmp_path: Path) -> None:
    host = fleet.hosts[1]
    host.sh("systemctl stop gte-ops-watchdog")
    with fleet.clients(tmp_path) as requests:
        host.sh("systemctl stop gte-api")
        report = fleet.bundles(tmp_path / "bundles", fleet.hosts)
    host.sh("systemctl start gte-api gte-ops-watchdog")
    ready(host)
    LOG.info("service stopped: %s", counted(requests))
    assert failed(requests) == []
    assert fleet.address(host) in summaries(report, fleet.balancer, "NGX043")
    assert "GUN001" in codes(report, host)
