"""Applications without progress records whose workers all block or spin; and their twins, which take long and serve.

The deadline of the blocked ones is a request's; what computes has two of them, since overload looks alike at first.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.applications import UVICORN_WORKER
from tests.lab.faults.stuck import ask_aside
from tests.lab.stack import Stack
from tests.lab.test_watchdog_any_application import events, send_to_one
from tests.lab.waiting import wait_for
from tests.lab.watched import (
    FAILING,
    HEALTHY,
    answers,
    evidence,
    once,
    resident,
    rungs,
    status,
    told,
    watched,
)

# Each harms only the worker that the file `victim` names by its pid, or "any".
MEANT = """
import os, time
from pathlib import Path

here = Path(__file__).parent


def meant(name):
    victim = (here / "victim").read_text() if (here / "victim").exists() else ""
    if victim not in ("any", str(os.getpid())):
        return False
    (here / name).write_text(str(time.time()))
    with (here / f"stuck-{os.getpid()}").open("a") as mark:
        mark.write(name + "\\n")
    return True


def spin():
    while not (here / "go-on").exists():
        for _ in range(100_000):
            pass
"""

ASGI = (
    MEANT
    + """
import asyncio
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/health")
@app.get("/ready")
async def health():
    return {"status": "ok"}


@app.get("/block")
async def block():
    if meant("blocks"):
        time.sleep(600)


@app.get("/spin")
async def spinning():
    if meant("spins"):
        spin()


@app.get("/wait")
async def wait():
    if meant("waits"):
        while not (here / "go-on").exists():
            await asyncio.sleep(0.2)


@app.get("/stream")
async def stream():
    async def parts():
        if meant("streams"):
            while not (here / "go-on").exists():
                yield b"part\\n"
                await asyncio.sleep(0.5)
    return StreamingResponse(parts())
"""
)

WSGI = (
    MEANT
    + """
from flask import Flask

try:
    from gevent.monkey import get_original
    # gevent's own lets other greenlets run.
    nap = get_original("time", "sleep")
except ImportError:
    nap = time.sleep
app = Flask(__name__)


@app.get("/health")
@app.get("/ready")
def health():
    return {"status": "ok"}


@app.get("/block")
def block():
    if meant("blocks"):
        nap(600)
    return {}


@app.get("/spin")
def spinning():
    if meant("spins"):
        spin()
    return {}
