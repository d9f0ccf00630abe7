"""Applications that get stuck on request, for the watchdog: each worker only when the test names it."""

from __future__ import annotations

import threading
import time

from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

# /stick, /deadlock, /spin, /leak and /eat harm only the worker that the file `victim` names by its pid, or "any".
STICKING_APP = r"""
import os, re, threading, time
from pathlib import Path
from flask import Flask, jsonify, request
from service.monitoring import progress

app = Flask(__name__)
here = Path(__file__).parent
lock = threading.Lock()
kept = []
if progress.current():
    progress.current().enter("ready")

def meant():
    named = (here / "victim").read_text().strip() if (here / "victim").exists() else ""
    if named not in ("any", str(os.getpid())):
        return False
    with (here / f"stuck-{os.getpid()}").open("a") as mark:
        mark.write("1\n")
    return True

@app.get("/health")
def health():
    return jsonify(status="ok", service="sticking")

@app.get("/stick")
def stick():
    if meant():
        threading.Event().wait()
    return jsonify(result={})

@app.get("/deadlock")
def deadlock():
    if meant():
        with lock:
            with lock:
                pass
    return jsonify(result={})

@app.get("/spin")
def spin():
    # One call into C that never gives the interpreter lock back.
    if meant():
        re.match(r"(a+)+$", "a" * 64 + "b")
    return jsonify(result={})

@app.get("/slow")
def slow():
    # Each worker writes down what it began, so that a client can tell whose request was lost.
    with (here / f"begun-{os.getpid()}").open("a") as begun:
        begun.write(request.args.get("id", "") + "\n")
    time.sleep(0.4)
    return jsonify(result={})

def spend():
    # The last descriptors too, whenever one is given back.
    while True:
        try:
            kept.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            time.sleep(0.05)

@app.get("/leak")
def leak():
    if meant():
        threading.Timer(0.3, spend).start()
    return jsonify(result={})

@app.get("/eat/<int:megabytes>")
def eat(megabytes):
    # Written to, so that it is resident.
    if meant():
        kept.append(bytearray(os.urandom(1 << 20)) * megabytes)
    return jsonify(result={})

@app.post("/predict")
def predict():
    return jsonify(result={})
"""

# Boots at once, except while the file `hang` is there.
BOOT_HANG_APP = """
import time
from pathlib import Path
from flask import Flask, jsonify
from service.monitoring import progress

while (Path(__file__).parent / "hang").exists():
    time.sleep(0.1)
app = Flask(__name__)
if progress.current():
    progress.current().enter("ready")

@app.get("/health")
def health():
    return jsonify(status="ok", service="booting")
"""

# The service itself, whose models load only once the file `hang` is gone.
SLOW_LOADING_APP = """
import time
from pathlib import Path
from service.engines.registry import EngineRegistry

hang = Path(__file__).parent / "hang"
load = EngineRegistry._load_all

def slowly(self, then):
    while hang.exists():
        time.sleep(0.05)
    load(self, then)

EngineRegistry._load_all = slowly
from service.app import create_app

app = create_app()
"""

# Its worker refuses to boot while the file `broken` is there.
CRASHING_APP = """
from pathlib import Path
from flask import Flask, jsonify
from service.monitoring import progress

if (Path(__file__).parent / "broken").exists():
    raise RuntimeError("the model does not load")
app = Flask(__name__)
if progress.current():
    progress.current().enter("ready")

@app.get("/health")
def health():
    return jsonify(status="ok", service="crashing")
"""


def ask_aside(stack: Stack, path: str) -> None:
    """One request in a thread of its own: nobody waits for its answer."""
    threading.Thread(
        target=lambda: stack.request(path=path, door="backend", timeout=60.0), daemon=True
    ).start()


def stick(stack: Stack, path: str, *, victim: int | None, count: int) -> None:
    """Has ``count`` requests stuck in worker ``victim`` (any worker for None), by its own record."""
    (stack.app_dir / "victim").write_text("any" if victim is None else str(victim))

    def stuck() -> int:
        return sum(
            len([r for r in record["in_flight"] if r["path"] == path])
            for record in stack.progress()
            if victim in (None, record["pid"])
        )

    def push() -> bool:
        missing = count - stuck()
        for _ in range(missing):
            ask_aside(stack, path)
        time.sleep(0.1)
        return stuck() >= count

    wait_for(push, f"{count} requests to be stuck", within=15, every=0.05)
    (stack.app_dir / "victim").write_text("")
