"""What a refusal and ``/health`` cost the main loop, and how they fare beside threads that compute in Python.

    python -m benchmarks.refusals [--rounds 3] [--before DIRECTORY]

The code of the main loop itself (``gunicorn_patches``, the door, the access log) on real connections, without gunicorn
around it: processor time, which a busy machine changes little, not the time of a clock.

- refusal: microseconds of processor time for a request that is refused because every place is taken; of this checkout
  and, in turn, of the one in DIRECTORY.
- turns: how long a pass of the main loop that refuses ten requests takes, while two threads compute in Python and want
  the interpreter lock all the time; and the work of these threads a processor second. By switch interval; only the
  numbers of one row are comparable. From the second refusal in a pass on it ends with a pause of 3 ms.
"""

import argparse
import inspect
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict, deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.embedded_default import spread
from benchmarks.open_loop import percentile

ROOT = Path(__file__).parent.parent
BODY = '{"task_type":"ner","input_text":"2022年北京冬奥会在北京举行，2022年北京冬奥会在北京举行"}'.encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
REQUEST = HEAD % len(BODY) + BODY
INTERVALS = (0.005, 0.001, 0.0005)
REFUSALS = 4000
CONNECTIONS = 40


class MainLoop:
    """The reception of a worker whose places are all taken, and forty connections to it."""

    def __init__(self) -> None:
        """Take the places and open the connections; ``directory`` is of the logs."""
        from gunicorn.config import Config  # type: ignore[import-untyped,unused-ignore]
        from gunicorn.glogging import Logger  # type: ignore[import-untyped,unused-ignore]

        from service import gunicorn_conf, gunicorn_patches
        from service.admission.client import Client
        from service.app import create_app
        from service.engines.registry import EngineRegistry
        from service.prediction.context import context_of
        from service.settings import read_settings

        configuration = Config()
        for name in ("accesslog", "errorlog", "access_log_format", "keepalive"):
            configuration.set(name, getattr(gunicorn_conf, name))
        app = create_app(read_settings(), EngineRegistry({}, load_wait=0))
        places = context_of(app.extensions).places
        for number in range(places.capacity):
            places.take(Client(str(number)))
        worker: Any = SimpleNamespace(
            cfg=configuration,
            log=Logger(configuration),
            wsgi=app,
            alive=True,
            nr_conns=0,
            worker_connections=1000,
            poller=selectors.DefaultSelector(),
            pending_conns=deque(),
            keepalived_conns=deque(),
            handle=None,
            notify=lambda: None,
            wait_for_and_dispatch_events=self._dispatch,
            finish_request=None,
        )
        self._worker = worker
        more = (None,) if "record" in inspect.signature(gunicorn_patches.receive_aside).parameters else ()
        reception = gunicorn_patches._Reception(worker, 1 << 20, *more)
        reception.take_over()
        self._links = []
        self.pass_seconds = 0.0  # of the last one
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for _ in range(CONNECTIONS):
                self._links.append(socket.create_connection(listener.getsockname()))
                accepted, address = listener.accept()
                reception._take(accepted, address, listener.getsockname())

    def _dispatch(self, timeout: float) -> None:
        for key, _ in self._worker.poller.select(timeout):
            key.data(key.fileobj)

    def refuse(self, count: int = 1, pause: float = 0.0) -> float:
        """So many requests at once and their refusals, in one pass of the main loop; ``pause``: before it looks at
        them. Returns seconds of its processor time."""
        for client in self._links[:count]:
            client.sendall(REQUEST)
        if pause:
            time.sleep(pause)
        began, entered = time.thread_time(), time.perf_counter()
        self._worker.wait_for_and_dispatch_events(1.0)
        seconds = time.thread_time() - began
        self.pass_seconds = time.perf_counter() - entered
        for client in self._links[:count]:
            if not client.recv(65536).startswith(b"HTTP/1.1 503 "):
                sys.exit("not refused")
        return seconds


def refusal_cost(loop: MainLoop, count: int) -> float:
    """Microseconds of processor time for one of ``count`` in a pass."""
    for _ in range(500 // count):
        loop.refuse(count)
    passes = REFUSALS // count
    return 1e6 * sum(loop.refuse(count) for _ in range(passes)) / (passes * count)


def turns(loop: MainLoop, interval: float) -> tuple[float, float]:
    """Milliseconds of a pass beside two threads that compute (median), and the work of these a processor second."""
    over = threading.Event()
    work: list[tuple[int, float]] = []

    def compute() -> None:
        began, rounds, value = time.thread_time(), 0, 0
        while not over.is_set():
            for number in range(2000):
                value = (value * 31 + number) % 1_000_003
            rounds += 1
        work.append((rounds, time.thread_time() - began))

    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    passes, ends = [], time.monotonic() + 3
    while time.monotonic() < ends:
        loop.refuse(10, pause=0.002)
        passes.append(1000 * loop.pass_seconds)
    over.set()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    return percentile(passes, 50), sum(rounds for rounds, _ in work) / sum(seconds for _, seconds in work)


def measure() -> dict[str, float]:
    """In a process of its own, whose code is that of its working directory."""
    loop = MainLoop()
    figures = {
        f"processor time of a refusal, {count} in a pass, µs": refusal_cost(loop, count)
        for count in (1, CONNECTIONS)
    }
    for interval in INTERVALS:
        pass_, work = turns(loop, interval)
        figures[f"a pass of ten refusals, switch interval {1000 * interval:g} ms, ms"] = pass_
        figures[f"work of the threads, switch interval {1000 * interval:g} ms"] = work
    return figures


def measured(directory: Path) -> dict[str, float]:
    """The figures of the checkout in ``directory``."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)]),
            "PROMETHEUS_MULTIPROC_DIR": work,
            "GTE_ACCESS_LOG": f"{work}/access.log",
            "GTE_ERROR_LOG": f"{work}/error.log",
        }
        command = [sys.executable, str(Path(__file__).resolve()), "--measure"]
        done = subprocess.run(
            command, env=environment, cwd=directory, capture_output=True, text=True, check=True, timeout=120
        )
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return figures


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="another checkout of this project")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure()))
        return
    codes = {"this": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    rows: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    load = os.getloadavg()[0]
    for _ in range(arguments.rounds):
        for code, directory in codes.items():
            for name, value in measured(directory).items():
                rows[name][code].append(value)
    print(f"{time.strftime('%F')}, {os.cpu_count()} cores, load average at the start {load:.1f}\n")
    print(f"| | {' | '.join(codes)} |\n|---|{'---|' * len(codes)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(spread(values[code], '.0f') for code in codes)} |")


if __name__ == "__main__":
    main()
