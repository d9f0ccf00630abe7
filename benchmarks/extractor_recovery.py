"""How soon the extractor is back when its processes are lost, and how much memory they hold.

    python -m benchmarks.extractor_recovery [--rounds 7] [--model DIRECTORY]

A real gunicorn with a UniNLU checkpoint of the true shape (12 layers of 768) and made-up weights, unless ``--model``
names a true one. One client asks for ``ner`` without a pause; a process is killed (SIGKILL) or stopped (SIGSTOP), and
the seconds are printed until the next answer with 200 has arrived.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.service_threads import serving
from tests.made_uninlu import BASE, make

TEXT = "马云1999年在杭州创办了阿里巴巴集团。"
PATIENCE = 180.0


def status_of(port: int) -> int:
    """Of one prediction."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as link:
        body = json.dumps({"task_type": "ner", "input_text": TEXT, "parameters": {"schema": {"人物": None}}})
        link.request("POST", "/predict", body.encode(), {"Content-Type": "application/json"})
        return link.getresponse().status


def until_served(port: int) -> tuple[float, int]:
    """Seconds until the next answer with 200, and the answers before it."""
    began, others = time.monotonic(), 0
    while status_of(port) != 200:
        others += 1
        if time.monotonic() - began > PATIENCE:
            raise SystemExit("it does not come back")
    return time.monotonic() - began, others


def pair_of(master: int) -> tuple[psutil.Process, psutil.Process]:
    """The forkserver and its engine, once both are there."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for worker in psutil.Process(master).children():
            for forkserver in worker.children():
                for engine in forkserver.children():
                    return forkserver, engine
        time.sleep(0.1)
    raise SystemExit("there is no extractor")


def sizes(process: psutil.Process) -> str:
    """PSS and what is the process's alone, in MiB."""
    memory = process.memory_full_info()
    return f"PSS {memory.pss >> 20} MiB, of which {memory.uss >> 20} its own"


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--model", type=Path)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        model = chosen.model or make(Path(directory) / "uninlu", shape=BASE)
        began = time.monotonic()
        with serving({"GTE_UNINLU_DIR": str(model), "GTE_LOAD_WAIT": "120", "GTE_ERROR_LOG": os.devnull}) as (
            port,
            master,
        ):
            until_served(port)
            print(f"first prediction {time.monotonic() - began:.1f} s after the start")
            usual = [until_served(port)[0] for _ in range(chosen.rounds)]
            print(f"a prediction: {statistics.median(usual):.3f} s")
            forkserver, engine = pair_of(master)
            print(f"forkserver: {sizes(forkserver)}; engine: {sizes(engine)}")
            one: Callable[[psutil.Process, psutil.Process], list[psutil.Process]]
            for name, sent, one, rounds in (
                ("engine, SIGKILL", signal.SIGKILL, lambda _, engine: [engine], chosen.rounds),
                ("engine, SIGSTOP", signal.SIGSTOP, lambda _, engine: [engine], chosen.rounds),
                ("forkserver, SIGKILL", signal.SIGKILL, lambda forkserver, _: [forkserver], 1),
                ("both, SIGKILL", signal.SIGKILL, lambda forkserver, engine: [forkserver, engine], 1),
            ):
                seconds, others = [], 0
                for _ in range(rounds):
                    for process in one(*pair_of(master)):
                        process.send_signal(sent)
                    took, before = until_served(port)
                    seconds.append(took)
                    others += before
                print(
                    f"{name}: median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}"
                    f" over {rounds}; {others} answers were not 200"
                )


if __name__ == "__main__":
    main()
