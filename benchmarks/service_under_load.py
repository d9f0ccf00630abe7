"""The service in strangers' hands: hostile texts, clients that ask for much, five times its capacity, its memory.

    python -m benchmarks.service_under_load [--rounds 3] [--only texts fairness ...] [--before DIRECTORY]

A real gunicorn with the shipped configuration on the embedded default; --before measures another checkout of this
project in turn, round by round. Bounded: about three minutes a round. Median [lowest-highest] of the rounds; the load
average of each round says whether others used the machine.

- texts: texts that once held every thread, and JSON bodies of 1 MiB, one after the other; ``/health`` every 20 ms. The
  deadline is set to 5 s: how long after it the latest answer came.
- fairness: two clients (by X-Forwarded-For) with eight requests each under way, of eight texts of 1,200 characters;
  meanwhile ``ner``, and single short texts to the encoder, by others.
- overload: ``ner`` of 8 to 60 characters. The peak: eight clients in a closed loop. Then an open loop at five times
  that rate, from 40 addresses; then the peak again, for the machine's rate wavers. The client takes a part of the same
  cores, which is printed. What it lost is what it could not send, because all of its connections waited for answers.
- memory: the process tree (PSS) after each half of the worst load that is accepted: long texts of every task and lists
  of 1 MiB, as many requests at once as there are places. Once with glibc's own number of arenas, once with ours.
- slow: requests half sent and silent connections; ``/health`` meanwhile.
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.embedded_default import spread, texts_of
from benchmarks.open_loop import percentile

ROOT = Path(__file__).parent.parent
SENTENCE = "今天的天气很好，我们去公园散步，然后回家吃饭。"
DEADLINE = 5.0  # seconds, of the part "texts"
REPEATED = {
    "event": ("百", "一", "千百", "9亿", "收购中国银行", "创立欧洲杯"),
    "relation": ("马云和", "副总", "《a", "中国银行董事长兼总"),
    "ner": ("第一届", "全国人民代表大会", "\U0001f600", "a"),
}
NAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"


@dataclass(frozen=True)
class Code:
    """A checkout whose service is measured."""

    name: str
    directory: Path


@contextlib.contextmanager
def serving(code: Code, **variables: str) -> Iterator[tuple[int, int]]:
    """A ready gunicorn; its port and pid."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("GTE_", "MALLOC_"))
        }
        settings = {
            "PYTHONPATH": str(code.directory),
            "GTE_BIND": f"127.0.0.1:{port}",
            "GTE_PROGRESS_DIR": f"{work}/progress",
            "GTE_ACCESS_LOG": f"{work}/access.log",
            "GTE_ERROR_LOG": f"{work}/error.log",
        }
        options = ["-c", "python:service.gunicorn_conf", "service.app:create_app()"]
        master = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options],
            env={**inherited, **settings, **variables},
            cwd=code.directory,
        )
        try:
            ends = time.monotonic() + 60
            while ask(port, "/ready", None, 0)[0] != 200:
                if time.monotonic() > ends or master.poll() is not None:
                    sys.exit(f"{code.name} did not start: {Path(work, 'error.log').read_text()[-2000:]}")
                time.sleep(0.05)
            yield port, master.pid
        finally:
            master.terminate()
            master.wait(60)


def ask(port: int, path: str, body: object, client: int = 9, timeout: float = 120) -> tuple[int, float]:
    """Status (0: no answer) and seconds of one request on a connection of its own, by one of several clients."""
    began = time.perf_counter()
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    headers = {"Content-Type": "application/json", "X-Forwarded-For": f"192.0.2.{client}"}
    content = json.dumps(body, ensure_ascii=False).encode() if not isinstance(body, bytes | None) else body
    try:
        link.request("GET" if content is None else "POST", path, content, headers)
        answer = link.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - began
    except (OSError, http.client.HTTPException):
        return 0, time.perf_counter() - began
    finally:
        link.close()


