"""What `gte-ops doctor` costs, as a whole process, on a real stack.

    python -m benchmarks.doctor_seconds [--runs 15]     healthy, stopped; seconds, processor, memory
    python -m benchmarks.doctor_seconds --faults        every single fault of the lab, the first case of each code, once
    python -m benchmarks.doctor_seconds --faults --only GUN007,resolver_is_silent --runs 3

The cases of the first table are measured in turn, so that a machine whose speed drifts slows all alike; memory in runs
of their own, because the looking costs time. Prints Markdown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import signal
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.doctor_run import Run, run
from tests.lab.faults import CASES
from tests.lab.faults.case import NotHereError
from tests.lab.stack import Stack
from tests.lab.trial import broken

GOAL = 2.5
PROGRAM = str(Path(sys.executable).with_name("gte-ops"))


def healthy_and_stopped(runs: int) -> None:
    """Measure, and print the table."""
    took: dict[str, list[Run]] = {}
    with Stack() as stack:
        doctor = [PROGRAM, "doctor", "--config", str(stack.config_file)]

        def measured(command: list[str], *exit_codes: int, watch_memory: bool = False) -> Run:
            return run(
                command,
                environment=stack.environment(),
                directory=stack.directory,
                exit_codes=exit_codes,
                watch_memory=watch_memory,
            )

        def stopped() -> Run:
            # The workers first: a stopped master leaves them alone.
            stack.signal_gunicorn(signal.SIGSTOP)
            stack.signal_workers(signal.SIGSTOP)
            try:
                return measured(doctor, 2)
            finally:
                stack.signal_workers(signal.SIGCONT)
                stack.signal_gunicorn(signal.SIGCONT)
                stack.wait_for_gunicorn("ready")

        cases: dict[str, Callable[[], Run]] = {
            "`gte-ops --version`": lambda: measured([PROGRAM, "--version"], 0),
            "`gte-ops doctor`, healthy": lambda: measured(doctor, 0),
            "`gte-ops doctor`, gunicorn stopped by SIGSTOP": stopped,
        }
        for number in range(runs + 1):
            for name, measure in cases.items():
                one = measure()
                if number:  # the first warms the page cache and the bytecode
                    took.setdefault(name, []).append(one)
        memory = [measured(doctor, 0, watch_memory=True) for _ in range(min(5, runs))]
    print(f"{machine()}, {runs} runs each, whole processes\n")
    print("| case | wall min | median | max | processor, median |\n|---|---|---|---|---|")
    for name, values in took.items():
        wall = [value.wall for value in values]
        print(
            f"| {name} | {min(wall):.2f} | {statistics.median(wall):.2f} | {max(wall):.2f}"
            f" | {statistics.median(value.cpu for value in values):.2f} |"
        )
    print(
        f"\nPeak memory of the doctor and its children, healthy, {len(memory)} runs:"
        f" {max(one.tree_rss for one in memory):.0f} MB RSS,"
        f" {max(one.tree_pss for one in memory):.0f} MB PSS (goal: 80)."
    )


def single_faults(runs: int, only: list[str]) -> None:
    """Cause each, run the doctor, and print the table, the slowest first."""
    first = {case.code: case for case in reversed(CASES)}
    rows: list[tuple[float, float, str]] = []
    for case in CASES:
        chosen = {case.code, case.name} & set(only) if only else first[case.code] is case
        if not chosen or case.impossible():
            continue
        try:
            with broken(case) as stack:
                command = [PROGRAM, "doctor", "--config", str(stack.config_file)]
                ran = [
                    run(
                        command,
                        environment=stack.environment(),
                        directory=stack.directory,
                        exit_codes=(0, 1, 2),
                    )
                    for _ in range(runs)
                ]
        except (NotHereError, AssertionError, SystemExit) as why:
            print(f"not measured: {case.code} {case.name}: {str(why)[:100]}", file=sys.stderr)
            continue
        wall, cpu = (
            statistics.median(values) for values in zip(*((r.wall, r.cpu) for r in ran), strict=True)
        )
        named = case.first in ran[0].output
        rows.append((wall, cpu, f"{case.code} {case.name}{'' if named else ' (NOT NAMED)'}"))
        print(f"{wall:.2f} {rows[-1][2]}", file=sys.stderr)
    rows.sort(reverse=True)
    over = sum(wall > GOAL for wall, _, _ in rows)
    walls = [wall for wall, _, _ in rows]
    print(
        f"{machine()}, {runs} run(s) of each of {len(rows)} faults: median {statistics.median(walls):.2f} s,"
        f" slowest {walls[0]:.2f} s; {over} took longer than {GOAL} s\n"
    )
    print("| fault | wall | processor |\n|---|---|---|")
    for wall, cpu, name in rows[: max(10, over)]:
        print(f"| {name} | {wall:.2f} | {cpu:.2f} |")


def machine() -> str:
    """Where and on what."""
    return (
        f"{datetime.now(UTC).date()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python"
        f" {platform.python_version()}, gunicorn {importlib.metadata.version('gunicorn')}"
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, help="counted runs of each case (15; with --faults 1)")
    parser.add_argument("--faults", action="store_true", help="every single fault")
    parser.add_argument("--only", default="", help="with --faults: these codes or cases, comma-separated")
    options = parser.parse_args()
    if options.faults:
        single_faults(options.runs or 1, [name for name in options.only.split(",") if name])
    else:
        healthy_and_stopped(options.runs or 15)


if __name__ == "__main__":
    main()
