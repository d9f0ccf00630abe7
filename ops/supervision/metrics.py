"""What the watchdog has to say to Prometheus, as a file for node_exporter's textfile collector.

No timestamps in the file: node_exporter reports its age itself (node_textfile_mtime_seconds), on which a stale
watchdog is alerted.
"""

from __future__ import annotations

from pathlib import Path

from ops.files.atomic_file import write_atomically
from ops.supervision.state import RUNGS, WatchdogState

# Readable by node_exporter, which runs as another user.
MODE = 0o644


def exposition(memory: WatchdogState, *, paused: bool) -> str:
    """The Prometheus text of ``memory`` (Prometheus, exposition formats, text-based)."""
    up = {"healthy": 1, "saturated": 1, "suspect": 1}.get(memory.state, 0)
    lines: list[str] = []

    def metric(name: str, kind: str, help_text: str, *samples: tuple[str, float | int | None]) -> None:
        present = [(labels, value) for labels, value in samples if value is not None]
        if present:
            full = f"gte_ops_watchdog_{name}"
            lines.extend([f"# HELP {full} {help_text}", f"# TYPE {full} {kind}"])
            lines.extend(f"{full}{labels} {value:.10g}" for labels, value in present)

    metric("up", "gauge", "Whether the service was alive when last looked at.", ("", up))
    metric("judged", "gauge", "Whether the last round could judge.", ("", int(memory.state != "unjudged")))
    metric(
        "saturated", "gauge", "Whether the service had more to do than it can.", ("", int(memory.saturated))
    )
    metric("consecutive_failures", "gauge", "Failing rounds in a row.", ("", memory.failures))
    metric("holding", "gauge", "Whether the budget of actions is spent (OPS007).", ("", int(memory.gave_up)))
    metric("paused", "gauge", "Whether a pause is in force.", ("", int(paused)))
    metric(
        "actions_total",
        "counter",
        "Actions taken, by rung of the ladder.",
        *((f'{{rung="{rung}"}}', memory.counters.get(rung, 0)) for rung in RUNGS),
    )
    metric(
        "last_recovery_seconds",
        "gauge",
        "From the beginning of the last trouble to its end.",
        ("", memory.last_recovery_seconds),
    )
    metric(
        "state_timestamp_seconds",
        "gauge",
        "When the present state began, Unix seconds.",
        (f'{{state="{memory.state}"}}', memory.state_wall),
    )
    metric(
        "last_round_timestamp_seconds",
        "gauge",
        "When the last round ended, Unix seconds.",
        ("", memory.clocks.wall if memory.clocks else None),
    )
    return "\n".join(lines) + "\n"


def write(path: Path, memory: WatchdogState, *, paused: bool) -> None:
    """Replace the textfile. Raises OSError where it cannot be written."""
    write_atomically(path, exposition(memory, paused=paused).encode(), MODE)
