"""The simulation beside three real hosts behind a balancer: the same load and failure, both figures and the error.

    python -m benchmarks.fleet_measured                 as root; the table of docs/scaling.md, in about 8 minutes

Hosts and balancer are those of tests/hosts (systemd, nginx as `gte-ops render nginx` writes it, gunicorn, a bridge);
clients open a connection each, at the times of a Poisson process, whatever comes back. The engine alone is replaced:
one sync worker that sleeps for an exponential time with the measured mean (int8), because three real engines would
compete for this machine's two cores, and the queue and the balancer are what is checked. The simulation runs with 40
seeds; its range is that of the middle nine tenths. Prints Markdown.
On a machine that is busy with other work it measures that work: a row is void then.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.fleet_simulation import RATES, Failure, Outcome, Scenario, Simulation
from tests.hosts.fleet import PORT, Fleet
from tests.hosts.layer import DOMAIN, make_layer
from tests.hosts.load import ask
from tests.hosts.machine import Machine, clear_up
from tests.hosts.monitored_fleet import network
from tests.lab.waiting import wait_for

SEEDS = range(1, 41)
PATIENCE = 30.0
# Clients that begin later than this, seconds on average, have no processor time: nothing is measured then.
MOST_LATE = 0.05
DIRECTORY = "/opt/measured"
ENGINE = """\
import random
import time


def application(environ, start_response):
    environ["wsgi.input"].read()
    if environ["REQUEST_METHOD"] == "POST":
        time.sleep(random.expovariate(RATE))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]
"""
CUT_OFF = (
    "nft add table inet cut"
    " && nft add chain inet cut input '{ type filter hook input priority 0; }'"
    " && nft add chain inet cut output '{ type filter hook output priority 0; }'"
    f" && nft add rule inet cut input tcp dport {PORT} drop && nft add rule inet cut output tcp sport {PORT} drop"
)


@dataclass
class Measured:
    """What clients met. ``waits``: seconds of those that were answered; ``late``: seconds that each began late."""

    waits: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    lost: int = 0


def serve(host: Machine, rate: float) -> None:
    """Put the sleeping engine in the place of the service."""
    host.write(f"{DIRECTORY}/measured.py", ENGINE.replace("RATE", str(rate)))
    host.sh("systemctl stop gte-ops-watchdog gte-api", check=False)
    host.sh(
        "systemctl reset-failed measured 2>&1; nft delete table inet cut 2>&1; systemctl stop measured 2>&1 || :"
    )
    host.sh(
        "systemd-run --quiet --unit=measured /opt/gte-api/venv/bin/gunicorn"
        f" --chdir {DIRECTORY} --bind 0.0.0.0:{PORT} --workers 1 --timeout 600 measured:application"
    )
    wait_for(
        lambda: host.sh(f"curl -s -m 2 localhost:{PORT}/", check=False) == "{}",
        "the engine",
        within=60,
        every=0.2,
    )


def fail(host: Machine, failure: Failure) -> None:
    """Have the host fail."""
    host.sh(CUT_OFF if failure is Failure.CUT_OFF else "systemctl kill --signal=KILL measured")


def load(address: str, scenario: Scenario, fails: Callable[[], None]) -> Measured:
    """Clients at random times, each on a connection of its own; in this thread's network."""
    draw = random.Random(scenario.seed)
    outcome, lock = Measured(), threading.Lock()
    began = time.monotonic()

    def client(due: float) -> None:
        late = time.monotonic() - began - due
        status = ask(address, DOMAIN, "POST", scenario.patience)
        wait = time.monotonic() - began - due
        with lock:
            outcome.late.append(late)
            if status == 200:
                outcome.waits.append(wait)
            else:
                outcome.lost += 1

    clients = []
    failing = threading.Timer(scenario.fails_at, fails)
    failing.start()
    due = draw.expovariate(scenario.use * scenario.rate * scenario.hosts)
    while due < scenario.seconds:
        time.sleep(max(0.0, began + due - time.monotonic()))
        clients.append(threading.Thread(target=client, args=(due,)))
        clients[-1].start()
        due += draw.expovariate(scenario.use * scenario.rate * scenario.hosts)
    for thread in (*clients, failing):
        thread.join()
    return outcome


