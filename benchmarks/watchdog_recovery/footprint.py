"""What the watchdog costs where all is well: memory and CPU as a service, wall time of `--once`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.watchdog_recovery.keepers import start_gte_ops, write_settings
from benchmarks.watchdog_recovery.service import WORKERS, Service

POLLS = (5, 15)  # seconds; the second is the default
RUNS = 20
SETTLES = 10.0


def print_footprint(seconds: float) -> None:
    """Measure for ``seconds``, an instance for each poll interval, and print."""
    services = [Service() for _ in POLLS]
    try:
        watchdogs = []
        for service, poll in zip(services, POLLS, strict=True):
            settings = write_settings(service, poll=poll)
            service.spawn(str(service.start_script), "--daemon", output="start.log")
            _until(lambda s=service: sum(e.what == "ready" for e in s.events()) >= WORKERS)  # type: ignore[misc]
            watchdogs.append(psutil.Process(start_gte_ops(service, settings)))
        time.sleep(SETTLES)
        before = [_cpu(watchdog) for watchdog in watchdogs]
        began = time.monotonic()
        largest = [0] * len(POLLS)
        while time.monotonic() - began < seconds:
            time.sleep(5.0)
            largest = [max(size, w.memory_info().rss) for size, w in zip(largest, watchdogs, strict=True)]
        took = time.monotonic() - began
        print(f"over {took:.0f} s, load {os.getloadavg()[0]:.1f}\n")
        print("| poll | resident, MB (largest) | unique, MB | CPU of a core |\n|---|---|---|---|")
        for poll, watchdog, used, size in zip(POLLS, watchdogs, before, largest, strict=True):
            share = (_cpu(watchdog) - used) / took
            unique = watchdog.memory_full_info().uss
            print(f"| {poll} s | {size / 1e6:.1f} | {unique / 1e6:.1f} | {share:.2%} |")
            watchdog.terminate()
            watchdog.wait(30)
        runs = [_once(services[0]) for _ in range(RUNS + 1)][1:]
        print(
            f"\n`gte-ops watchdog --once`, healthy, {RUNS} runs: median {statistics.median(runs):.2f} s,"
            f" from {min(runs):.2f} to {max(runs):.2f} s"
        )
    finally:
        for service in services:
            service.close()


def _once(service: Service) -> float:
    """The wall time of one healthy run, as a whole process."""
    program = str(Path(sys.executable).with_name("gte-ops"))
    began = time.perf_counter()
    ran = subprocess.run(
        [program, "watchdog", "--once", "--config", str(service.home / "gte-ops.toml")],
        env=service.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - began
    if ran.returncode != 0:
        sys.exit(f"--once ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    return took


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU it used, its ended children's included."""
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited {seconds:g} s in vain")
        time.sleep(0.05)
