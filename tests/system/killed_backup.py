"""One `backup create` on the host below DIRECTORY, as often as it is told to, for the tests that kill it.

    python -m tests.system.killed_backup DIRECTORY

A line on standard output says that everything is imported and the run begins; another how it ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ops.backup
from ops.archive.encryption import recipients
from ops.backups.discover import make_plan
from ops.errors import OpsError
from ops.settings import load_settings


def create(config: Path) -> int:
    """What the command does, with the plan made beforehand: the looking around writes nothing."""
    settings = load_settings(config)
    try:
        return ops.backup.create_backup(settings, config, (), lambda *_: None).exit_code
    except OpsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code


def prepare(config: Path) -> None:
    """Imports what a run needs and looks around once for all runs."""
    import cryptography.hazmat.primitives.serialization  # noqa: F401
    import pyrage  # noqa: F401
    import zstandard  # noqa: F401

    settings = load_settings(config)
    recipients(settings.backup.recipients)
    plan = make_plan(settings, config)
    ops.backup.make_plan = lambda *_: plan  # type: ignore[attr-defined]


if __name__ == "__main__":
    toml = Path(sys.argv[1]) / "gte-ops.toml"
    prepare(toml)
    print("begins", flush=True)  # noqa: T201
    sys.exit(create(toml))