"""
)


@contextmanager
def unrecorded(app: str, worker_class: str, **options: Any) -> Iterator[Stack]:
    """Two workers that keep no account of their requests."""
    options = {"workers": 2, "threads": None, "timeout": 600} | options
    with watched(app=app, app_progress=False, worker_class=worker_class, **options) as stack:
        stack.config["app"].pop("progress_dir", None)
        stack.write_config()
        yield stack


def harm_all(stack: Stack, path: str, *, each: int = 1) -> float:
    """Has every worker work on ``each`` requests for ``path``; returns when the last of them began."""
    pids = [worker.pid for worker in stack.gunicorn_workers]
    (stack.app_dir / "victim").write_text("any")

    def all_harmed() -> bool:
        marks = [stack.app_dir / f"stuck-{pid}" for pid in pids]
        if all(mark.exists() and len(mark.read_text().split()) >= each for mark in marks):
            return True
        ask_aside(stack, path)
        time.sleep(0.1)
        return False

    wait_for(all_harmed, f"every worker to work on {path}", within=30, every=0.05)
    (stack.app_dir / "victim").write_text("")
    return time.time()


@pytest.mark.parametrize(
    ("app", "worker_class"),
    [
        pytest.param(ASGI, UVICORN_WORKER, id="uvicorn's worker"),
        pytest.param(ASGI, "asgi", id="gunicorn's asgi worker", marks=pytest.mark.long),
        pytest.param(WSGI, "gevent", id="gevent", marks=pytest.mark.long),
        pytest.param(WSGI, "tornado", id="tornado", marks=pytest.mark.long),
    ],
)
def test_event_loops_that_all_block_are_proven_at_the_deadline_and_mended(
    app: str, worker_class: str
) -> None:
    with unrecorded(app, worker_class, deadline="6s") as stack:
        before = {worker.pid for worker in stack.gunicorn_workers}
        with resident(stack) as watchdog:
            harm_all(stack, "/block")
            wait_for(lambda: len(rungs(stack)) == 2, "both workers to be ended", within=60, every=0.3)
            wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery", within=60, every=0.3)
        assert rungs(stack) == ["kill_worker", "kill_worker"]
        assert {action["fault"] for action in status(stack)["actions"]} == {"worker_blocked"}
        # The first falls at the deadline, not at the second one as in an overload; the other follows it at once.
        first, *_ = [event for event in events(watchdog.said) if event["event"] == "act"]
        assert int(re.findall(r"not run for (\d+) s", first["detail"])[0]) < 12
        assert not before & {worker.pid for worker in stack.gunicorn_workers}
        assert answers(stack)
        assert any("block (" in text for name, text in evidence(stack).items() if name.startswith("stacks-"))


@pytest.mark.parametrize(
    ("app", "worker_class", "threads"),
    [
        pytest.param(WSGI, "sync", None, id="sync"),
        pytest.param(WSGI, "gevent", None, id="gevent", marks=pytest.mark.long),
        pytest.param(WSGI, "gthread", 2, id="gthread", marks=pytest.mark.long),
        pytest.param(ASGI, UVICORN_WORKER, None, id="uvicorn's worker", marks=pytest.mark.long),
        pytest.param(ASGI, "asgi", None, id="gunicorn's asgi worker", marks=pytest.mark.long),
    ],
)
def test_workers_that_all_spin_are_replaced_once_nothing_is_served_for_two_deadlines(
    app: str, worker_class: str, threads: int | None
) -> None:
    with unrecorded(app, worker_class, threads=threads, deadline="3s") as stack:
        with resident(stack):
            harm_all(stack, "/spin", each=threads or 1)
            wait_for(lambda: rungs(stack), "a step", within=90, every=0.3)
            wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery", within=60, every=0.3)
        (action,) = status(stack)["actions"]
        assert (action["rung"], action["fault"]) == ("restart", "not_answering")
        assert answers(stack)


@pytest.mark.parametrize("worker_class", [UVICORN_WORKER, pytest.param("asgi", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("path", "mark"), [("/wait", "waits"), pytest.param("/stream", "streams", marks=pytest.mark.long)]
)
def test_a_request_that_awaits_or_streams_for_ten_deadlines_costs_no_worker(
    worker_class: str, path: str, mark: str
) -> None:
    with unrecorded(ASGI, worker_class, deadline="1s") as stack:
        before = {worker.pid for worker in stack.gunicorn_workers}
        with resident(stack) as watchdog:
            send_to_one(stack, path, mark)
            began = float((stack.app_dir / mark).read_text())
            wait_for(lambda: time.time() - began > 10, "ten deadlines", within=60, every=0.5)
            assert '"state": "suspect"' not in watchdog.said
        assert rungs(stack) == []
        assert {worker.pid for worker in stack.gunicorn_workers} == before


@pytest.mark.long
@pytest.mark.parametrize(("app", "worker_class"), [(WSGI, "sync"), (WSGI, "gevent"), (ASGI, UVICORN_WORKER)])
def test_a_long_computation_while_others_are_served_costs_no_worker(app: str, worker_class: str) -> None:
    with unrecorded(app, worker_class, deadline="1s") as stack:
        before = {worker.pid for worker in stack.gunicorn_workers}
        with resident(stack):
            send_to_one(stack, "/spin", "spins")
            began = float((stack.app_dir / "spins").read_text())

            def ten_deadlines() -> bool:
                stack.request(path="/health", door="backend", timeout=2)
                return time.time() - began > 10

            wait_for(ten_deadlines, "ten deadlines", within=60, every=0.2)
        assert rungs(stack) == []
        assert {worker.pid for worker in stack.gunicorn_workers} == before


@pytest.mark.long
def test_computations_that_end_one_after_the_other_are_overload_however_long_it_lasts() -> None:
    """Every worker computes without a pause, and no /health comes through: but requests end."""
    app = WSGI.replace(
        "        spin()\n", "        end = time.time() + 1.5\n        while time.time() < end: pass\n"
    )
    with unrecorded(app, "sync", deadline="2s") as stack:
        before = {worker.pid for worker in stack.gunicorn_workers}
        (stack.app_dir / "victim").write_text("any")
        began = time.time()
        with resident(stack):

            def twelve_deadlines() -> bool:
                ask_aside(stack, "/spin")
                return time.time() - began > 24

            wait_for(twelve_deadlines, "twelve deadlines", within=60, every=0.3)
        assert rungs(stack) == []
        assert {worker.pid for worker in stack.gunicorn_workers} == before


@pytest.mark.long
def test_a_round_from_cron_is_short_while_nobody_is_served() -> None:
    """With so many failures to count first, no round acts; none may take long for evidence that is there already."""
    with unrecorded(WSGI, "gthread", threads=1, workers=1, deadline="1s", failures=50) as stack:
        harm_all(stack, "/spin")
        ran = [once(stack) for _ in range(4)]
        assert {report.exit_code for report in ran} <= {FAILING, HEALTHY}, told(ran[-1])
        seconds = [report.seconds for report in ran]
        # The first needs two dumps some seconds apart; the later ones go on from there.
        assert seconds[0] < 14, seconds
        assert max(seconds[1:]) < 10, seconds
