"""How long `gte-ops doctor` takes, as a whole process, on a real stack.

    python -m benchmarks.doctor_seconds [--runs 15]

Three cases in turn, so that a machine whose speed drifts slows all alike: `gte-ops --version`, the doctor on a healthy
stack, the doctor on a stack whose gunicorn (master and workers) is stopped by SIGSTOP. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.lab.stack import Stack


def seconds(command: list[str], stack: Stack, exit_code: int) -> float:
    """One run's wall time. Raises SystemExit where the command did not end as it should."""
    started = time.perf_counter()
    ran = subprocess.run(
        command, env=stack.environment(), cwd=stack.directory, capture_output=True, check=False
    )
    took = time.perf_counter() - started
    if ran.returncode != exit_code:
        sys.exit(
            f"{command}: exit {ran.returncode}, not {exit_code}\n{ran.stdout.decode()}{ran.stderr.decode()}"
        )
    return took


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="counted runs of each case")
    runs = parser.parse_args().runs
    program = str(Path(sys.executable).with_name("gte-ops"))
    took: dict[str, list[float]] = {}
    with Stack() as stack:
        doctor = [program, "doctor", "--config", str(stack.config_file)]

        def stopped() -> float:
            # The workers first: a stopped master leaves them alone.
            stack.signal_gunicorn(signal.SIGSTOP)
            stack.signal_workers(signal.SIGSTOP)
            try:
                return seconds(doctor, stack, 2)
            finally:
                stack.signal_workers(signal.SIGCONT)
                stack.signal_gunicorn(signal.SIGCONT)
                stack.wait_for_gunicorn("ready")

        cases: dict[str, Callable[[], float]] = {
            "`gte-ops --version`": lambda: seconds([program, "--version"], stack, 0),
            "`gte-ops doctor`, healthy": lambda: seconds(doctor, stack, 0),
            "`gte-ops doctor`, gunicorn stopped by SIGSTOP": stopped,
        }
        for run in range(runs + 1):
            for name, measure in cases.items():
                second = measure()
                if run:  # the first warms the page cache and the bytecode
                    took.setdefault(name, []).append(second)
    print(
        f"{datetime.now(UTC).date()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f},"
        f" Python {platform.python_version()},"
    )
    print(
        f"gunicorn {importlib.metadata.version('gunicorn')}, {runs} runs each, whole processes, wall seconds\n"
    )
    print("| case | min | median | max |\n|---|---|---|---|")
    for name, values in took.items():
        print(f"| {name} | {min(values):.2f} | {statistics.median(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
