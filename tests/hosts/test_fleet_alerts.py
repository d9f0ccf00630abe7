"""One message a fault of a fleet, on the wire: Prometheus scrapes three hosts and their balancer, and the robot behind
`gte-ops notify serve` is told once, which host and why, and once more when it is over.

The files of deploy/prometheus are used as they are, but for the targets and times (tests/hosts/monitored_fleet.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts.machine import Machine
from tests.hosts.monitored_fleet import TEXTFILES, FleetMonitoring, MonitoredFleet, examine, fleet_monitoring
from tests.hosts.test_fleet import HALTING, METADATA, WRONG_BY, become, expire, power_off, ready
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long
LOG = logging.getLogger(__name__)
# A fault is seen, has lasted as long as its rule asks for, and is sent, on a busy machine.
PATIENCE = 240.0


@pytest.fixture(scope="module")
def fleet(layer: Path) -> Iterator[MonitoredFleet]:
    with MonitoredFleet(layer) as three:
        three.observe()
        yield three


@contextmanager
def monitored(fleet: MonitoredFleet, directory: Path) -> Iterator[FleetMonitoring]:
    """Prometheus and what follows, of which none has anything to say so far."""
    with fleet_monitoring(fleet, directory / "monitoring") as made:
        wait_for(lambda: not made.alerts(), "no alert, not even a pending one", within=60, every=1)
        yield made


@pytest.fixture
def watched(fleet: MonitoredFleet, tmp_path: Path) -> Iterator[FleetMonitoring]:
    with monitored(fleet, tmp_path) as made:
        yield made


@contextmanager
def one_message(watched: FleetMonitoring, host: str, alert: str, *silenced: str) -> Iterator[None]:
    """In the block a fault is made and repaired. Of the alerts that fire the robot gets one, ``alert``, which names the
    host, and afterwards its end. The others are ``silenced``."""
    yield
    try:
        wait_for(lambda: not watched.alerts(), "the end of all alerts", within=PATIENCE, every=1)
    except AssertionError as error:
        raise AssertionError(f"{error}: {watched.alerts()}, {watched.messages()}") from None
    wait_for(lambda: len(watched.messages()) >= 2, "the message of its end", within=PATIENCE, every=1)
    messages = watched.messages()
    LOG.info(
        "%s, with %s silenced: %s",
        alert,
        ", ".join(silenced) or "none",
        [text.split("\n")[0] for text in messages],
    )
    assert len(messages) == 2, messages
    begin, end = messages
    assert "已恢复" not in begin
    assert "已恢复" in end
    for text in messages:
        assert f"alertname={alert}" in text
        assert host in text
        assert "https://docs.example.com/gte-ops/causes/" in text


def until(watched: FleetMonitoring, *alerts: str, meanwhile: Machine | None = None) -> None:
    """Wait until all of these fire and the robot was told; ``meanwhile`` the doctor runs there."""

    def fire() -> bool:
        if meanwhile is not None:
            examine(meanwhile)
        return set(alerts) <= set(watched.firing()) and bool(watched.messages())

    try:
        wait_for(fire, f"{alerts}", within=PATIENCE, every=1)
    except AssertionError as error:
        raise AssertionError(f"{error}: {watched.alerts()}, {watched.messages()}") from None


def test_a_host_that_is_cut_off(fleet: MonitoredFleet, watched: FleetMonitoring) -> None:
    host = fleet.hosts[0]
    with one_message(watched, host.name, "GteServiceNotScraped"):
        host.sh(
            "nft add table inet cut && nft add chain inet cut input '{ type filter hook input priority 0; }'"
            " && nft add rule inet cut input iifname eth0 tcp dport 8000 drop"
        )
        until(watched, "GteServiceNotScraped", meanwhile=fleet.balancer)
        host.sh("nft delete table inet cut")
        # What the balancer's doctor said before the repair is not told as news.
        wait_for(lambda: not watched.firing(), "its end", within=PATIENCE, every=1)
        examine(fleet.balancer)


def test_a_host_that_its_balancer_alone_cannot_reach(fleet: MonitoredFleet, watched: FleetMonitoring) -> None:
    host = fleet.hosts[1]
    with one_message(watched, fleet.address(host), "GteUpstreamDead"):
        host.sh(
            "nft add table inet cut && nft add chain inet cut input '{ type filter hook input priority 0; }'"
            f" && nft add rule inet cut input ip saddr {fleet.balancer.address} tcp dport 8000 drop"
        )
        examine(fleet.balancer)
        until(watched, "GteUpstreamDead")
        host.sh("nft delete table inet cut")
        examine(fleet.balancer)


def test_a_host_that_is_slow(fleet: MonitoredFleet, watched: FleetMonitoring) -> None:
    host = fleet.hosts[2]
    host.sh("systemctl stop gte-ops-watchdog")
    with one_message(watched, fleet.address(host), "GteUpstreamSlow"):
        host.run("systemd-run", "--unit=halting", "sh", "-c", HALTING.replace("sleep 3", "sleep 2"))

        def named() -> bool:
            # Its own word, not Prometheus's of the run before: the host is slow now and then only.
            examine(fleet.balancer)
            return "NGX048" in fleet.balancer.sh(f"cat {TEXTFILES}/gte_ops_doctor.prom")

        wait_for(named, "the balancer's doctor to name it", within=PATIENCE, every=2 * 3)
        until(watched, "GteUpstreamSlow")
        host.sh(
            "systemctl stop halting; systemctl kill --signal=CONT gte-api; systemctl start gte-ops-watchdog"
        )
        ready(host)
        examine(fleet.balancer)


def test_a_host_whose_disk_is_full(fleet: MonitoredFleet, watched: FleetMonitoring) -> None:
    host = fleet.hosts[0]
    with one_message(watched, host.name, "GteDiskFull", "GteDiskLow"):
        host.sh(
            "mount -t tmpfs -o size=1m,mode=0755 tmpfs /var/log/gte-api && chown gte-api: /var/log/gte-api"
            " && systemctl kill --signal=USR1 --kill-whom=main gte-api;"
            " head -c 2M /dev/zero >/var/log/gte-api/filling || :"
        )
        examine(host)
        until(watched, "GteDiskFull", "GteDiskLow")
        host.sh("umount -l /var/log/gte-api; systemctl kill --signal=USR1 --kill-whom=main gte-api")
        examine(host)


def test_a_host_whose_certificate_has_expired(fleet: MonitoredFleet, watched: FleetMonitoring) -> None:
    host = fleet.hosts[1]
    with one_message(watched, host.name, "GteCertificateAboutToExpire", "GteCertificateExpiresSoon"):
        with expire(host):
            host.sh("systemctl start gte-ops-cert", check=False)
            examine(host)
            until(watched, "GteCertificateAboutToExpire", "GteCertificateExpiresSoon")
        host.sh("systemctl start gte-ops-cert")
        examine(host)


def test_a_host_with_another_version(fleet: MonitoredFleet, tmp_path: Path) -> None:
    """Changed and put back while nothing scrapes: on a busy machine a restart takes longer than the shortened times.
    The repair is what the alert says: out of the balancer."""
    host = fleet.hosts[2]
    version = host.sh(f"sed -n 's/^Version: //p' {METADATA}").split()[0]
    become(host, "9.9.9")
    with (
        monitored(fleet, tmp_path) as watched,
        one_message(watched, fleet.address(host), "GteUpstreamDiffers"),
    ):
        examine(fleet.balancer)
        until(watched, "GteUpstreamDiffers")
        fleet.deploy("drain", host)
        examine(fleet.balancer)
    become(host, version)
    fleet.deploy("undrain", host)


def test_a_host_whose_clock_is_wrong(fleet: MonitoredFleet, watched: FleetMonitoring) -> None:
    """The machine's clock is everybody's: what the host's node_exporter says of it is changed on its way."""
    host = fleet.hosts[0]
    with one_message(watched, host.name, "GteClockWrong"):
        watched.clock.seconds = -WRONG_BY
        until(watched, "GteClockWrong")
        watched.clock.seconds = 0.0


def test_a_host_that_is_killed(fleet: MonitoredFleet, watched: FleetMonitoring) -> None:
    """The last test: another host takes its place."""
    host = fleet.hosts[2]
    with one_message(watched, host.name, "GteHostDown", "GteServiceNotScraped"):
        power_off(host)
        until(watched, "GteHostDown", "GteServiceNotScraped", meanwhile=fleet.balancer)
        fleet.replace(2)
        examine(fleet.balancer)