@contextlib.contextmanager
def health(port: int) -> Iterator[list[float]]:
    """The seconds of each ``/health``, every 20 ms during the block; there once it has ended."""
    seconds: list[float] = []
    command = [sys.executable, "-m", "benchmarks.health_probe", str(port)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as probe:
        try:
            yield seconds
        finally:
            seconds += json.loads(probe.communicate()[0])


def predict(task: str, text: str, **parameters: Any) -> tuple[str, object]:
    """Path and body."""
    return "/predict", {"task_type": task, "input_text": text, "parameters": parameters}


def hostile() -> list[tuple[str, object]]:
    """Requests that cost, or once cost, more than their share."""
    names = "、".join(f"{a}{b}" for a in NAMES for b in "伟芳娜敏静")[:4900]
    sentences = "。".join(f"第{number}个人是谁" for number in range(600))[:4900]
    return [
        *(
            predict("event", unit * (4900 // len(unit)))
            for unit in ("百", "一", "千百", "9亿", "收购中国银行", "创立欧洲杯")
        ),
        *(
            predict("relation", unit * (4900 // len(unit)))
            for unit in ("马云和", "副总", "《a", "中国银行董事长兼总")
        ),
        *(
            predict("ner", unit * (4900 // len(unit)))
            for unit in ("第一届", "全国人民代表大会", "\U0001f600", "a")
        ),
        predict("qa", names, question="谁来了？"),
        predict("qa", sentences, question="谁来了？"),
        predict("sentiment", (SENTENCE * 300)[:5000]),
        ("/v1/embeddings", {"input": [(SENTENCE * 300)[number : number + 4900] for number in range(60)]}),
        ("/v1/embeddings", {"input": [f"第{number}条" for number in range(2048)]}),
        ("/v1/embeddings", b'{"input": [' + b",".join([b"[]"] * 300_000) + b"]}"),
        ("/v1/embeddings", b'{"input": [' + b",".join([b'"a"'] * 250_000) + b"]}"),
        ("/predict", b'{"task_type": "ner", "input_text": "' + b"\\ud83d\\ude00" * 80_000 + b'"}'),
        ("/predict", b"[" * 1_000_000),
        ("/predict", b"{" + b",".join(b'"%d":1' % number for number in range(90_000)) + b"}"),
    ]


def texts(code: Code) -> dict[str, float]:
    """Part ``texts``."""
    slowest = 0.0
    with serving(code, GTE_PREDICTION_TIMEOUT=f"{DEADLINE:g}") as (port, _), health(port) as seconds:
        for path, body in hostile():
            status, took = ask(port, path, body)
            # An answer that is not a prediction's counts as well: nothing may take longer.
            slowest = max(slowest, took if status else 120.0)
    return {
        "/health p50, ms": 1000 * percentile(seconds, 50),
        "/health p99, ms": 1000 * percentile(seconds, 99),
        "/health slowest, ms": 1000 * max(seconds),
        "latest answer after the deadline of 5 s, s": max(0.0, slowest - DEADLINE),
    }


def fairness(code: Code) -> dict[str, float]:
    """Part ``fairness``."""
    over = threading.Event()

    def heavy(port: int, client: int, number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            batch = [f"{number} {turn} {index} {(SENTENCE * 60)[:1190]}" for index in range(8)]
            ask(port, "/v1/embeddings", {"input": batch}, client, timeout=20)

    with serving(code) as (port, _), ThreadPoolExecutor(16) as pool:
        for client in (1, 2):
            for number in range(8):
                pool.submit(heavy, port, client, number)
        time.sleep(3)
        try:
            with health(port) as seconds:
                with ThreadPoolExecutor(4) as others:
                    named = list(
                        others.map(lambda text: ask(port, *predict("ner", text), 3), texts_of(40, seed=3))
                    )
                short = [ask(port, "/v1/embeddings", {"input": text}, 4) for text in texts_of(8, seed=4)]
        finally:
            over.set()
    return {
        "ner answered of 40": sum(status == 200 for status, _ in named),
        "ner p50, ms": 1000 * percentile([took for _, took in named], 50),
        "ner slowest, s": max(took for _, took in named),
        "short embedding answered of 8": sum(status == 200 for status, _ in short),
        "short embedding p50, s": percentile([took for _, took in short], 50),
        "short embedding slowest, s": max(took for _, took in short),
        "/health p99, ms": 1000 * percentile(seconds, 99),
    }


def overload(code: Code) -> dict[str, float]:
    """Part ``overload``."""
    with tempfile.TemporaryDirectory() as work, serving(code) as (port, master):
        bodies = Path(work, "bodies")
        lines = [json.dumps(predict("ner", text)[1], ensure_ascii=False) for text in texts_of(500, seed=1)]
        bodies.write_text("\n".join(lines), encoding="utf-8")
        closed_loop(port, lines, 1.0)
        before = processor(master)
        with health(port):  # which takes its part, too
            peak = closed_loop(port, lines, 4.0)
        served = (processor(master) - before) / (4.0 * peak)
        command = [
            sys.executable,
            "-m",
            "benchmarks.open_loop",
            str(port),
            str(5 * peak),
            "8",
            str(bodies),
            "40",
        ]
        with health(port) as seconds:
            before, began = processor(master), resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
            server, ended = processor(master) - before, resource.getrusage(resource.RUSAGE_CHILDREN)
        with health(port):
            again = closed_loop(port, lines, 4.0)
    figures: dict[str, float] = json.loads(done.stdout)
    client = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    return {
        "peak before, ner/s": peak,
        "peak after, ner/s": again,
        "goodput at 5 times, ner/s": figures["goodput"],
        "goodput to the mean of both peaks, %": 200 * figures["goodput"] / (peak + again),
        "processor time of a ner at the peak, ms": 1000 * served,
        "the same of a refusal: the server's in overload less that of what it served, µs": 1e6
        * (server - served * figures["served"])
        / figures["refused"],
        "refused, /s": figures["refused"] / 8,
        "lost": figures["lost"],
        "served p99, ms": 1000 * figures["served_p99"],
        "refused p50, ms": 1000 * figures["refused_p50"],
        "refused p99, ms": 1000 * figures["refused_p99"],
        "/health p99, ms": 1000 * percentile(seconds, 99),
        "server, cores": server / 8,
        "client, cores": client / 8,
    }


def closed_loop(port: int, lines: list[str], seconds: float) -> float:
    """Answers per second to eight clients on kept connections."""
    served = [0] * 8
    ends = time.monotonic() + seconds

    def client(number: int) -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Content-Type": "application/json", "X-Forwarded-For": f"192.0.2.{number}"}
        turn = number
        while time.monotonic() < ends:
            link.request("POST", "/predict", lines[turn % len(lines)].encode(), headers)
            answer = link.getresponse()
            answer.read()
            served[number] += answer.status == 200
            turn += 8
        link.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))
    return sum(served) / seconds


def processor(master: int) -> float:
    """Processor seconds of the process tree."""
    root = psutil.Process(master)
    return sum(sum(one.cpu_times()[:2]) for one in [root, *root.children(recursive=True)])


def tree_memory(master: int) -> float:
    """PSS of the process tree, MiB."""
    root = psutil.Process(master)
    return sum(one.memory_full_info().pss for one in [root, *root.children(recursive=True)]) / 2**20


def memory(code: Code) -> dict[str, float]:
    """Part ``memory``."""
    figures: dict[str, float] = {}
    for name, variables in (("glibc's arenas", {"MALLOC_ARENA_MAX": "16"}), ("ours", {})):
        with serving(code, GTE_PREDICTION_TIMEOUT="10", **variables) as (port, master):
            figures[f"{name}: idle, MiB"] = tree_memory(master)
            for half in ("first", "second"):
                worst_load(port, 12.0)
                figures[f"{name}: after the {half} half, MiB"] = tree_memory(master)
    return figures


def worst_load(port: int, seconds: float) -> None:
    """As many requests at once as there are places, each as large as is accepted."""
    ends = time.monotonic() + seconds
    long = (SENTENCE * 300)[:5000]
    requests = [
        *(predict(task, long) for task in ("ner", "relation", "event", "ner", "event", "relation")),
        ("/v1/embeddings", {"input": [long[number:] for number in range(65)]}),
        ("/v1/embeddings", {"input": [f"{number}{long[:150]}" for number in range(2048)]}),
        ("/v1/rerank", {"query": "天气", "documents": [f"{number}{long[:150]}" for number in range(2048)]}),
        predict("qa", long, question="谁来了？"),
    ]

    def client(number: int) -> None:
        turn = number
        while time.monotonic() < ends:
            path, body = requests[turn % len(requests)]
            ask(port, path, body, number)
            turn += 1

    with ThreadPoolExecutor(28) as pool:
        list(pool.map(client, range(28)))


def slow(code: Code) -> dict[str, float]:
    """Part ``slow``."""
    post = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    figures: dict[str, float] = {}
    with serving(code) as (port, _):
        for name, count, first in [
            ("200 silent", 200, b""),
            ("60 half a head", 60, post),
            ("60 half a body", 60, post + b"Content-Length: 100000\r\n\r\n{"),
            ("60 half a chunk", 60, post + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
        ]:
            with contextlib.ExitStack() as stack:
                for _ in range(count):
                    link = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
                    link.sendall(first)
                with health(port) as seconds:
                    time.sleep(3)
            figures[f"{name}: /health slowest, ms"] = 1000 * max(seconds, default=0.0)
    return figures


PARTS: dict[str, Callable[[Code], dict[str, float]]] = {
    "texts": texts,
    "fairness": fairness,
    "overload": overload,
    "memory": memory,
    "slow": slow,
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--before", type=Path, help="another checkout of this project")
    arguments = parser.parse_args()
    random.seed(1)
    codes = [Code("this", ROOT)] + ([Code("before", arguments.before)] if arguments.before else [])
    rows: defaultdict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    loads = []
    for _ in range(arguments.rounds):
        loads.append(os.getloadavg()[0])
        for part in arguments.only:
            for code in codes:
                for name, value in PARTS[part](code).items():
                    rows[part, name][code.name].append(value)
    print(
        f"{time.strftime('%F')}, {os.cpu_count()} cores, Python {platform.python_version()}, {arguments.rounds} rounds"
    )
    print(f"load average as each began: {', '.join(f'{load:.1f}' for load in loads)}\n")
    print(f"| part | | {' | '.join(code.name for code in codes)} |\n|---|---|{'---|' * len(codes)}")
    for (part, name), values in rows.items():
        cells = [
            spread(values[code.name], ".0f" if max(values[code.name]) >= 20 else ".2f") for code in codes
        ]
        print(f"| {part} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
