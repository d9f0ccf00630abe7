"""The watchdog against monit, supervisor and gunicorn alone: the same faults in the same service.

    python -m benchmarks.watchdog_recovery [--trials 20] [--lanes 8] [--faults ...] [--keepers ...]
    python -m benchmarks.watchdog_recovery --table
    python -m benchmarks.watchdog_recovery --footprint 300

Trials are interleaved: fault by fault, each keeper in turn, several lanes side by side, for a trial mostly waits. Each
has a directory and a loopback address of its own. Results are appended to --results, a JSON object a line; a run that
was ended goes on where it stopped. Everything a trial starts ends with it, also when the run is killed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.watchdog_recovery.keepers import KEEPERS
from benchmarks.watchdog_recovery.lane import end_with_parent
from benchmarks.watchdog_recovery.table import print_table
from benchmarks.watchdog_recovery.trial import FAULTS, run

ATTEMPTS = 3


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20, help="of each fault with each keeper")
    parser.add_argument("--lanes", type=int, default=8, help="trials side by side")
    usual = [name for name in FAULTS if name not in ("boot_hang_one", "crash_loop_budget")]
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=usual)
    parser.add_argument("--keepers", nargs="+", choices=KEEPERS, default=list(KEEPERS))
    parser.add_argument("--results", type=Path, default=Path("watchdog_recovery.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print the table of --results")
    parser.add_argument("--footprint", type=float, metavar="SECONDS", help="memory, CPU and --once instead")
    arguments = parser.parse_args()
    if arguments.footprint:
        from benchmarks.watchdog_recovery.footprint import print_footprint

        print_footprint(arguments.footprint)
        return
    if not arguments.table:
        _run_all(arguments)
    print_table(_results(arguments.results))


def _results(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    except FileNotFoundError:
        return []


def _run_all(arguments: argparse.Namespace) -> None:
    have = {(r["fault"], r["keeper"], r["number"]) for r in _results(arguments.results)}
    due = [
        (fault, keeper, number)
        for number in range(arguments.trials)
        for fault in arguments.faults
        for keeper in arguments.keepers
        if (fault, keeper, number) not in have
    ]
    began, done, attempts = time.monotonic(), 0, dict.fromkeys(due, 1)
    with (
        arguments.results.open("a") as file,
        concurrent.futures.ProcessPoolExecutor(
            arguments.lanes, multiprocessing.get_context("spawn"), end_with_parent, (os.getpid(),)
        ) as lanes,
    ):
        running = {lanes.submit(run, *job): job for job in due}
        while running:
            finished, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in finished:
                job = running.pop(future)
                try:
                    trial = future.result()
                except Exception as error:  # noqa: BLE001  said, and tried again: it is no result
                    print(f"{' '.join(map(str, job))}: {type(error).__name__}: {error}", file=sys.stderr)
                    if attempts[job] < ATTEMPTS:
                        attempts[job] += 1
                        running[lanes.submit(run, *job)] = job
                    continue
                done += 1
                file.write(json.dumps(trial.as_dict() | {"ended": round(time.time())}) + "\n")
                file.flush()
                print(
                    f"{done}/{len(due)} {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}:"
                    f" {trial.fault} {trial.keeper} {trial.number}: detected {_said(trial.detected)},"
                    f" served {_said(trial.served)}, lost {trial.lost}, {' '.join(trial.actions) or 'no action'}",
                    file=sys.stderr,
                )


def _said(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f}"


if __name__ == "__main__":
    main()
