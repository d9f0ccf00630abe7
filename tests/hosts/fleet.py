"""Three hosts behind a balancer, clients that load them, and the bundles of all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.hosts.host import HOME
from tests.hosts.layer import DOMAIN, REPOSITORY, settings_text
from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.waiting import wait_for

PORT = 8000
CLIENTS = 4


@dataclass(frozen=True)
class Request:
    """One client's request. ``status`` 0: no answer."""

    started: float
    method: str
    status: int
    seconds: float


class Fleet:
    """``hosts`` serve behind ``balancer``, which has nginx and gte-ops alone."""

    packages = ""

    def __init__(self, layer: Path, count: int = 3) -> None:
        self._layer, self._count = layer, count
        self._closing = ExitStack()
        self.hosts: list[Machine] = []

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            self.hosts = [closing.enter_context(self._machine()) for _ in range(self._count)]
            self.balancer = closing.enter_context(self._machine())
            self._start()
            self._balance()
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _machine(self) -> Machine:
        return Machine(self._layer, packages=self.packages)

    def _start(self) -> None:
        for host in self.hosts:
            self.serve(host)
        for host in self.hosts:
            host.wait_until_serving()

    @staticmethod
    def serve(host: Machine) -> None:
        """Have its gunicorn listen for the balancer."""
        host.sh(f"echo GTE_BIND=0.0.0.0:{PORT} >>/etc/gte-api/environment; systemctl restart gte-api")

    def _balance(self) -> None:
        entries = "".join(f'[[nginx.upstream]]\naddress = "{self.address(host)}"\n' for host in self.hosts)
        balancer = self.balancer
        balancer.sh(
            "systemctl disable --now gte-api gte-ops-watchdog gte-ops-backup.timer gte-ops-drill.timer"
        )
        balancer.write("/etc/gte-ops/gte-ops.toml", settings_text(bind="") + entries)
        balancer.run(GTE_OPS, "render", "nginx", "--install")
        # All clients are one address, whose rate is not what is tested.
        balancer.sh(
            "sed -i 's,rate=60r/m,rate=60000r/m,; s,burst=20 ,burst=1000 ,' /etc/nginx/conf.d/gte-api.conf"
            " && nginx -t && systemctl reload nginx"
        )
        wait_for(lambda: balancer.answers("/ready") == 200, "the balancer to serve", within=60, every=0.3)

    @property
    def bridge(self) -> str:
        """The network namespace of the hosts' bridge."""
        return str(json.loads((HOME / "hosts" / self.balancer.name / "host.json").read_text())["bridge"])

    @staticmethod
    def address(host: Machine) -> str:
        """Where a host's gunicorn listens."""
        return f"{host.address}:{PORT}"

    def deploy(self, action: str, host: Machine) -> None:
        """Take a host out, or put it back. Raises HostError."""
        self.balancer.run(GTE_OPS, "deploy", action, self.address(host))

    @contextmanager
    def clients(self, directory: Path) -> Iterator[list[Request]]:
        """Clients that ask during the block; afterwards the list holds every request of theirs."""
        file = directory / f"load-{time.monotonic_ns()}"
        facts = json.loads((HOME / "hosts" / self.balancer.name / "host.json").read_text())
        requests: list[Request] = []
        process = subprocess.Popen(
            [
                *("ip", "netns", "exec", facts["bridge"], sys.executable, "-m", "tests.hosts.load"),
                *(facts["address"], DOMAIN, str(CLIENTS), str(file)),
            ],
            cwd=REPOSITORY,
            env=os.environ,
        )
        try:
            wait_for(
                lambda: file.exists() and len(file.read_text().splitlines()) > 2 * CLIENTS,
                "the clients",
                within=60,
            )
            yield requests
        finally:
            # Those under way come to their end, or to the client's patience.
            process.terminate()
            process.wait()
            for line in file.read_text().splitlines():
                started, method, status, seconds = line.split()
                requests.append(Request(float(started), method, int(status), float(seconds)))

    def bundles(self, directory: Path, hosts: Sequence[Machine]) -> dict[str, Any]:
        """The fleet's report on the bundles of ``hosts`` and the balancer."""
        directory.mkdir()
        for machine in (*hosts, self.balancer):
            machine.sh("rm -f /root/bundle.json")
            machine.run(GTE_OPS, "doctor", "--bundle", "/root/bundle.json", check=False)
            (directory / f"{machine.name}.json").write_text(machine.sh("cat /root/bundle.json"))
        return diagnosed(directory)


def diagnosed(directory: Path) -> dict[str, Any]:
    """The fleet's report on the bundles in ``directory``."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "ops.cli", "doctor", "--from-bundle", str(directory)),
            *("--format", "json"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def codes(report: dict[str, Any], machine: Machine) -> list[str]:
    """The causes that the fleet's report names for a host."""
    (host,) = (item for item in report["hosts"] if item["file"] == f"{machine.name}.json")
    return [cause["code"] for cause in host["causes"]]


def summaries(report: dict[str, Any], machine: Machine, code: str) -> str:
    """What the report says of one cause of a host."""
    (host,) = (item for item in report["hosts"] if item["file"] == f"{machine.name}.json")
    return " ".join(cause["summary"] for cause in host["causes"] if cause["code"] == code)


def failed(requests: Sequence[Request]) -> list[Request]:
    """Those that got no answer, or a server's error."""
    return [request for request in requests if request.status == 0 or request.status >= 500]


def counted(requests: Sequence[Request]) -> str:
    """A line for the test's output."""
    statuses = Counter(request.status for request in requests)
    slowest = max((request.seconds for request in requests), default=0.0)
    return (
        f"{len(requests)} requests, {dict(statuses)}, {len(failed(requests))} failed, slowest {slowest:.1f} s"
    )
