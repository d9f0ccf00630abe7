"""A fleet that Prometheus watches from its own network: the files of deploy/prometheus, with shorter times,
Alertmanager, `gte-ops notify serve` and a robot that takes its messages."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.hosts.fleet import Fleet
from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.waiting import wait_for
from tests.system.conftest import free_port
from tests.system.monitoring_host import FILES, Programs, ShiftedExporter
from tests.system.robot_endpoint import Endpoint, robot_endpoint
from tests.system.test_notify_serve import receiver

TEXTFILES = "/var/lib/prometheus/node-exporter"
# All times of the rules and of Alertmanager, so that their order stays.
TIMES_SHORTER = 20
SCRAPE_SECONDS = 3
_CLONE_NEWNET = 0x40000000
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def shorter(text: str) -> str:
    """A file of deploy/prometheus with every time that it waits divided."""

    def divided(match: re.Match[str]) -> str:
        seconds = int(match[2]) * _SECONDS[match[3]] / TIMES_SHORTER
        return f"{match[1]}{round(seconds * 1000)}ms"

    waits = r"(?m)^( +(?:for|keep_firing_for|group_wait|group_interval): )(\d+)([smh])$"
    windows = r"(\[)(\d+)([smh])(?=\])"
    return re.sub(windows, divided, re.sub(waits, divided, text))


@contextlib.contextmanager
def network(name: str) -> Iterator[None]:
    """This thread, and the processes that it starts, in a network namespace (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(file: int) -> None:
        if libc.setns(file, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(other)
        finally:
            os.close(other)
        yield
    finally:
        enter(own)
        os.close(own)


class MonitoredFleet(Fleet):
    """The hosts with node_exporter and the files of the toolkit's metrics."""

    packages = "prometheus-node-exporter"

    def observe(self) -> None:
        """Have each host write its metrics."""
        for host in self.hosts:
            self.observe_host(host)
        self.record(self.balancer)
        examine(self.balancer)

    def observe_host(self, host: Machine) -> None:
        """A host's watchdog, certificate check, backup and doctor."""
        line = f'metrics_file = "{TEXTFILES}/gte_ops_watchdog.prom"'
        host.write(
            "/etc/systemd/system/gte-ops-watchdog.service.d/metrics.conf",
            f"[Service]\nReadWritePaths=-{TEXTFILES}\n",
        )
        host.sh(
            f"sed -i 's,^\\[watchdog\\]$,&\\n{line},' /etc/gte-ops/gte-ops.toml"
            " && systemctl daemon-reload && systemctl restart gte-ops-watchdog"
        )
        self.record(host)
        examine(host)

    @staticmethod
    def record(host: Machine) -> None:
        """The files that units write once in a while."""
        host.sh(
            f"ln -sf /var/lib/gte-ops-cert/gte_ops_cert.prom /var/lib/gte-ops-backup/gte_ops_backup.prom {TEXTFILES}/"
            " && systemctl start gte-ops-cert gte-ops-backup"
        )

    def replace(self, number: int) -> None:
        """A new host in the place of one that is gone, with its name and its address."""
        host = self.hosts[number]
        host.__exit__(None, None, None)
        host.__enter__()
        # It boots in seconds, as ever, and all times that the rules wait are shorter.
        host.sh("systemctl stop prometheus-node-exporter")
        self.serve(host)
        host.wait_until_serving()
        self.observe_host(host)
        host.sh("systemctl start prometheus-node-exporter")


def examine(host: Machine) -> None:
    """Run the doctor as docs/monitoring.md says."""
    host.run(
        GTE_OPS,
        "doctor",
        "--format",
        "prometheus",
        "--output",
        f"{TEXTFILES}/gte_ops_doctor.prom",
        check=False,
    )


class FleetMonitoring(Programs):
    """Prometheus and what follows, in the hosts' network. ``clock``: the first host's node_exporter."""

    def __init__(self, directory: Path, fleet: MonitoredFleet, robots: Endpoint, receiver_port: int) -> None:
        super().__init__(directory, {name: free_port() for name in ("prometheus", "alertmanager")})
        self.robots = robots
        self.clock = ShiftedExporter(f"{fleet.hosts[0].address}:9100")
        alertmanager = shorter((FILES / "gte-ops.alertmanager.yml").read_text())
        (directory / "alertmanager.yml").write_text(
            alertmanager.replace("127.0.0.1:9095", f"127.0.0.1:{receiver_port}")
        )
        (directory / "gte-ops.rules.yml").write_text(shorter((FILES / "gte-ops.rules.yml").read_text()))
        (directory / "prometheus.yml").write_text(json.dumps(self._configuration(fleet)))

    def _configuration(self, fleet: MonitoredFleet) -> dict[str, Any]:
        """The scrape file with the fleet's hosts as its comment says."""
        scrape = yaml.safe_load((FILES / "gte-ops.scrape.yml").read_text())["scrape_configs"]
        jobs = {job["job_name"]: job for job in scrape}
        served = {host.name: {"instance": host.name, "upstream": fleet.address(host)} for host in fleet.hosts}
        jobs["gte-api"]["static_configs"] = [
            {"targets": [fleet.address(host)], "labels": served[host.name]} for host in fleet.hosts
        ]
        first, *others = fleet.hosts
        jobs["node"]["static_configs"] = [
            {"targets": [f"127.0.0.1:{self.clock.port}"], "labels": served[first.name]},
            *({"targets": [f"{host.address}:9100"], "labels": served[host.name]} for host in others),
            {"targets": [f"{fleet.balancer.address}:9100"], "labels": {"instance": fleet.balancer.name}},
        ]
        for job in scrape:
            job["scrape_interval"] = job["scrape_timeout"] = f"{SCRAPE_SECONDS}s"
        return {
            "global": {"evaluation_interval": "1s"},
            "rule_files": ["gte-ops.rules.yml"],
            "alerting": {
                "alertmanagers": [
                    {"static_configs": [{"targets": [f"127.0.0.1:{self.ports['alertmanager']}"]}]}
                ]
            },
            "scrape_configs": [jobs["gte-api"], jobs["node"]],
        }

    def alerts(self) -> list[str]:
        """The alerts that fire, or will if nothing changes."""
        return sorted({alert["labels"]["alertname"] for alert in self.api("alerts")["alerts"]})

    def messages(self) -> list[str]:
        """What the robot was told."""
        return self.robots.texts("fine3")


@contextlib.contextmanager
def fleet_monitoring(fleet: MonitoredFleet, directory: Path) -> Iterator[FleetMonitoring]:
    """Everything, running and scraping each host; the calling thread is in the hosts' network meanwhile."""
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        stack.enter_context(network(fleet.bridge))
        robots = stack.enter_context(robot_endpoint())
        (directory / "receiver").mkdir()
        taken = stack.enter_context(receiver(directory / "receiver", robots))
        made = FleetMonitoring(directory, fleet, robots, taken.port)
        stack.callback(made.clock.close)
        stack.callback(made.end_all)
        made.start_alertmanager()
        made.start_prometheus(lookback=f"{5 * SCRAPE_SECONDS}s")
        targets = 2 * len(fleet.hosts) + 1
        wait_for(lambda: made.value("sum(up)") == targets, "Prometheus to scrape all", within=60, every=0.5)
        yield made
