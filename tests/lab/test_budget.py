"""Whatever hangs, the run ends within its budget, and says what did not finish."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.facts.bundle import read_bundle
from ops.facts.probes import Backend, Exchange
from tests.lab.faults.gunicorn import DEADLOCK_APP
from tests.lab.faults.hanging import a_share_hangs, stick_without_records
from tests.lab.faults.nginx import SLOW_APP
from tests.lab.faults.stuck import STICKING_APP
from tests.lab.stack import Report, Stack
from tests.lab.waiting import wait_for

BUDGET = 3.0
# What starting, judging and writing may take on a machine that has far too much to do. A wait without a bound would
# take as long as these servers hang: for ever.
BUSY = 6.0

DRIP = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b"x" * 100_000


@contextlib.contextmanager
def hung_server(stack: Stack, port: int, speaks: bytes = b"") -> Iterator[None]:
    """Accepts every connection, sends ``speaks`` a byte at a time, and never ends it."""
    ended = threading.Event()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((stack.address, port))
    listener.listen(64)
    listener.settimeout(0.1)

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            for place in range(len(speaks) or 1_000_000):
                if ended.wait(0.05):
                    return
                if speaks:
                    connection.sendall(speaks[place : place + 1])

    def serve() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        listener.close()


def within_budget(stack: Stack) -> Report:
    ran = stack.doctor("--budget", f"{BUDGET:g}s")
    assert ran.seconds < BUDGET + BUSY, ran.stdout
    assert ran.report["duration_ms"] < (BUDGET + BUSY) * 1000
    assert ran.exit_code in (2, 3)
    return ran


@pytest.mark.parametrize("speaks", [b"", DRIP], ids=["silent", "dripping"])
def test_a_front_door_that_hangs(speaks: bytes) -> None:
    with Stack() as stack:
        stack.stop_nginx()
        with hung_server(stack, stack.ports["https"], speaks):
            ran = within_budget(stack)
    assert ran.report["symptoms"]


@pytest.mark.parametrize("speaks", [b"", DRIP], ids=["silent", "dripping"])
def test_a_backend_that_hangs(speaks: bytes) -> None:
    with Stack() as stack:
        stack.stop_gunicorn()
        with hung_server(stack, stack.ports["backend"], speaks):
            ran = within_budget(stack)
    assert ran.first in ("GUN012", "GUN007", "NGX012")


def test_everything_hangs_at_once() -> None:
    with Stack() as stack:
        stack.resolver.fall_silent()
        stack.signal_workers(signal.SIGSTOP)
        stack.signal_gunicorn(signal.SIGSTOP)
        master = stack.nginx_master
        assert master is not None
        for process in (*stack.nginx_workers, master):
            process.send_signal(signal.SIGSTOP)
        ran = within_budget(stack)
    assert "DNS001" in ran.codes
    assert "GUN007" in ran.codes


def test_a_stopped_gunicorn_is_named_without_waiting_for_the_budget() -> None:
    with Stack() as stack:
        stack.signal_workers(signal.SIGSTOP)
        stack.signal_gunicorn(signal.SIGSTOP)
        ran = stack.doctor("--budget", "30s")
    assert ran.first == "GUN007"
    assert ran.seconds < 15  # half the budget; the figure itself is benchmarks/doctor_seconds.py's


@pytest.mark.parametrize(("kind", "threads"), [("sync", None), ("gthread", 4)])
def test_a_deadlocked_service_is_named_without_waiting_for_the_budget(kind: str, threads: int | None) -> None:
    with Stack(app=DEADLOCK_APP, worker_class=kind, threads=threads) as stack:
        stack.predict(timeout=0.2)
        ran = stack.doctor("--budget", "30s")
    assert ran.codes == ["GUN007"]
    assert "deadlocked" in str(ran.report["causes"][0]["evidence"])
    assert ran.seconds < 15  # half the budget; the figure itself is benchmarks/doctor_seconds.py's


# Each prediction waits for something outside the process: whether it ends, only time can tell.
HANGING_APP = """
import time
from flask import Flask, jsonify

app = Flask(__name__)

@app.get("/health")
def health():
    return jsonify(status="ok", service="hanging")

@app.post("/predict")
def predict():
    time.sleep(600)
    return jsonify(result={})
"""


def test_what_the_record_has_waited_for_is_not_waited_for_again(tmp_path: Path) -> None:
    budget = 8.0

    def has_hung() -> bool:
        held = [time.time() - item["since"] for record in stack.progress() for item in record["in_flight"]]
        return max(held, default=0.0) > budget

    with Stack(app=HANGING_APP, app_progress=True, worker_class="sync") as stack:
        stack.predict(timeout=0.2)
        wait_for(has_hung, "a request to be in flight for long", within=60)
        ran = stack.doctor("--budget", f"{budget:g}s", "--bundle", str(tmp_path / "bundle.json"))
    assert ran.codes == ["GUN007"]
    assert "none completed since" in str(ran.report["causes"][0]["evidence"])
    backend = read_bundle(tmp_path / "bundle.json").snapshot.backend
    assert isinstance(backend, Backend)
    assert isinstance(backend.health, Exchange)
    assert "wait ended early: no worker has completed anything" in backend.health.detail


def test_a_slow_service_is_waited_for() -> None:
    with Stack(app=SLOW_APP, worker_class="sync") as stack:
        ran = stack.doctor()
    assert "GUN007" not in ran.codes
    assert not ran.report["symptoms"]


def test_a_share_of_slow_answers_is_no_hang() -> None:
    """Both threads of one of two workers are at work for longer than the doctor looks: no hang is proven."""
    slow = STICKING_APP.replace("threading.Event().wait()", "time.sleep(60)")
    assert slow != STICKING_APP
    with Stack(app=slow, layout="guide", worker_class="gthread", workers=2, threads=2) as stack:
        stick_without_records(stack, "/stick", count=2)
        wait_for(lambda: a_share_hangs(stack), "a share of the requests to wait", within=30)
        ran = stack.doctor("--budget", "5s")
    assert not {"GUN015", "GUN007"} & set(ran.codes), ran.stdout
