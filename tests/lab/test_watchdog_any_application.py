"""Any application under gunicorn with gte_progress around it: what awaits is left alone, what blocks is mended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from tests.lab.applications import UVICORN_WORKER
from tests.lab.faults.stuck import ask_aside
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for
from tests.lab.watched import answers, evidence, resident, rungs, status, watched

STARLETTE = """
import asyncio, os, time
from pathlib import Path
from gte_progress import AsgiProgress
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

here = Path(__file__).parent


def meant(name):
    victim = here / "victim"
    if victim.exists() and victim.read_text() == str(os.getpid()):
        (here / name).write_text(str(time.time()))
        return True
    return False


async def health(request):
    return JSONResponse({"status": "ok"})


async def wait(request):
    if meant("waits"):
        while not (here / "go-on").exists():
            await asyncio.sleep(0.2)
    return JSONResponse({"result": {}})


async def block(request):
    if meant("blocks"):
        time.sleep(600)
    return JSONResponse({"result": {}})


routes = [Route("/health", health), Route("/ready", health), Route("/wait", wait), Route("/block", block)]
app = AsgiProgress(Starlette(routes=routes))
"""

FASTAPI = """
import asyncio, os, time
from pathlib import Path
from fastapi import FastAPI
from gte_progress import AsgiProgress

here = Path(__file__).parent
app = FastAPI()
app.add_middleware(AsgiProgress)


def meant(name):
    victim = here / "victim"
    if victim.exists() and victim.read_text() == str(os.getpid()):
        (here / name).write_text(str(time.time()))
        return True
    return False


@app.get("/health")
@app.get("/ready")
async def health():
    return {"status": "ok"}


@app.get("/wait")
async def wait():
    if meant("waits"):
        while not (here / "go-on").exists():
            await asyncio.sleep(0.2)
    return {"result": {}}


@app.get("/block")
async def block():
    if meant("blocks"):
        time.sleep(600)
    return {"result": {}}
"""

# gevent's time.sleep lets other greenlets run: a real one is what blocks.
FLASK = """
import os, time
from pathlib import Path
from flask import Flask
from gevent.monkey import get_original
from gte_progress import WsgiProgress

here = Path(__file__).parent
app = Flask(__name__)
app.wsgi_app = WsgiProgress(app.wsgi_app)


def meant(name):
    victim = here / "victim"
    if victim.exists() and victim.read_text() == str(os.getpid()):
        (here / name).write_text(str(time.time()))
        return True
    return False


@app.get("/health")
@app.get("/ready")
def health():
    return {"status": "ok"}


@app.get("/wait")
def wait():
    if meant("waits"):
        while not (here / "go-on").exists():
            time.sleep(0.2)
    return {"result": {}}


@app.get("/block")
def block():
    if meant("blocks"):
        get_original("time", "sleep")(600)
    return {"result": {}}
"""

LOOPS = [
    pytest.param(STARLETTE, UVICORN_WORKER, id="starlette under uvicorn's worker"),
    pytest.param(FASTAPI, UVICORN_WORKER, id="fastapi under uvicorn's worker", marks=pytest.mark.long),
    pytest.param(STARLETTE, "asgi", id="starlette under gunicorn's asgi worker", marks=pytest.mark.long),
    pytest.param(FLASK, "gevent", id="flask under gevent"),
]


@contextmanager
def recorded(app: str, worker_class: str, **options: Any) -> Iterator[Stack]:
    """Two workers of an application of somebody else's, whose requests are recorded."""
    with watched(
        app=app, app_progress=False, worker_class=worker_class, workers=2, threads=None, **options
    ) as stack:
        yield stack


def send_to_one(stack: Stack, path: str, mark: str) -> int:
    """Has one worker work on a request for ``path``, and returns its pid."""
    victim = stack.gunicorn_workers[0].pid
    (stack.app_dir / "victim").write_text(str(victim))

    def is_there() -> bool:
        ask_aside(stack, path)
        time.sleep(0.1)
        return (stack.app_dir / mark).exists()

    wait_for(is_there, f"a request for {path} in worker {victim}", within=30, every=0.05)
    (stack.app_dir / "victim").write_text("")
    return victim


