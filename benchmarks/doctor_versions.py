"""The healthy doctor and `--version` of this tree beside another checkout's, on one stack, in turn.

    git worktree add /tmp/before 632b38c
    python -m benchmarks.doctor_versions /tmp/before [--runs 25]

Prints seconds and processor seconds (median, first and third quartile), and the ratio run by run, with its spread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.doctor_run import Run, run
from tests.lab.stack import REPOSITORY, Stack


def spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    first, middle, third = statistics.quantiles(values, n=4)
    return f"{middle:.3f} [{first:.3f}-{third:.3f}]"


def compared(name: str, command: Sequence[str], stack: Stack, other: Path, runs: int) -> None:
    """Run ``command`` with both trees in turn, and print a line for each figure."""
    trees = {"before": other, "now": REPOSITORY}
    measured: dict[str, list[Run]] = {tree: [] for tree in trees}
    for number in range(runs + 1):
        for tree, place in trees.items():
            environment = {**stack.environment(), "PYTHONPATH": str(place)}
            one = run(command, environment=environment, directory=stack.directory, exit_codes=(0, 1, 2))
            if number:  # the first compiles and fills caches
                measured[tree].append(one)
    for figure in ("wall", "cpu"):
        before, now = ([getattr(one, figure) for one in measured[tree]] for tree in trees)
        ratios = [b / a for a, b in zip(before, now, strict=True)]
        print(f"{name} {figure}: before {spread(before)}, now {spread(now)}, now/before {spread(ratios)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--runs", type=int, default=25)
    options = parser.parse_args()
    with Stack() as stack:
        doctor = [
            sys.executable,
            "-m",
            "ops.cli",
            "doctor",
            "--config",
            str(stack.config_file),
            "--format",
            "json",
        ]
        compared("healthy doctor", doctor, stack, options.other.resolve(), options.runs)
        version = [sys.executable, "-m", "ops.cli", "--version"]
        compared("--version", version, stack, options.other.resolve(), options.runs)


if __name__ == "__main__":
    main()
