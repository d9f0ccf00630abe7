"""The watchdog's metrics, as a file for node_exporter's textfile collector.

There are no timestamps in the file: node_exporter exports its age itself (node_textfile_mtime_seconds), so that an
alert can be set on a watchdog that has stopped.
"""

from __future__ import annotations

import platform
from pathlib import Path

from ops import __version__
from ops.files.atomic_file import write_atomically
from ops.supervision.health.assessment import ALIVE
from ops.supervision.state import ActionKind, ServiceState, WatchdogState

# A suspect service still answers; whether it is stuck is not proven.
_UP = (*ALIVE, ServiceState.SUSPECT)
# The same words as in the other files (ops/report/formats/prometheus.py): node_exporter complains of a metric with two
# helps.
BUILD_INFO = "The version of gte-ops that wrote the file."
# Readable by node_exporter, which runs as another user.
MODE = 0o644


def exposition(state: WatchdogState, *, paused: bool) -> str:
    """``state`` in Prometheus's text format (Prometheus, exposition formats, text-based)."""
    up = int(state.service_state in _UP)
    lines: list[str] = []

    def metric(
        name: str,
        kind: str,
        help_text: str,
        *samples: tuple[str, float | int | None],
        prefix: str = "gte_ops_watchdog_",
    ) -> None:
        present = [(labels, value) for labels, value in samples if value is not None]
        if present:
            full = f"{prefix}{name}"
            lines.extend([f"# HELP {full} {help_text}", f"# TYPE {full} {kind}"])
            lines.extend(f"{full}{labels} {value:.10g}" for labels, value in present)

    metric("up", "gauge", "Whether the service was alive when last observed.", ("", up))
    metric(
        "judged",
        "gauge",
        "Whether the last cycle could assess the service.",
        ("", int(state.service_state != ServiceState.UNDETERMINED)),
    )
    metric(
        "saturated", "gauge", "Whether the service had more to do than it can.", ("", int(state.saturated))
    )
    metric("consecutive_failures", "gauge", "Failing cycles in a row.", ("", state.failures))
    metric("holding", "gauge", "Whether the budget of actions is spent (OPS007).", ("", int(state.suspended)))
    metric("paused", "gauge", "Whether a pause is in force.", ("", int(paused)))
    metric(
        "actions_total",
        "counter",
        "Actions taken, by kind.",
        *((f'{{rung="{action}"}}', state.counters.get(action, 0)) for action in ActionKind),
    )
    metric(
        "last_recovery_seconds",
        "gauge",
        "From the beginning of the last trouble to its end.",
        ("", state.last_recovery_seconds),
    )
    metric(
        "state_timestamp_seconds",
        "gauge",
        "When the present state began, Unix seconds.",
        (f'{{state="{state.service_state}"}}', state.state_wall),
    )
    metric(
        "last_round_timestamp_seconds",
        "gauge",
        "When the last cycle ended, Unix seconds.",
        ("", state.clocks.wall if state.clocks else None),
    )
    metric(
        "build_info",
        "gauge",
        BUILD_INFO,
        (f'{{command="watchdog",version="{__version__}",python="{platform.python_version()}"}}', 1),
        prefix="gte_ops_",
    )
    return "\n".join(lines) + "\n"


def write(path: Path, state: WatchdogState, *, paused: bool) -> None:
    """Replace the textfile. Raises OSError if it cannot be written."""
    write_atomically(path, exposition(state, paused=paused).encode(), MODE)
