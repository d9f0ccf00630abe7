"""The example files that rendering starts from: ``deploy/`` of the source, and ``ops/logrotate``."""

from __future__ import annotations

from pathlib import Path

# setup.py copies deploy/ here for a build. A checkout has no such directory.
_PACKAGED = Path(__file__).with_name("files")
_CHECKED_OUT = Path(__file__).parents[2] / "deploy"


def deployment_example(kind: str, name: str) -> str:
    """The text of ``deploy/<kind>/<name>``."""
    return (deployment_files() / kind / name).read_text(encoding="utf-8")


def rotation_example(name: str) -> str:
    """The text of ``ops/logrotate/<name>``."""
    return (Path(__file__).parents[1] / "logrotate" / name).read_text(encoding="utf-8")


def deployment_files() -> Path:
    """The files of ``deploy/``: in the installed package, or at the top of a checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKED_OUT
