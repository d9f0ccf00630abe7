"""The results as Markdown tables: medians, 95th percentiles, and what never happened."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks.watchdog_recovery.keepers import KEEPERS
from benchmarks.watchdog_recovery.trial import FAULTS, LOOP_SECONDS, MENDS_WITHIN

Cell = list[dict[str, Any]]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def print_table(results: Cell) -> None:
    """Print them, with versions, date and load."""
    if not results:
        print("no results yet")
        return
    print(_versions(results))
    one_fault = [fault for fault in FAULTS if fault not in ("saturation", "crash_loop", "crash_loop_budget")]
    _print(
        results,
        one_fault,
        {
            "acted after, s": lambda cell: _times([r["detected"] for r in cell], "no"),
            "served again after, s": lambda cell: _times(
                [r["served"] for r in cell], f"not within {max(r['observed'] for r in cell):.0f} s"
            ),
            "lost": lambda cell: str(sum(r["lost"] for r in cell)),
            "failed": lambda cell: f"{_failed(cell):.0f} %",
            "unneeded": lambda cell: str(sum(r["unneeded"] for r in cell)),
        },
    )
    _print(
        results,
        ["saturation"],
        {
            "restarts": lambda cell: str(sum(len(r["actions"]) for r in cell)),
            "trials with one": lambda cell: str(sum(bool(r["actions"]) for r in cell)),
            "first after, s": lambda cell: _times([r["detected"] for r in cell], "none"),
            "begun and cut off": lambda cell: str(sum(r["lost"] for r in cell)),
            "answered in time": lambda cell: f"{100 - _failed(cell):.0f} %",
        },
    )
    _print(
        results,
        ["crash_loop", "crash_loop_budget"],
        {
            f"starts in {LOOP_SECONDS:.0f} s": lambda cell: _spread(
                [float(len(r["actions"])) for r in cell], digits=0
            ),
            "served again after the cause was gone, s": _mended,
        },
    )
    wedged = [r for r in results if r["keeper"] == "gte-ops" and r["fault"] == "wedged_worker"]
    if wedged:
        imported = _spread(_known(r["forked_after_action"] for r in wedged), digits=2)
        ready = _spread(_known(r["booted_after_action"] for r in wedged), digits=2)
        print(
            f"\ngte-ops, wedged worker: from the decision to the new worker's import {imported} s, ready {ready} s"
        )
    if orphans := _known(r["orphans"] for r in results):
        print(f"\nMaster killed: its workers lived, and held the port, for {_spread(orphans)} s more")


def _versions(results: Cell) -> str:
    loads = [r["load"] for r in results]
    monit = subprocess.run(["monit", "-V"], capture_output=True, text=True, check=False).stdout.split()
    supervisor = subprocess.run(
        ["supervisord", "--version"], capture_output=True, text=True, check=False
    ).stdout.strip()
    ended = datetime.fromtimestamp(max(r["ended"] for r in results), UTC).date()
    return (
        f"{ended}, {os.cpu_count()} cores, load {min(loads):.1f} to {max(loads):.1f} (median"
        f" {statistics.median(loads):.1f}), Python {platform.python_version()}, gunicorn"
        f" {importlib.metadata.version('gunicorn')}, monit {monit[4]}, supervisor {supervisor}"
    )


def _print(results: Cell, faults: Sequence[str], columns: dict[str, Callable[[Cell], str]]) -> None:
    rows = []
    for fault in faults:
        for keeper in KEEPERS:
            cell = [r for r in results if (r["fault"], r["keeper"]) == (fault, keeper)]
            if cell:
                values = [
                    fault.replace("_", " "),
                    keeper,
                    str(len(cell)),
                    *(tell(cell) for tell in columns.values()),
                ]
                rows.append(f"| {' | '.join(values)} |")
    if rows:
        print(f"\n| fault | by | trials | {' | '.join(columns)} |")
        print("|---" * (3 + len(columns)) + "|")
        print("\n".join(rows))


def _failed(cell: Cell) -> float:
    """The median share of requests that failed, in percent."""
    return statistics.median(r["failed"] / max(1, r["asked"]) * 100 for r in cell)


def _mended(cell: Cell) -> str:
    if cell[0]["fault"] != "crash_loop":
        return "not waited for"
    gave_up = sum(r["gave_up"] for r in cell)
    never = (
        "never: nobody is left to start it"
        if cell[0]["keeper"] == "gunicorn"
        else f"not within {MENDS_WITHIN:.0f} s"
    )
    return _times([r["served"] for r in cell], "never: FATAL" if gave_up else never)


def _times(values: Sequence[float | None], never: str) -> str:
    known = _known(values)
    if not known:
        return f"{never} (0 of {len(values)})"
    some = "" if len(known) == len(values) else f" in {len(known)} of {len(values)}, else {never}"
    return f"{_spread(known)}{some}"


def _spread(values: Sequence[float], digits: int = 1) -> str:
    return (
        f"{statistics.median(values):.{digits}f} (p95 {percentile(values, 0.95):.{digits}f})"
        if values
        else "—"
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
