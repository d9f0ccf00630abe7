"""What `gte-ops doctor --from-bundle DIRECTORY` costs for a fleet, and whether it names each host's cause.

    python -m benchmarks.fleet_bundles [--hosts 100] [--runs 5] [--processors 2]

Records real bundles of the lab's stack (healthy, gunicorn stopped, nginx proxying to a wrong port, an expired
certificate), copies each under other host names until there are ``--hosts``, and diagnoses the directory as a whole
process, bound to ``--processors``. Prints seconds, memory, and each group with its hosts; ends with 1 if a host's cause
is not named. The copies differ in nothing but their names.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.lab.stack import Stack

PROGRAM = str(Path(sys.executable).with_name("gte-ops"))
# Of a hundred hosts: how many are broken in each way.
SHARES = {"GUN001": 5, "NGX005": 3, "TLS001": 2}


def _stop_gunicorn(stack: Stack) -> None:
    stack.kill_gunicorn()


def _proxy_to_wrong_port(stack: Stack) -> None:
    stack.start_gunicorn(wait="ready")
    stack.edit(stack.site_file, f"server {stack.bind};", f"server {stack.address}:{stack.free_port()};")


def _expire(stack: Stack) -> None:
    text = stack.site_file.read_text()
    stack.site_file.write_text(re.sub(r"server 127[\d.]+:\d+;", f"server {stack.bind};", text, count=1))
    now = datetime.now(UTC)
    stack.replace_certificate(not_before=now - timedelta(days=91), not_after=now - timedelta(days=1))


# In this order on one stack: each mends what the one before it broke.
FAULTS: dict[str, Callable[[Stack], None]] = {
    "GUN001": _stop_gunicorn,
    "NGX005": _proxy_to_wrong_port,
    "TLS001": _expire,
}


def record(directory: Path) -> dict[str, Path]:
    """One bundle of a healthy stack and one of each fault on it."""
    bundles: dict[str, Path] = {}
    with Stack() as stack:
        for code in ("", *FAULTS):
            if code:
                FAULTS[code](stack)
            bundles[code] = directory / f"{code or 'healthy'}.json"
            stack.gte_ops("doctor", "--config", str(stack.config_file), "--bundle", str(bundles[code]))
    return bundles


def copies(bundles: dict[str, Path], directory: Path, hosts: int) -> dict[str, str]:
    """``hosts`` bundles under names of their own; the code that each has to show by name."""
    codes = [code for code, share in SHARES.items() for _ in range(round(share * hosts / 100))]
    codes += [""] * (hosts - len(codes))
    expected = {}
    for number, code in enumerate(codes):
        document = json.loads(bundles[code].read_text())
        name = f"host{number:04}"
        document["snapshot"]["host"]["hostname"] = name
        (directory / f"{name}.json").write_text(json.dumps(document))
        expected[name] = code
    return expected


def run(directory: Path, processors: Sequence[int]) -> tuple[float, float, dict[str, object]]:
    """Wall and processor seconds of one whole run, and its document."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        [PROGRAM, "doctor", "--from-bundle", str(directory), "--format", "json"],
        capture_output=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, processors),
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    document: dict[str, object] = json.loads(ran.stdout)
    return seconds, busy, document


def wrong(document: dict[str, object], expected: dict[str, str]) -> list[str]:
    """The hosts whose first cause is not the one that was recorded."""
    hosts = document["hosts"]
    assert isinstance(hosts, list)
    named = {
        host["name"]: next((cause["code"] for cause in host["causes"] if cause["severity"] == "fail"), "")
        for host in hosts
    }
    return [
        f"{name}: {named.get(name)!r}, not {code!r}"
        for name, code in expected.items()
        if named.get(name) != code
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--processors", type=int, default=2)
    options = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))[: options.processors]
    with tempfile.TemporaryDirectory(prefix="gte-fleet-") as name:
        recorded, fleet = Path(name, "recorded"), Path(name, "fleet")
        recorded.mkdir()
        fleet.mkdir()
        expected = copies(record(recorded), fleet, options.hosts)
        size = sum(path.stat().st_size for path in fleet.iterdir())
        results = [run(fleet, processors) for _ in range(options.runs)]
        seconds = [result[0] for result in results]
        busy = statistics.median(result[1] for result in results)
        document = results[-1][2]
        mistakes = wrong(document, expected)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    load = os.getloadavg()[0]
    print(f"{options.hosts} bundles, {size >> 20} MB, {len(processors)} processors, load {load:.1f}")
    print(
        f"wall seconds, {options.runs} runs: min {min(seconds):.2f}, median {statistics.median(seconds):.2f},"
        f" max {max(seconds):.2f}; processor seconds, median {busy:.2f}; largest process {peak} MB"
    )
    groups = document["groups"]
    assert isinstance(groups, list)
    for group in groups:
        print(f"{group['code'] or 'all'}: {len(group['hosts'])} hosts, {len(group['shared'])} shared")
        for item in group["shared"][:3]:
            print(f"    {item['kind']} {item['name']}: {item['value']} [{item['holders']}, {item['others']}]")
    print(
        f"hosts whose cause is not the recorded one: {len(mistakes)} of {len(expected)}",
        *mistakes[:5],
        sep="\n  ",
    )
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
