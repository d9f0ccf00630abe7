"""The plateau of GTE's two processes' memory: what they hold once every size of batch has been computed.

    python -m benchmarks.encoder_memory --checkpoint DIRECTORY [--precision int8] [--passes 3]
    python -m benchmarks.encoder_memory --checkpoint DIRECTORY --http 120      the whole service under HTTP load

The worst load that is accepted is full batches, and of every number of rows, because oneDNN keeps code for each. A pass
computes one batch of each number of rows up to GTE_BATCH_TOKENS (512), which a queue never exceeds unless one text
alone does, and no text has more than 512 tokens. Proportional set size of forkserver and engine, MiB, beside the bytes
of the weights as the precision keeps them, from config.json.

``--http SECONDS``: gunicorn's master, its worker, forkserver and engine, while sixteen clients send lists of one to
sixty-four texts of all lengths to /v1/embeddings and every eighth request is a list of a megabyte.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy
import psutil

from service.engines.forkserver.client import Forkserver
from service.engines.gte.checkpoint import Configuration, read_configuration
from service.engines.gte.engine import GteEngine, GteLaunch
from service.engines.gte.tokens import Tokens

CLIENTS = 16
LARGEST = 512  # tokens of a batch, GTE_BATCH_TOKENS' default
# Bytes of a weight: of the linear layers, and of the table of words.
BYTES = {"float32": (4, 4), "bfloat16": (2, 2), "int8": (1, 2)}


def weight_bytes(configuration: Configuration, precision: str) -> int:
    """The weights as the engine keeps them; the small vectors (biases, norms, scales) left out."""
    in_layer, in_table = BYTES[precision]
    hidden = configuration.hidden
    layer = 4 * hidden * hidden + 2 * hidden * configuration.intermediate
    table = configuration.vocabulary * hidden
    places = configuration.positions * hidden
    return configuration.layers * layer * in_layer + table * in_table + places * 4


def held(engine: GteEngine, forkserver: Forkserver) -> float:
    """PSS of both, MiB."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in (engine.pid, forkserver.pid)) / 2**20


def batches(configuration: Configuration) -> list[list[Tokens]]:
    """One batch of each number of rows, the largest first, in texts of at most 200 tokens; then one longest text."""
    made = []
    for rows in range(LARGEST, 0, -16):
        lengths = [min(200, rows - begin) for begin in range(0, rows, 200)]
        made.append([numpy.arange(length, dtype=numpy.int32) + 200 for length in lengths])
    return [*made, [numpy.arange(configuration.positions, dtype=numpy.int32)]]


class Load:
    """Sixteen clients until the end of the block; what they are answered."""

    def __init__(self, port: int) -> None:
        self.statuses: Counter[int] = Counter()
        self._port = port
        self._over = threading.Event()

    def __enter__(self) -> "Load":
        for number in range(CLIENTS):
            threading.Thread(target=self._ask, args=(number,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()

    def _ask(self, seed: int) -> None:
        choose = random.Random(seed)
        while not self._over.is_set():
            count, length = (600, 500) if choose.random() < 1 / 8 else (choose.randint(1, 64), 0)
            texts = [
                "".join(chr(0x4E00 + choose.randrange(5000)) for _ in range(length or choose.randint(1, 700)))
                for _ in range(count)
            ]
            body = json.dumps({"model": "gte", "input": [text[:500] for text in texts]}, ensure_ascii=False)
            link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=90)
            with contextlib.closing(link), contextlib.suppress(OSError, http.client.HTTPException):
                link.request("POST", "/v1/embeddings", body.encode(), {"Content-Type": "application/json"})
                answer = link.getresponse()
                answer.read()
                self.statuses[answer.status] += 1
                if answer.status != 200:
                    self._over.wait(1)


def held_by_tree(pid: int) -> dict[str, float]:
    """PSS, MiB, of a gunicorn and all its descendants, by what each is."""
    found: dict[str, float] = {}
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            is_engine = "service.engines.gte.process" in process.cmdline()
            kind = "forkserver and engine" if is_engine else "master and worker"
            found[kind] = found.get(kind, 0.0) + process.memory_full_info().pss / 2**20
    return found


def under_http(checkpoint: Path, precision: str, seconds: float) -> None:
    """Start the service and print what it holds, ten times during the load."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    work = tempfile.mkdtemp()
    environment = os.environ | {
        "GTE_MODEL_DIR": str(checkpoint),
        "GTE_PRECISION": precision,
        "GTE_BIND": f"127.0.0.1:{port}",
        "GTE_PROGRESS_DIR": str(Path(work, "progress")),
        "GTE_ACCESS_LOG": "off",
        "GTE_ERROR_LOG": "/dev/null",
    }
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "python:service.gunicorn_conf",
        "service.app:create_app()",
    ]
    gunicorn = subprocess.Popen(command, env=environment)
    try:
        while not is_ready(port):
            time.sleep(0.2)
        print(f"ready: {held_by_tree(gunicorn.pid)}", flush=True)
        with Load(port) as load:
            for number in range(1, 11):
                time.sleep(seconds / 10)
                now = {kind: round(value) for kind, value in held_by_tree(gunicorn.pid).items()}
                print(
                    f"after {number * seconds / 10:.0f} s: {now}, answers {dict(load.statuses)}", flush=True
                )
    finally:
        gunicorn.terminate()
        gunicorn.wait(60)


def is_ready(port: int) -> bool:
    """Whether ``/ready`` says so."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(link):
            link.request("GET", "/ready")
            return link.getresponse().status == 200
    return False


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="The plateau of GTE's memory")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--precision", choices=BYTES, default="int8")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--http", type=float, metavar="SECONDS", help="the whole service under HTTP load")
    arguments = parser.parse_args()
    if arguments.http:
        under_http(arguments.checkpoint, arguments.precision, arguments.http)
        return
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # as gunicorn_conf sets it
    configuration = read_configuration(arguments.checkpoint)
    forkserver = Forkserver(GteLaunch(arguments.checkpoint, arguments.precision, 2).forkserver())
    engine = GteEngine(forkserver)
    try:
        weights = weight_bytes(configuration, arguments.precision) / 2**20
        print(f"{arguments.precision}, {configuration.layers} layers: weights {weights:.0f} MiB", flush=True)
        print(f"ready: {held(engine, forkserver):.0f} MiB", flush=True)
        for number in range(arguments.passes):
            for batch in batches(configuration):
                engine.encode(batch, 60.0)
            now = held(engine, forkserver)
            print(f"after pass {number + 1}: {now:.0f} MiB, weights and {now - weights:.0f}", flush=True)
    finally:
        engine.end()
        forkserver.end()


if __name__ == "__main__":
    main()
