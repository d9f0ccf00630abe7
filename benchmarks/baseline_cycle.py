"""What the baseline costs: processor time of a watchdog cycle in which nothing has changed, and of the first look at a
host; the doctor with a baseline and without.

    python -m benchmarks.baseline_cycle                  # a host of 700 files
    python -m benchmarks.baseline_cycle --doctor 20      # and so many pairs of runs of the doctor on a stack of the lab
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from ops.baselines.capture import capture, directory_times
from ops.baselines.directory import baseline_directory
from ops.baselines.state import Baseline
from ops.baselines.store import BaselineStore
from ops.facts.changes import PlaceKind
from ops.settings import Settings
from ops.supervision.baseline_keeper import SETTLED, BaselineKeeper
from ops.supervision.observation import Clocks
from ops.supervision.state import ServiceState, WatchdogState

FILES = 700
CYCLES = 50
LINES = "    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n" * 60


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    arguments.add_argument("--doctor", type=int, default=0, metavar="PAIRS")
    pairs = arguments.parse_args().doctor
    with tempfile.TemporaryDirectory() as name:
        watchdog_cycles(Path(name))
    if pairs:
        doctor_runs(pairs)


def watchdog_cycles(directory: Path) -> None:
    """A store of ``FILES`` files, looked at by the watchdog's own keeper."""
    places = {}
    for number in range(FILES):
        path = directory / f"conf{number % 20}" / f"{number}.conf"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {number}\n{LINES}")
        places[str(path)] = PlaceKind.NGINX
    watchdog = msgspec.structs.replace(
        Settings().watchdog, state_file=str(directory / "state" / "watchdog.json")
    )
    settings = msgspec.structs.replace(Settings(), watchdog=watchdog)
    began = time.process_time()
    found = capture(places, {}, 0.0)
    first = time.process_time() - began
    store = BaselineStore(baseline_directory(settings))
    store.record(
        Baseline(
            made_by="benchmark",
            taken_at=time.time(),
            looked_at=time.time(),
            by="accept",
            files=found.files,
            values={},
            directories=directory_times(sorted({path.rpartition("/")[0] for path in places})),
        ),
        found.texts,
    )
    kept = sum(path.stat().st_size for path in store.directory.rglob("*") if path.is_file())
    keeper = BaselineKeeper(settings, ("false",), resident=True)
    state = WatchdogState(service_state=ServiceState.HEALTHY, state_since=0.0)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cycles = []
    for number in range(CYCLES):
        now = SETTLED + 15.0 * number
        began = time.process_time()
        keeper.after_cycle(state, Clocks(wall=now, monotonic=now, boottime=now), paused=False)
        cycles.append((time.process_time() - began) * 1000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    print(f"{FILES} files: first look {first * 1000:.0f} ms of processor time, store {kept >> 10} KiB")
    print(
        f"a cycle without a change: median {statistics.median(cycles):.1f} ms of processor time, "
        f"first {cycles[0]:.1f}, most {max(cycles[1:]):.1f}; memory +{grown} KiB"
    )


def doctor_runs(pairs: int) -> None:
    """The healthy doctor on a stack of the lab, by turns with a baseline and without."""
    from tests.lab.stack import Stack

    with Stack() as stack:
        stack.gte_ops("baseline", "accept", "--config", str(stack.config_file))
        store, aside = stack.run / "watchdog-baselines", stack.run / "aside"
        seconds: dict[bool, list[float]] = {True: [], False: []}
        cpu: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(pairs):
            for with_baseline in (True, False):
                if not with_baseline:
                    shutil.move(store, aside)
                began = _children_cpu()
                seconds[with_baseline].append(stack.doctor().seconds)
                cpu[with_baseline].append(_children_cpu() - began)
                if not with_baseline:
                    shutil.move(aside, store)
        for name, measured in (("time", seconds), ("CPU time", cpu)):
            ratios = [a / b for a, b in zip(measured[True], measured[False], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(
                f"doctor, {name}: median {statistics.median(measured[True]):.3f} s with a baseline, "
                f"{statistics.median(measured[False]):.3f} s without; of {pairs} pairs' ratios "
                f"the median {middle:.3f}, the middle half {low:.3f} to {high:.3f}"
            )


def _children_cpu() -> float:
    """CPU seconds of the ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
