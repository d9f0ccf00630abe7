"""Hosts behind one balancer, simulated by discrete events: what clients wait, and what a failed host costs them.

    python -m benchmarks.fleet_simulation                          the table of docs/scaling.md
    python -m benchmarks.fleet_simulation --hosts 1000 --use 0.7 --cut-off 1 --seed 7

Requests arrive as a Poisson process and go to the hosts in turn (nginx's round robin). Each host serves one after
the other (the engine's one queue); service times are exponential with the measured mean. A host that is cut off answers
nothing from a given moment on: a request that meets it waits for ``proxy_connect_timeout``, marks it as failed for
``fail_timeout`` (max_fails=1) and goes on to the next host; what the host had then never gets an answer. A stopped host
refuses at once. ``--seed`` makes a run repeatable. Prints Markdown.

The queue is tested against the M/M/1 formula, the balancer against what its rules say
(tests/unit/test_fleet_simulation.py).
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import statistics
import sys
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

CONNECT_TIMEOUT = 2.0
FAIL_TIMEOUT = 10.0
TRIES = 3
# Measured on two cores: benchmarks/README.md, 32 clients.
RATES = {"float32": 2.74, "int8": 5.70}


class Failure(StrEnum):
    """How a host fails. CUT_OFF: its packets are dropped; STOPPED: its connections are refused."""

    CUT_OFF = "cut off"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """``rate``: requests that one host serves in a second; ``use``: the share of all hosts' rate that is asked for.
    ``failed`` hosts fail at ``fails_at`` (seconds); ``patience``: how long a client waits for its answer."""

    hosts: int
    rate: float
    use: float
    seconds: float = 600.0
    failed: int = 0
    failure: Failure = Failure.CUT_OFF
    fails_at: float = 100.0
    patience: float = 120.0
    seed: int = 1


@dataclass
class Outcome:
    """What clients met. ``waits``: seconds from request to answer; ``lost``: requests without an answer in time;
    ``detoured``: those that met a failed host first."""

    waits: list[float] = field(default_factory=list)
    lost: int = 0
    detoured: int = 0

    def percentile(self, share: float) -> float:
        """The wait that ``share`` of the answered requests does not exceed."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class _Host:
    """One host: a queue and one server. Requests are their arrival times."""

    def __init__(self) -> None:
        self.queue: deque[float] = deque()
        self.is_down = False


class Simulation:
    """The events of one scenario, in order of time."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._random = random.Random(scenario.seed)
        self._hosts = [_Host() for _ in range(scenario.hosts)]
        self._out_until = [0.0] * scenario.hosts
        self._events: list[tuple[float, int, str, int, float]] = []
        self._count = itertools.count()
        self._next_host = 0
        # Attempts under way that will mark a host as failed: when, which.
        self._marks: list[tuple[float, int]] = []
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Simulate until every request that arrived in time has come to its end."""
        scenario = self._scenario
        self._at(self._random.expovariate(self._offered), "arrive")
        if scenario.failed:
            self._at(scenario.fails_at, "fail")
        while self._events:
            now, _, kind, host, arrived = heapq.heappop(self._events)
            if kind == "arrive":
                if now < scenario.seconds:
                    self._at(now + self._random.expovariate(self._offered), "arrive")
                    self._balance(now, now, 0)
            elif kind == "retry":
                self._balance(now, arrived, host)
            elif kind == "fail":
                self._fail()
            else:
                self._finish(now, host)
        return self._outcome

    @property
    def _offered(self) -> float:
        """Requests a second for all hosts."""
        return self._scenario.use * self._scenario.rate * self._scenario.hosts

    def _at(self, time: float, kind: str, host: int = 0, arrived: float = 0.0) -> None:
        heapq.heappush(self._events, (time, next(self._count), kind, host, arrived))

    def _balance(self, now: float, arrived: float, tries: int) -> None:
        """Send a request to the next host in turn that is not marked as failed."""
        if tries >= TRIES:
            self._outcome.lost += 1
            return
        number = self._chosen(now)
        host = self._hosts[number]
        if not host.is_down:
            host.queue.append(arrived)
            if len(host.queue) == 1:
                self._serve(now, number)
            return
        self._outcome.detoured += tries == 0
        is_silent = self._scenario.failure is Failure.CUT_OFF
        later = now + (CONNECT_TIMEOUT if is_silent else 0.0)
        # nginx knows of the failure once the attempt has failed: until then others meet the host too.
        self._marks.append((later, number))
        self._at(later, "retry", tries + 1, arrived)

    def _chosen(self, now: float) -> int:
        due = [mark for mark in self._marks if mark[0] <= now]
        if due:
            for time, number in due:
                self._out_until[number] = max(self._out_until[number], time + FAIL_TIMEOUT)
            self._marks = [mark for mark in self._marks if mark[0] > now]
        for _ in self._hosts:
            number = self._next_host
            self._next_host = (self._next_host + 1) % len(self._hosts)
            if self._out_until[number] <= now:
                return number
        return self._next_host

    def _serve(self, now: float, number: int) -> None:
        self._at(now + self._random.expovariate(self._scenario.rate), "finish", number)

    def _finish(self, now: float, number: int) -> None:
        host = self._hosts[number]
        if host.is_down or not host.queue:
            return
        wait = now - host.queue.popleft()
        if wait > self._scenario.patience:
            self._outcome.lost += 1
        else:
            self._outcome.waits.append(wait)
        if host.queue:
            self._serve(now, number)

    def _fail(self) -> None:
        for host in self._hosts[: self._scenario.failed]:
            host.is_down = True
            self._outcome.lost += len(host.queue)
            host.queue.clear()


def row(scenario: Scenario) -> str:
    """One line of the table."""
    outcome = Simulation(scenario).run()
    total = len(outcome.waits) + outcome.lost
    failed = f"{scenario.failed} {scenario.failure}" if scenario.failed else "none"
    return (
        f"| {scenario.hosts} | {scenario.use:.0%} | {failed} | {total} | {statistics.fmean(outcome.waits):.2f} |"
        f" {outcome.percentile(0.5):.2f} | {outcome.percentile(0.99):.2f} | {outcome.detoured} | {outcome.lost} |"
    )


def main() -> int:
    """Print the table, or the one scenario that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int)
    parser.add_argument("--precision", choices=tuple(RATES), default="int8")
    parser.add_argument("--use", type=float, default=0.7)
    parser.add_argument("--cut-off", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| hosts | use | failed | requests | mean s | p50 s | p99 s | met a failed host | lost |")
    print("|---|---|---|---|---|---|---|---|---|")
    sizes = [options.hosts] if options.hosts else [1, 3, 10, 100, 1000]
    for hosts in sizes:
        for failed in (options.cut_off,) if options.hosts else ((0, 1) if hosts > 1 else (0,)):
            scenario = Scenario(
                hosts=hosts,
                rate=RATES[options.precision],
                use=options.use,
                failed=failed,
                seconds=options.seconds,
                seed=options.seed,
            )
            print(row(scenario), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
