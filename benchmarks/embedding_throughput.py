"""GTE-large on this machine, beside its peers: requests per second, latency, overload, memory, start.

    python -m benchmarks.embedding_throughput                       the whole: an hour on two cores
    python -m benchmarks.embedding_throughput --short               about ten minutes: ours and infinity
    python -m benchmarks.embedding_throughput --servers ours-int8 infinity-float32 --rounds 2
    python -m benchmarks.embedding_throughput --device cuda         the same service on a GPU, its agreement included

One made BERT-large checkpoint (tests/made_checkpoint.py) and one list of texts, mixed Chinese of 8 to 200 characters,
for all. The servers are all up at once and take turns, round by round, so that what disturbs the machine disturbs all
alike; ratios are taken within a round, and their median is printed with the lowest and the highest. Each round also
measures the rate of matrix products in the engine's own form, and our share of it: model FLOP per second, counted
without padding and as if the last layer were computed in full, over that rate. At the end, for each of our servers, one
served second by cause (``embedding_profile``).

infinity-emb gets an environment of its own (made in --work the first time) with torch as here, and is started as its
readme says, but for --no-bettertransformer, without which it does not start beside a recent torch. bfloat16 is measured
where the processor has instructions for it: elsewhere oneDNN imitates its products, at a fifth of float32's rate.
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from benchmarks.embedding_profile import profile
from tests.made_checkpoint import make

ROOT = Path(__file__).parent.parent
INFINITY = ["infinity-emb[server,torch]==0.0.78", "numpy==1.26.4", "transformers==4.57.6", "torch==2.13.0"]
WORK = Path("/var/tmp/gte-embedding-benchmark")  # noqa: S108
TIMEOUT = 600.0  # seconds that a request may take: the guide's deployment needs them
SYNC_WORKERS = 2 * (os.cpu_count() or 1) + 1


@dataclass
class Server:
    """One way to serve the checkpoint; ``command`` and ``environment`` take the port and the work directory."""

    name: str
    path: str
    health: str
    command: Callable[[int, Path, Path], list[str]]
    environment: Callable[[int, Path, Path], dict[str, str]]
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    ready_seconds: float = 0.0
    idle_bytes: int = 0
    peak_bytes: int = 0
    rates: dict[int, list[float]] = field(default_factory=dict)  # requests/s by concurrency
    latencies: dict[int, list[float]] = field(default_factory=dict)
    shares: list[float] = field(default_factory=list)
    health_seconds: list[float] = field(default_factory=list)


def ours(precision: str) -> Server:
    """This project's service."""

    def environment(port: int, model: Path, work: Path) -> dict[str, str]:
        return {
            "GTE_BIND": f"127.0.0.1:{port}",
            "GTE_MODEL_DIR": str(model),
            "GTE_PRECISION": precision,
            "GTE_PROGRESS_DIR": str(work / f"progress-{port}"),
            "GTE_ACCESS_LOG": "off",
            "GTE_QUEUE_TIMEOUT": os.environ.get("GTE_QUEUE_TIMEOUT", "20"),
        }

    def command(_port: int, _model: Path, _work: Path) -> list[str]:
        return [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "python:service.gunicorn_conf",
            "service.app:create_app()",
        ]

    return Server(f"ours-{precision}", "/v1/embeddings", "/ready", command, environment)


def infinity(precision: str) -> Server:
    """infinity-emb's torch engine."""

    def command(port: int, model: Path, work: Path) -> list[str]:
        program = str(work / "infinity" / "bin" / "infinity_emb")
        options = ["--engine", "torch", "--device", "cpu", "--no-bettertransformer", "--dtype", precision]
        return [program, "v2", "--model-id", str(model), "--port", str(port), *options]

    def environment(_port: int, _model: Path, _work: Path) -> dict[str, str]:
        return {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}

    return Server(f"infinity-{precision}", "/embeddings", "/health", command, environment)