@pytest.mark.parametrize(
    ("app", "worker_class"),
    [LOOPS[0], *(pytest.param(*each.values, id=each.id, marks=pytest.mark.long) for each in LOOPS[1:])],
)
def test_a_request_that_awaits_for_ten_deadlines_costs_no_worker(app: str, worker_class: str) -> None:
    with recorded(app, worker_class, deadline="2s") as stack:
        before = {worker.pid for worker in stack.gunicorn_workers}
        with resident(stack) as watchdog:
            victim = send_to_one(stack, "/wait", "waits")
            began = float((stack.app_dir / "waits").read_text())
            wait_for(lambda: time.time() - began > 20, "ten deadlines", within=60, every=0.5)
            (record,) = [one for one in stack.progress() if one["pid"] == victim]
            assert "/wait" in [request["path"] for request in record["in_flight"]]
            assert time.time() - record["beat"] < 5
            assert '"state": "suspect"' not in watchdog.said
        assert rungs(stack) == []
        assert {worker.pid for worker in stack.gunicorn_workers} == before
        (stack.app_dir / "go-on").touch()
        wait_for(
            lambda: not any(one["in_flight"] for one in stack.progress()), "the request to end", within=30
        )


@pytest.mark.parametrize(("app", "worker_class"), LOOPS)
def test_a_blocked_event_loop_is_proven_and_mended_within_the_deadline(app: str, worker_class: str) -> None:
    """One deadline proves it; the stacks are kept as evidence, then the worker is replaced."""
    with recorded(app, worker_class, deadline="5s") as stack:
        with resident(stack) as watchdog:
            victim = send_to_one(stack, "/block", "blocks")
            began = float((stack.app_dir / "blocks").read_text())
            wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery", within=60, every=0.3)
            proven, *_ = [event for event in events(watchdog.said) if event.get("fault") == "worker_blocked"]
        # The last beat may be a second older than the block, and the next look a second younger than the deadline.
        assert 3.5 < datetime.fromisoformat(proven["time"]).timestamp() - began < 8
        (action,) = status(stack)["actions"]
        assert (action["rung"], action["fault"], action["pid"]) == ("kill_worker", "worker_blocked", victim)
        assert victim not in {worker.pid for worker in stack.gunicorn_workers}
        stacks = [text for name, text in evidence(stack).items() if name.startswith(f"stacks-{victim}")]
        assert any("block (" in text for text in stacks), evidence(stack).keys()
        assert answers(stack)


def events(said: str) -> list[dict[str, Any]]:
    """The watchdog's lines of JSON."""
    return [json.loads(line) for line in said.splitlines()]


@pytest.mark.long
def test_a_blocked_event_loop_is_named_by_the_doctor() -> None:
    with recorded(STARLETTE, UVICORN_WORKER, deadline="5s") as stack:
        send_to_one(stack, "/block", "blocks")
        wait_for(
            lambda: any(time.time() - one.get("beat", time.time()) > 6 for one in stack.progress()),
            "the beat to be old",
            within=30,
        )
        ran = stack.doctor()
        assert ran.codes[0] == "GUN015", ran.stdout
        assert "event loop" in ran.stdout


def test_a_stuck_thread_is_found_by_the_middleware_of_a_gthread_worker() -> None:
    """Without an event loop: by the record alone, as in our own service."""
    app = FLASK.replace('get_original("time", "sleep")(600)', "threading.Event().wait()").replace(
        "import os, time", "import os, threading, time"
    )
    with recorded(
        app.replace("from gevent.monkey import get_original\n", ""), "gthread", deadline="2s"
    ) as stack:
        with resident(stack):
            victim = send_to_one(stack, "/block", "blocks")
            wait_for(lambda: rungs(stack), "a step", within=60, every=0.3)
        assert victim not in {worker.pid for worker in stack.gunicorn_workers}
