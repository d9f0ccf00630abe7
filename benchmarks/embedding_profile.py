"""One served second of GTE-large under load, by cause.

    python -m benchmarks.embedding_profile [--precision int8] [--clients 32] [--requests 200] [--checkpoint DIRECTORY]

A real gunicorn, whose worker and engine count their threads' processor time by cause (``cause_meter``), so what other
programs on the machine take does not count; the clients are in this process. Core-seconds a second of serving, their
share of the service's, and what is left of the machine's cores. The meters themselves cost: a lock and two clock calls
for each of some thousand calls a batch.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

# Each with its order in the table: what the engine computes, what brings the texts to it.
ENGINE = (
    "matrix products",
    "attention",
    "int8: scaling and rounding",
    "conversion between types",
    "GELU",
    "layer normalisation",
)
REST = "the rest of the engine, its channel included"
TOKENIZING, DISPATCH, REQUESTS = "tokenizing", "dispatch: queue, batches, channel", "Flask, JSON, connections"


def create_app() -> Any:
    """The service's application with meters, for gunicorn."""
    from benchmarks.cause_meter import CauseMeter
    from service.app import create_app as create
    from service.engines.gte import encoder, tokens
    from service.engines.gte.engine import GteLaunch

    meter = CauseMeter(Path(os.environ["PROFILE_DIRECTORY"], "worker"))
    meter.wrap(tokens.Tokenizer, "encode", TOKENIZING)
    # It runs in the engine's own thread, whose processor time is in the file.
    meter.wrap(encoder.Gte, "_compute", "computed", writes=True)
    program = ("-m", "benchmarks.embedding_profile_engine")
    vars(encoder)["GteLaunch"] = partial(GteLaunch, program=program)
    return create()


def core_seconds(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Core-seconds a second by cause between two moments: ``worker`` and ``engine`` as their meters wrote them,
    ``machine`` as in /proc/stat."""

    def rate(process: str, cause: str) -> float:
        first, last = before[process], after[process]
        return float(last.get(cause, 0.0) - first.get(cause, 0.0)) / float(last["at"] - first["at"])

    causes = {cause: rate("engine", cause) for cause in ENGINE}
    causes[REST] = rate("engine", "process") - sum(causes.values())
    causes[TOKENIZING] = rate("worker", TOKENIZING)
    causes[DISPATCH] = rate("worker", "thread")
    causes[REQUESTS] = rate("worker", "process") - causes[TOKENIZING] - causes[DISPATCH]
    return causes


def machine() -> dict[str, float]:
    """Core-seconds since the start in which a core did something, and in which it had nothing to do."""
    numbers = [
        int(number) / os.sysconf("SC_CLK_TCK")
        for number in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    ]
    idle = numbers[3] + numbers[4]
    return {"busy": sum(numbers) - idle, "idle": idle, "at": time.monotonic()}


def written(directory: Path) -> dict[str, Any]:
    """What the meters have written, and the machine's state now."""
    return {
        **{name: json.loads((directory / name).read_text()) for name in ("worker", "engine")},
        "machine": machine(),
    }


def table(causes: dict[str, float], elsewhere: float, idle: float, title: str) -> str:
    """The causes, largest first within the engine and outside it, in Markdown."""
    total = sum(causes.values())
    lines = [f"\n{title}", "| cause | core-seconds a second | of the service |", "|---|---|---|"]
    lines += [f"| {cause} | {value:.3f} | {value / total:.1%} |" for cause, value in causes.items() if value]
    lines += [
        f"| the service | {total:.3f} | 100 % |",
        f"| clients and other programs | {elsewhere:.3f} | |",
        f"| idle | {idle:.3f} | |",
    ]
    return "\n".join(lines)


def profile(precision: str, model: Path, work: Path, clients: int, requests: int) -> str:
    """Serve ``requests`` to ``clients`` in a closed loop; the table."""
    from benchmarks import embedding_throughput as throughput

    server = throughput.ours(precision)
    plain_command, plain_environment = server.command, server.environment
    with tempfile.TemporaryDirectory(dir=work) as directory:
        server.command = lambda *places: [
            *plain_command(*places)[:-1],
            "benchmarks.embedding_profile:create_app()",
        ]
        server.environment = lambda *places: {
            **plain_environment(*places),
            "PROFILE_DIRECTORY": directory,
            "GTE_QUEUE_TIMEOUT": "600",
        }
        try:
            throughput.start(server, model, work)
            texts = throughput.texts_of(requests, seed=5)
            left = iter(texts)
            lock = threading.Lock()
            done = [0]

            def client(_number: int) -> None:
                while True:
                    with lock:
                        text = next(left, None)
                    if text is None:
                        return
                    throughput.ask(server, text)
                    done[0] += 1

            with ThreadPoolExecutor(clients) as pool:
                running = [pool.submit(client, number) for number in range(clients)]
                # Not the first batches, for which kernels are compiled, and not the last, when clients go home.
                moments = []
                for share in (0.2, 0.8):
                    while done[0] < share * requests and not all(one.done() for one in running):
                        time.sleep(0.02)
                    moments.append(written(Path(directory)))
                for one in running:
                    one.result()
        finally:
            throughput.stop([server])
    before, after = moments
    causes = core_seconds(before, after)
    seconds = after["machine"]["at"] - before["machine"]["at"]
    busy, idle = ((after["machine"][name] - before["machine"][name]) / seconds for name in ("busy", "idle"))
    title = f"one served second, {server.name}, {clients} clients, {0.6 * requests / seconds:.2f} requests/s:"
    return table(causes, max(0.0, busy - sum(causes.values())), idle, title)


def main() -> None:
    """The command."""
    from benchmarks.embedding_throughput import WORK, checkpoint_in

    parser = argparse.ArgumentParser(description="One served second of GTE-large by cause")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "int8"))
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--checkpoint", type=Path)
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    model = checkpoint_in(WORK, arguments.checkpoint)
    print(profile(arguments.precision, model, WORK, arguments.clients, arguments.requests))


if __name__ == "__main__":
    main()
