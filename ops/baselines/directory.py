"""Where baselines are kept. A module of its own: every run of the doctor asks, and most hosts have none."""

from __future__ import annotations

from pathlib import Path

from ops.settings import Settings


def baseline_directory(settings: Settings) -> Path:
    """Where this service's baselines are: beside the watchdog's state."""
    state_file = Path(settings.watchdog.state_file)
    return state_file.with_name(f"{state_file.stem}-baselines")
