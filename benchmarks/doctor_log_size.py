"""Whether `gte-ops doctor` costs more where the logs are long: 1 MB against 2 GB each, in turn.

    python -m benchmarks.doctor_log_size [--runs 11] [--gigabytes 2] [--command timeline]

A real healthy stack whose three logs (nginx's access and error log, gunicorn's access log) are real files, every block
of them written: the same lines at the same pace, so that the large one is the small one with a longer past: four
requests a second and a warning every two seconds. With `--dense` all lines are recent, and more than the doctor
reads. The files lie under TMPDIR and are removed afterwards; the large ones take three times their size of disk.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.doctor_run import Run, run
from benchmarks.doctor_seconds import PROGRAM, machine
from tests.lab.stack import Stack

MEGABYTE = 1 << 20
# Lines a second, and the seconds over which a dense log spreads all of them.
PACES = {"access": 4.0, "error": 0.5}
DENSE_SECONDS = 600.0
BLOCK_LINES = 100_000
COMMANDS = {"doctor": ("doctor", "--skip", "OPS001"), "timeline": ("timeline", "--since", "2h")}


@functools.lru_cache(maxsize=4)
def access(at: int) -> str:
    """A prediction, as nginx's combined format and gunicorn's own have it."""
    time_ = datetime.fromtimestamp(at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'10.0.0.7 - - [{time_}] "POST /predict HTTP/1.1" 200 312 "-" "python-requests/2.32.3"\n'


@functools.lru_cache(maxsize=4)
def error(at: int) -> str:
    """A notice of nginx's that is no fault."""
    time_ = datetime.fromtimestamp(at).astimezone().strftime("%Y/%m/%d %H:%M:%S")
    return (
        f"{time_} [warn] 77#77: *45 a client request body is buffered to a temporary file body/0000000045\n"
    )


def write(path: Path, kind: str, size: int, dense: bool) -> None:
    """A log of about ``size`` bytes that ends now, its lines older and older towards its head, in bursts of 10 s."""
    line = {"access": access, "error": error}[kind]
    count = size // len(line(int(time.time())))
    step = DENSE_SECONDS / count if dense else 1 / PACES[kind]
    begin = time.time() - count * step
    with path.open("w") as file:
        for first in range(0, count, BLOCK_LINES):
            file.writelines(
                line(int(begin + number * step) // 10 * 10)
                for number in range(first, min(first + BLOCK_LINES, count))
            )
        file.flush()
        os.fsync(file.fileno())


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=11, help="counted runs of each size")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of each long log")
    parser.add_argument("--command", choices=COMMANDS, default="doctor", help="what is measured")
    parser.add_argument("--dense", action="store_true", help="all lines are recent")
    options = parser.parse_args()
    sizes = {"1 MB": MEGABYTE, f"{options.gigabytes:g} GB": int(options.gigabytes * 1024 * MEGABYTE)}
    took: dict[str, list[Run]] = {name: [] for name in sizes}
    with Stack() as stack:
        logs = {
            stack.nginx_access_log: "access",
            stack.nginx_error_log: "error",
            stack.gunicorn_access_log: "access",
        }
        stack.stop_nginx()
        stack.stop_gunicorn()
        for name, size in sizes.items():
            print(f"writing {len(logs)} logs of {name} ...", file=sys.stderr)
            written: dict[str, Path] = {}
            for path, kind in logs.items():
                place = path.with_name(f"{path.name}.{name[:1]}")
                if kind in written:
                    shutil.copyfile(written[kind], place)
                else:
                    write(place, kind, size, options.dense)
                written[kind] = place
        for number in range(options.runs + 1):
            for name in sizes:
                for path in logs:
                    path.with_name(f"{path.name}.{name[:1]}").replace(path)
                stack.start_gunicorn()
                stack.start_nginx()
                one = run(
                    [PROGRAM, *COMMANDS[options.command], "--config", str(stack.config_file)],
                    environment=stack.environment(),
                    directory=stack.directory,
                )
                stack.stop_nginx()
                stack.stop_gunicorn()
                for path in logs:
                    path.replace(path.with_name(f"{path.name}.{name[:1]}"))
                if number:  # the first warms the page cache and the bytecode
                    took[name].append(one)
    print(f"{machine()}, {options.runs} runs each, {'dense' if options.dense else 'paced'} lines\n")
    print("| logs | wall min | median | max | processor, median |\n|---|---|---|---|---|")
    for name, values in took.items():
        wall = [value.wall for value in values]
        print(
            f"| {name} each | {min(wall):.2f} | {statistics.median(wall):.2f} | {max(wall):.2f}"
            f" | {statistics.median(value.cpu for value in values):.2f} |"
        )
    small, large = took.values()
    ratios = sorted(b.cpu / a.cpu for a, b in zip(small, large, strict=True))
    walls = sorted(b.wall / a.wall for a, b in zip(small, large, strict=True))
    print(
        f"\nThe long logs cost {statistics.median(ratios):.2f} times the processor time ({ratios[0]:.2f} to"
        f" {ratios[-1]:.2f}) and"
        f" {statistics.median(walls):.2f} times the wall time ({walls[0]:.2f} to {walls[-1]:.2f})."
    )


if __name__ == "__main__":
    main()