def plain(name: str, *options: str) -> Server:
    """ModelScope's pipeline in Flask."""

    def command(port: int, _model: Path, _work: Path) -> list[str]:
        app = "benchmarks.embedding_peers.plain:app"
        bind = ["-b", f"127.0.0.1:{port}", "-t", str(int(TIMEOUT))]
        return [sys.executable, "-m", "gunicorn", *bind, *options, app]

    def environment(_port: int, model: Path, _work: Path) -> dict[str, str]:
        return {"MODEL": str(model)}

    return Server(name, "/embeddings", "/health", command, environment)


SERVERS = {
    server.name: server
    for server in [
        ours("auto"),
        ours("float32"),
        ours("bfloat16"),
        ours("int8"),
        infinity("float32"),
        infinity("bfloat16"),
        plain("guide-sync", "-w", str(SYNC_WORKERS)),
        plain("flask-gthread", "-k", "gthread", "-w", "1", "--threads", "32"),
    ]
}


def texts_of(count: int, seed: int) -> list[str]:
    """Mixed Chinese of 8 to 200 characters, no two the same."""
    choose = random.Random(seed)
    characters = [chr(0x4E00 + choose.randrange(6000)) for _ in range(1500)] + list("，。0123456789abcGTE ")
    return ["".join(choose.choices(characters, k=choose.randint(8, 200))) for _ in range(count)]


def ask(server: Server, text: str, timeout: float = TIMEOUT) -> tuple[int, float]:
    """Status and seconds of one request on a connection of its own."""
    body = json.dumps({"model": model_name(server), "input": text}).encode()
    began = time.perf_counter()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)) as link:
        link.request("POST", server.path, body, {"Content-Type": "application/json"})
        answer = link.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - began


def model_name(server: Server) -> str:
    """infinity names a model by the last two parts of its path, and takes any other name as well where it has one."""
    return "made" if not server.name.startswith("infinity") else "default/not-specified"


def start(server: Server, model: Path, work: Path) -> None:
    """Start it, wait until it has answered a prediction, and note how long that took and what it holds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server.port = int(probe.getsockname()[1])
    # Some containers forbid Python to keep bytecode, which costs each start of each server seconds.
    left_out = ("GTE_", "PYTHONDONTWRITEBYTECODE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    environment = {**inherited, **server.environment(server.port, model, work)}
    log = (work / f"{server.name}.log").open("wb")
    began = time.perf_counter()
    command = server.command(server.port, model, work)
    server.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    while True:
        if server.process.poll() is not None or time.perf_counter() - began > TIMEOUT:
            sys.exit(f"{server.name} does not start: see {log.name}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            link.request("GET", server.health)
            if link.getresponse().status == 200:
                break
        time.sleep(0.05)
    server.ready_seconds = time.perf_counter() - began
    status, _ = ask(server, "预热")
    if status != 200:
        sys.exit(f"{server.name} answers {status}: see {log.name}")
    server.idle_bytes = memory(server)


def memory(server: Server) -> int:
    """Proportional set size of the whole process tree, in bytes."""
    assert server.process is not None
    root = psutil.Process(server.process.pid)
    total = 0
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def closed_loop(server: Server, texts: list[str], concurrency: int) -> tuple[float, list[float]]:
    """Requests per second and each request's seconds, ``concurrency`` clients that ask again once answered."""
    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as clients:
        answers = list(clients.map(lambda text: ask(server, text), texts))
    seconds = time.perf_counter() - began
    wrong = [status for status, _ in answers if status != 200]
    if wrong:
        print(f"  {server.name}: {len(wrong)} of {len(answers)} refused or failed: {sorted(set(wrong))}")
    return (len(answers) - len(wrong)) / seconds, [taken for status, taken in answers if status == 200]


