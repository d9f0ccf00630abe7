"""The baselines' directory. A module of its own: every doctor run needs it, but most hosts have no baselines."""

from __future__ import annotations

from pathlib import Path

from ops.settings import Settings


def baseline_directory(settings: Settings) -> Path:
    """Return the directory of this service's baselines: beside the watchdog's state."""
    state_file = Path(settings.watchdog.state_file)
    return state_file.with_name(f"{state_file.stem}-baselines")