def detoured(fleet: Fleet) -> int:
    """The requests that nginx sent to more than one host."""
    log = fleet.balancer.sh("cat /var/log/nginx/gte-access.log")
    return sum(
        ", " in line.partition("upstream=")[2].partition(" upstream_status=")[0] for line in log.splitlines()
    )


def measure(fleet: Fleet, scenario: Scenario) -> tuple[Measured, int]:
    """One run on the hosts, and how many requests met the failed host first."""
    for host in fleet.hosts:
        serve(host, scenario.rate)
    fleet.balancer.sh("systemctl restart nginx; : >/var/log/nginx/gte-access.log")
    with network(fleet.bridge):
        outcome = load(
            fleet.balancer.address,
            scenario,
            lambda: fail(fleet.hosts[0], scenario.failure) if scenario.failed else None,
        )
    return outcome, detoured(fleet)


@dataclass(frozen=True)
class Figure:
    """One figure of both. ``low`` and ``high``: of the simulation's middle nine tenths."""

    measured: float
    simulated: float
    low: float
    high: float

    def __str__(self) -> str:
        error = f"{self.measured / self.simulated - 1:+.0%}" if self.simulated else "-"
        form = "{:.0f}" if self.measured == int(self.measured) else "{:.2f}"
        simulated = " ".join(
            [form.format(self.simulated), f"({form.format(self.low)} to {form.format(self.high)})"]
        )
        return f"{form.format(self.measured)}, {simulated}, {error}"


def figures(scenario: Scenario, outcome: Measured, met: int) -> Iterator[Figure]:
    """Mean, median, 99th percentile, met a failed host, lost."""
    runs = [Simulation(replace(scenario, seed=seed)).run() for seed in SEEDS]
    own = Outcome(waits=outcome.waits, lost=outcome.lost, detoured=met)
    for of in (
        lambda run: statistics.fmean(run.waits),
        lambda run: run.percentile(0.5),
        lambda run: run.percentile(0.99),
        lambda run: float(run.detoured),
        lambda run: float(run.lost),
    ):
        values = sorted(map(of, runs))
        cut = len(values) // 20
        yield Figure(of(own), statistics.median(values), values[cut], values[-1 - cut])


@contextlib.contextmanager
def hosts() -> Iterator[Fleet]:
    """Three hosts and a balancer."""
    clear_up()
    with tempfile.TemporaryDirectory() as directory, Fleet(make_layer(Path(directory))) as fleet:
        yield fleet


def main() -> int:
    """Print a row for each thing that happens."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--rate", type=float, default=RATES["int8"])
    options = parser.parse_args()
    base = Scenario(
        hosts=3,
        rate=options.rate,
        use=0.7,
        seconds=options.seconds,
        fails_at=options.seconds / 3,
        patience=PATIENCE,
    )
    print(
        "| measured, simulated (range), error | requests | mean s | p50 s | p99 s | met a failed host | lost |"
    )
    print("|---|---|---|---|---|---|---|")
    with hosts() as fleet:
        for scenario, words in (
            (base, "70 % use, none fails"),
            (replace(base, use=0.5, failed=1), "50 % use, one cut off"),
            (replace(base, use=0.5, failed=1, failure=Failure.STOPPED), "50 % use, one killed: it refuses"),
        ):
            outcome, met = measure(fleet, scenario)
            if (late := statistics.fmean(outcome.late)) > MOST_LATE:
                print(
                    f"| {words} | void: clients began {late:.1f} s late, the machine is too busy |",
                    flush=True,
                )
                continue
            cells = " | ".join(map(str, figures(scenario, outcome, met)))
            print(f"| {words} | {len(outcome.waits) + outcome.lost} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