def open_loop(server: Server, texts: list[str], rate: float, seed: int) -> list[tuple[int, float, float]]:
    """(status, seconds, moment of the answer) of requests that come by a Poisson process, whoever still waits."""
    choose = random.Random(seed)
    found: list[tuple[int, float, float]] = []
    lock = threading.Lock()
    threads = []
    began = time.perf_counter()

    def one(text: str) -> None:
        try:
            status, taken = ask(server, text)
        except OSError:
            status, taken = 0, float("nan")
        with lock:
            found.append((status, taken, time.perf_counter() - began))

    due = 0.0
    for text in texts:
        due += choose.expovariate(rate)
        time.sleep(max(0.0, began + due - time.perf_counter()))
        threads.append(threading.Thread(target=one, args=(text,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return found


@contextlib.contextmanager
def health_watched(server: Server) -> Iterator[None]:
    """Asks /health every 0.2 s meanwhile."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            began = time.perf_counter()
            with contextlib.suppress(OSError, http.client.HTTPException):
                link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                link.request("GET", "/health")
                link.getresponse().read()
                link.close()
            server.health_seconds.append(time.perf_counter() - began)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def product_rates(work: Path) -> dict[str, float]:
    """GFLOP/s of prepacked matrix products of 512 x 1024 x 4096 by type, measured in a process of its own."""
    program = """
import json, os, time, torch
from service.engines.gte.linear import Packed, Quantized, supports_bfloat16
torch.set_num_threads(len(os.sched_getaffinity(0)))
def rate(layer, x):
    layer(x); best = 1e9
    for _ in range(8):
        began = time.perf_counter(); layer(x); best = min(best, time.perf_counter() - began)
    return 2 * 512 * 1024 * 4096 / best / 1e9
w, b, x = torch.randn(4096, 1024) / 32, torch.zeros(4096), torch.randn(512, 1024)
found = {"float32": rate(Packed(w, b, torch.float32, gelu=False), x), "int8": rate(Quantized(w, b, gelu=False), x)}
if torch.cuda.is_available():
    def on_gpu():
        torch.nn.functional.linear(gx, gw, gb); torch.cuda.synchronize()
    gx, gw, gb = (one.to("cuda", torch.bfloat16) for one in (x, w, b))
    found["bfloat16"] = rate(lambda _: on_gpu(), x)
elif supports_bfloat16():
    found["bfloat16"] = rate(Packed(w, b, torch.bfloat16, gelu=False), x.bfloat16())
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True
    )
    (work / "products.json").write_text(done.stdout)
    return dict(json.loads(done.stdout))


def flop_of(text: str) -> float:
    """Of BERT-large, without padding: 24 layers of 2 x 12 x 1024^2 a token, and attention."""
    tokens = len(text) + 2
    return 24 * (24 * 1024**2 * tokens + 4 * 1024 * tokens**2)


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """Median [lowest-highest]."""
    if not values:
        return "-"
    low, middle, high = (
        form.format(value) for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} [{low}-{high}]"


def percentile(values: list[float], share: float) -> float:
    """Of few values, the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="GTE-large beside its peers")
    parser.add_argument("--servers", nargs="+", choices=SERVERS)
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--short", action="store_true", help="two rounds, ours-auto, ours-int8, infinity-float32"
    )
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument(
        "--checkpoint", type=Path, help="a BERT-large checkpoint; made in --work if not given"
    )
    parser.add_argument("--no-overload", action="store_true")
    parser.add_argument("--no-profile", action="store_true", help="without the served second by cause")
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="where our service computes, and its agreement with the CPU's float32; without: a GPU if there is one",
    )
    arguments = parser.parse_args()
    use_device(arguments.device)
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    model = checkpoint_in(work, arguments.checkpoint)
    rates = product_rates(work)
    names = arguments.servers or ["ours-auto", "ours-int8", "infinity-float32"]
    if arguments.device == "cuda" and not arguments.servers:
        names = ["ours-bfloat16"]
    elif not arguments.servers and not arguments.short:
        is_quick = rates.get("bfloat16", 0.0) > rates["float32"]
        names = [name for name in SERVERS if is_quick or "bfloat16" not in name]
    rounds = arguments.rounds or (2 if arguments.short else 3)
    if (
        any(name.startswith("infinity") for name in names)
        and not (work / "infinity/bin/infinity_emb").exists()
    ):
        print("making infinity's environment", flush=True)
        subprocess.run([sys.executable, "-m", "venv", work / "infinity"], check=True)
        subprocess.run([work / "infinity/bin/pip", "install", "-q", *INFINITY], check=True)
    servers = [SERVERS[name] for name in names]
    try:
        for server in servers:
            start(server, model, work)
            print(f"{server.name}: ready after {server.ready_seconds:.1f} s", flush=True)
        report(servers, measured(servers, rounds, arguments, work), rounds)
    finally:
        stop(servers)
    if arguments.device is not None:
        print_agreement(arguments.device, model, texts=60)
    if not arguments.no_profile:
        for name in (name for name in names if name.startswith("ours-")):
            print(profile(name.removeprefix("ours-"), model, work, max(arguments.concurrency), 200))


def use_device(device: str | None) -> None:
    """Have the servers compute there; ends the process with one line if there is no such device."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if device == "cuda":
        import torch

        from benchmarks.embedding_agreement import cuda_problem

        problem = cuda_problem(torch)
        if problem is not None:
            sys.exit(f"embedding_throughput: {problem}")


def print_agreement(device: str, model: Path, texts: int) -> None:
    """The device's precisions beside the CPU's float32, from a process of its own that may take ten minutes."""
    program = [sys.executable, "-m", "benchmarks.embedding_agreement", "--device", device]
    options = ["--checkpoint", str(model), "--texts", str(texts)]
    try:
        subprocess.run([*program, *options], cwd=ROOT, check=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        print(f"agreement: not measured within {TIMEOUT:.0f} s")


def stop(servers: list[Server]) -> None:
    """End them all."""
    for server in servers:
        if server.process is not None:
            server.process.terminate()
    for server in servers:
        if server.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(20)
            server.process.kill()


def checkpoint_in(work: Path, checkpoint: Path | None) -> Path:
    """``checkpoint``, or the made one in ``work``."""
    model = checkpoint or work / "made"
    if not (model / "config.json").is_file():
        print(f"making the checkpoint in {model}", flush=True)
        make(model)
    return model


def measured(servers: list[Server], rounds: int, arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Closed loops round by round, then the same offered load for all, then an overload of ours."""
    products: list[dict[str, float]] = []
    counts = {1: 6, 8: 24, 32: 64}
    for number in range(rounds):
        products.append(product_rates(work))
        for concurrency in arguments.concurrency:
            texts = texts_of(counts.get(concurrency, 2 * concurrency), seed=number)
            for server in servers:
                with health_watched(server) if concurrency > 8 else contextlib.nullcontext():
                    rate, taken = closed_loop(server, texts, concurrency)
                server.rates.setdefault(concurrency, []).append(rate)
                server.latencies.setdefault(concurrency, []).extend(taken)
                server.peak_bytes = max(server.peak_bytes, memory(server))
                if concurrency == max(arguments.concurrency):
                    flop = rate * statistics.fmean(map(flop_of, texts))
                    server.shares.append(flop / 1e9)
                print(
                    f"round {number + 1}, {concurrency:>2} clients, {server.name}: {rate:.2f}/s", flush=True
                )
    found: dict[str, Any] = {"products": products, "offered": {}, "overload": {}}
    base = next((server for server in servers if server.name == "infinity-float32"), None)
    if base is not None and 8 in base.rates:
        rate = 0.8 * statistics.median(base.rates[8])
        for server in servers:
            answers = open_loop(server, texts_of(30, seed=99), rate, seed=99)
            taken = [seconds for status, seconds, _ in answers if status == 200]
            found["offered"][server.name] = (
                rate,
                percentile(taken, 0.5),
                percentile(taken, 0.95),
                len(taken),
            )
            print(f"offered {rate:.2f}/s, {server.name}: p95 {percentile(taken, 0.95):.2f} s", flush=True)
    if not arguments.no_overload:
        for server in [server for server in servers if server.name.startswith("ours")]:
            peak = statistics.median(server.rates[max(server.rates)])
            count = int(min(600, 5 * peak * 40))
            answers = open_loop(server, texts_of(count, seed=7), 5 * peak, seed=7)
            # The first seconds fill the queue, the last drain it; what comes out between them is the goodput.
            last = count / (5 * peak)
            good = [moment for status, _, moment in answers if status == 200 and last * 0.3 < moment <= last]
            refused = [seconds for status, seconds, _ in answers if status == 503]
            found["overload"][server.name] = {
                "offered": 5 * peak,
                "peak": peak,
                "goodput": len(good) / (last * 0.7),
                "refused": len(refused),
                "refused_p50": percentile(refused, 0.5),
                "refused_p99": percentile(refused, 0.99),
                "other": sum(status not in (200, 503) for status, *_ in answers),
            }
    return found


def report(servers: list[Server], found: dict[str, Any], rounds: int) -> None:
    """Print it."""
    print(
        f"\n{time.strftime('%F')}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, {rounds}x"
    )
    print(
        ", ".join(
            f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "gunicorn", "modelscope")
        )
    )
    for kind in found["products"][0]:
        values = [one[kind] for one in found["products"]]
        print(f"matrix products in {kind}: {spread(values, '{:.0f}')} GFLOP/s")
    base = next((server for server in servers if server.name == "infinity-float32"), None)
    print(
        "\n| server | clients | requests/s | to infinity-float32 | p50 s | p95 s |\n|---|---|---|---|---|---|"
    )
    for server in servers:
        for concurrency, values in server.rates.items():
            ratios = []
            if base is not None:
                ratios = [one / other for one, other in zip(values, base.rates[concurrency], strict=True)]
            taken = server.latencies[concurrency]
            cells = [
                spread(values),
                spread(ratios),
                f"{percentile(taken, 0.5):.2f}",
                f"{percentile(taken, 0.95):.2f}",
            ]
            print(f"| {server.name} | {concurrency} | {' | '.join(cells)} |")
    print(
        "\n| server | GFLOP/s served | of its product rate | /health p50, p99 ms | memory MiB idle, peak | ready s |"
    )
    print("|---|---|---|---|---|---|")
    for server in servers:
        kind = server.name.partition("-")[2]
        measured_rates = [one.get(kind) for one in found["products"]]
        shares = [
            served / rate
            for served, rate in zip(server.shares, measured_rates, strict=False)
            if rate is not None
        ]
        health = (
            [f"{1000 * percentile(server.health_seconds, share):.0f}" for share in (0.5, 0.99)]
            if server.health_seconds
            else ["-"]
        )
        sizes = f"{server.idle_bytes / 2**20:.0f}, {server.peak_bytes / 2**20:.0f}"
        cells = [
            spread(server.shares, "{:.0f}"),
            spread(shares),
            ", ".join(health),
            sizes,
            f"{server.ready_seconds:.1f}",
        ]
        print(f"| {server.name} | {' | '.join(cells)} |")
    for name, (rate, half, most, count) in found["offered"].items():
        print(f"offered {rate:.2f}/s, {name}: p50 {half:.2f} s, p95 {most:.2f} s, {count} answered")
    for name, one in found["overload"].items():
        print(
            f"overload, {name}: {one['offered']:.1f}/s offered, goodput {one['goodput']:.2f}/s of {one['peak']:.2f}/s,"
            f" {one['refused']} refused in {1000 * one['refused_p50']:.0f} ms (p99 {1000 * one['refused_p99']:.0f} ms),"
            f" {one['other']} neither"
        )


if __name__ == "__main__":
    main()
