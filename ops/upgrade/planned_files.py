"""What the new version's own `install` would change on this host, asked of its code before it is built."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.errors import OpsError
from ops.installation.host import HostTree
from ops.installation.steps import StepState
from ops.text.language import Text
from ops.text.reasons import system_error


class PlannedStep(msgspec.Struct, frozen=True):
    """A step of that `install`, as its dry run has it (docs/json.md)."""

    state: str
    path: str | None = None
    diff: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedFiles:
    """``steps``: those that are due; ``unknown``: why they cannot be told before the version is built."""

    steps: tuple[PlannedStep, ...] = ()
    unknown: Text | None = None


class _Answer(msgspec.Struct, frozen=True):
    """The document of `gte-ops install --dry-run --format json`; of a version that we do not know, perhaps."""

    steps: tuple[PlannedStep, ...]


def planned_files(
    host: HostTree, python: Path, version: Path | tuple[str, Path | None], settings_file: str
) -> PlannedFiles:
    """Ask the code of ``version``, run by the present version's ``python``: an environment, or what pip unpacks, a
    requirement and the directory of wheels in place of an index."""
    try:
        if isinstance(version, Path):
            return _asked(host, python, host.packages_place(version), settings_file)
        with tempfile.TemporaryDirectory(prefix="gte-ops-") as unpacked:
            host.unpack(python, *version, Path(unpacked))
            return _asked(host, python, Path(unpacked), settings_file)
    except OpsError as error:
        return PlannedFiles(unknown=error.words)
    except OSError as error:
        return PlannedFiles(unknown=system_error(error.filename or tempfile.gettempdir(), error))


def _asked(host: HostTree, python: Path, packages: Path, settings_file: str) -> PlannedFiles:
    answer = host.planned_install(python, packages, settings_file)
    try:
        steps = msgspec.json.decode(answer, type=_Answer).steps
    except msgspec.MsgspecError as error:
        return PlannedFiles(unknown=Text(en=str(error), zh=f"无法理解该版本的应答：{error}"))
    return PlannedFiles(tuple(step for step in steps if _is_shown(step)))


def _is_shown(step: PlannedStep) -> bool:
    return step.state != StepState.UNCHANGED and bool(step.diff or step.commands)
