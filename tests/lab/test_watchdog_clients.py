"""The watchdog as clients meet it: every request is counted, over a worker's replacement and over saturation."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pytest

from tests.lab.faults.stuck import stick
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for
from tests.lab.watched import resident, rungs, status, watched

# What one request to /slow takes in the application, seconds.
SERVICE_SECONDS = 0.4


@dataclass
class Tally:
    """What became of each request, by its number: a status, or why there is none."""

    outcomes: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, number: str, outcome: str) -> None:
        """One request has ended."""
        with self.lock:
            self.outcomes[number] = outcome

    @property
    def by_outcome(self) -> Counter[str]:
        """How many ended how."""
        return Counter(self.outcomes.values())

    def lost(self) -> set[str]:
        """The requests that got no answer 200."""
        return {number for number, outcome in self.outcomes.items() if outcome != "200"}


def _ask(stack: Stack, tally: Tally, number: str, timeout: float) -> None:
    answer = stack.request(path=f"/slow?id={number}", door="backend", timeout=timeout)
    tally.note(number, str(answer.status or answer.error))


@contextmanager
def closed_loop(stack: Stack, clients: int) -> Iterator[Tally]:
    """So many clients, each asking again as soon as it is answered; all have their answers when this ends."""
    tally, ended, numbers = Tally(), threading.Event(), itertools.count()

    def run() -> None:
        while not ended.is_set():
            _ask(stack, tally, str(next(numbers)), 30.0)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield tally
    finally:
        ended.set()
        for thread in threads:
            thread.join(35)


def open_loop(stack: Stack, *, rate: float, seconds: float, patience: float) -> Tally:
    """Requests at a steady rate, whatever became of those before; each waits ``patience`` seconds at most."""
    tally, threads = Tally(), []
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        thread = threading.Thread(target=_ask, args=(stack, tally, str(number), patience), daemon=True)
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(patience + 5)
    return tally


def begun(stack: Stack, pid: int) -> set[str]:
    """The numbers of the requests that a worker has begun, by its own account."""
    file = stack.app_dir / f"begun-{pid}"
    return set(file.read_text().split()) if file.exists() else set()


@pytest.mark.parametrize("worker_class", ["sync", pytest.param("gthread", marks=pytest.mark.long)])
def test_no_request_of_a_healthy_worker_is_lost_while_a_stuck_one_is_replaced(worker_class: str) -> None:
    """A gthread worker whose threads are stuck goes on accepting (measured): what waits in it is lost with it."""
    threads = 2 if worker_class == "gthread" else None
    with watched(workers=2, worker_class=worker_class, threads=threads, timeout=600) as stack:
        victim, healthy = (w.pid for w in stack.gunicorn_workers)
        stick(stack, "/stick", victim=victim, count=threads or 1)
        with resident(stack), closed_loop(stack, clients=3) as tally:
            wait_for(lambda: not psutil.pid_exists(victim), "the stuck worker to go", within=20)
            wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery", within=20, every=0.2)
        assert rungs(stack) == ["kill_worker"]
        assert healthy in {w.pid for w in stack.gunicorn_workers}
        assert len(begun(stack, healthy)) > 3
        assert begun(stack, healthy) & tally.lost() == set(), tally.by_outcome
        if worker_class == "sync":
            # It was in the middle of one request and had accepted no other.
            assert tally.lost() == set(), tally.by_outcome


def _saturate(seconds: float) -> None:
    workers = 2
    with watched(workers=workers, worker_class="sync", threads=None, timeout=600, deadline="5s") as stack:
        before = {w.pid for w in stack.gunicorn_workers}
        capacity = workers / SERVICE_SECONDS
        with resident(stack) as running:
            tally = open_loop(stack, rate=3 * capacity, seconds=seconds, patience=4.0)
            assert "saturated" in running.said
        assert rungs(stack) == [], "no action may happen"
        assert {w.pid for w in stack.gunicorn_workers} == before
        answered = tally.by_outcome["200"]
        assert answered < 0.7 * len(tally.outcomes), "it was not saturated"
        served = sum(len(begun(stack, pid)) for pid in before)
        assert served > 0.6 * capacity * seconds, tally.by_outcome


def test_three_times_its_capacity_moves_the_watchdog_to_nothing() -> None:
    _saturate(6)


@pytest.mark.long
def test_three_times_its_capacity_for_over_a_minute_moves_the_watchdog_to_nothing() -> None:
    _saturate(75)
