"""The results as a Markdown table: medians, 95th percentiles, and what never happened."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

HEAD = (
    "| fault | by | trials | action after, s | served again after, s | lost | failed | actions | unneeded |"
)


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def print_table(results: list[dict[str, Any]]) -> None:
    """Print it, with versions, date and load."""
    if not results:
        print("no results yet")
        return
    loads = [r["load"] for r in results]
    monit = subprocess.run(["monit", "-V"], capture_output=True, text=True, check=False).stdout.split()
    supervisor = subprocess.run(
        ["supervisord", "--version"], capture_output=True, text=True, check=False
    ).stdout.strip()
    ended = datetime.fromtimestamp(max(r["ended"] for r in results), UTC).date()
    print(
        f"{ended}, {os.cpu_count()} cores, load {min(loads):.1f} to {max(loads):.1f} (median"
        f" {statistics.median(loads):.1f}), Python {platform.python_version()}, gunicorn"
        f" {importlib.metadata.version('gunicorn')}, monit {monit[4]}, supervisor {supervisor}\n"
    )
    print(HEAD)
    print("|---|---|---|---|---|---|---|---|---|")
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        cells.setdefault((result["fault"], result["keeper"]), []).append(result)
    faults = list(dict.fromkeys(fault for fault, _ in cells))
    keepers = ("gte-ops", "monit", "supervisor", "gunicorn")
    for fault in faults:
        for keeper in keepers:
            if cell := cells.get((fault, keeper)):
                print(_row(fault, keeper, cell))
    ours = [r for r in results if r["keeper"] == "gte-ops" and r["fault"] == "wedged_worker"]
    if ours:
        print(
            f"\ngte-ops, wedged worker: from the kill to the new worker's import"
            f" {_spread([r['forked_after_action'] for r in ours])} s, to its being ready"
            f" {_spread([r['booted_after_action'] for r in ours])} s"
        )
    orphans = [r["orphans"] for r in results if r["orphans"] is not None]
    if orphans:
        print(f"\nMaster killed: its workers held the port for {_spread(orphans)} s more")


def _row(fault: str, keeper: str, cell: list[dict[str, Any]]) -> str:
    acted = [r["detected"] for r in cell if r["detected"] is not None]
    lost = sum(r["lost"] for r in cell)
    failed = _median(r["failed"] / max(1, r["asked"]) * 100 for r in cell)
    counts = _spread([len(r["actions"]) for r in cell], digits=0)
    return (
        f"| {fault.replace('_', ' ')} | {keeper} | {len(cell)} | {_times(acted, len(cell), None)}"
        f" | {_served(fault, cell)} | {lost} | {failed:.0f} % | {counts} | {sum(r['unneeded'] for r in cell)} |"
    )


def _served(fault: str, cell: list[dict[str, Any]]) -> str:
    if fault == "saturation":
        return "—"
    served = [r["served"] for r in cell if r["served"] is not None]
    limit = 90 if fault == "crash_loop" else max(r["observed"] for r in cell)
    said = _times(served, len(cell), limit)
    if given_up := sum(r["gave_up"] for r in cell):
        said += f"; gave up for good in {given_up}"
    return said


def _times(values: list[float], trials: int, limit: float | None) -> str:
    never = f"not within {limit:.0f} s" if limit else "none"
    if not values:
        return f"{never} (0 of {trials})"
    some = "" if len(values) == trials else f" in {len(values)} of {trials}, else {never}"
    return f"{_spread(values)}{some}"


def _spread(values: Sequence[float | None], digits: int = 1) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "—"
    return f"{statistics.median(known):.{digits}f} (p95 {percentile(known, 0.95):.{digits}f})"


def _median(values: Any) -> float:
    return statistics.median(list(values))
