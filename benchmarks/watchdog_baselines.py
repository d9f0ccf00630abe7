"""What the resident watchdog costs while it keeps baselines: memory, and its share of a core.

    python -m benchmarks.watchdog_baselines [--minutes 5] [--files 500] [--change-every SECONDS]

A stack of the lab with so many files of code is watched every 15 s, as by default. The watchdog records the baseline
itself once the service has been healthy for two minutes. Measured are the process's PSS and RSS (proc(5),
smaps_rollup) every second, and its CPU time: from its first healthy cycle on, with the doctor's run that records the
baseline, and of that the steady part after the recording. With `--change-every` a rule of logrotate is edited so
often, which no process has to load: each edit is a change that a new baseline is due for.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from pathlib import Path

import psutil

from tests.lab.stack import Stack
from tests.lab.waiting import wait_for
from tests.lab.watched import launch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--change-every", type=float, default=0.0, metavar="SECONDS")
    arguments = parser.parse_args()
    with Stack() as stack:
        for number in range(arguments.files):
            module = stack.app_dir / "shop" / f"module_{number}.py"
            module.parent.mkdir(exist_ok=True)
            module.write_text(f"PRICE = {number}\n" * 20)
        process = psutil.Process(launch(stack, output=stack.logs / "watchdog.log"))
        wait_for((stack.run / "watchdog.json").exists, "the watchdog's first cycle", within=60)
        states = stack.run / "watchdog-baselines" / "states"
        _measure(process, states, 60 * arguments.minutes, stack.logrotate / "gte-api", arguments.change_every)


def _measure(process: psutil.Process, states: Path, seconds: float, edited: Path, every: float) -> None:
    began, cpu_began = time.monotonic(), _cpu(process)
    changes, rule = 0, edited.read_text()
    recordings: set[str] = set()
    recorded: tuple[float, float] | None = None
    pss: list[float] = []
    rss: list[float] = []
    while time.monotonic() - began < seconds:
        time.sleep(1.0)
        if every and time.monotonic() - began > every * (changes + 1):
            changes += 1
            edited.write_text(f"{rule}# change {changes}\n")
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        pss.append(_megabytes(rollup, "Pss"))
        rss.append(_megabytes(rollup, "Rss"))
        recordings |= {path.name for path in states.glob("*.json")}
        # Once the recording process has ended, and with it its CPU time is known.
        if recorded is None and states.is_dir() and any(states.iterdir()) and not process.children():
            recorded = (time.monotonic(), sum(_cpu(process)))
    own, with_children = _cpu(process)[0], sum(_cpu(process))
    now = time.monotonic()
    print(
        f"memory: PSS median {statistics.median(pss):.1f} MB, most {max(pss):.1f}; RSS most {max(rss):.1f} MB"
    )
    print(
        f"CPU over {now - began:.0f} s: {with_children - sum(cpu_began):.2f} s,"
        f" {100 * (with_children - sum(cpu_began)) / (now - began):.2f} % of a core;"
        f" the watchdog itself {own - cpu_began[0]:.2f} s"
    )
    print(f"changes {changes}, baselines recorded {len(recordings)}")
    if recorded is None:
        print("no baseline was recorded in this time")
        return
    steady = (with_children - recorded[1]) / (now - recorded[0])
    print(f"after the recording, {now - recorded[0]:.0f} s: {100 * steady:.3f} % of a core")


def _cpu(process: psutil.Process) -> tuple[float, float]:
    """CPU seconds of the process, and of its children that have ended."""
    times = process.cpu_times()
    return times.user + times.system, times.children_user + times.children_system


def _megabytes(rollup: str, name: str) -> float:
    match = re.search(rf"^{name}:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(match[1]) / 1024 if match else 0.0


if __name__ == "__main__":
    main()
