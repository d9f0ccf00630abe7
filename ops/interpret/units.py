"""Why systemd does not run a unit, by its own description of it (systemd.exec(5), systemd.unit(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

from ops.facts.units import Unit, UnitEnvironmentFile, Units

# Exit codes of systemd's own, before the program is run (systemd.exec(5), Process Exit Codes).
_CHDIR, _EXEC, _GROUP, _USER, _NAMESPACE = 200, 203, 216, 217, 226
_GAVE_UP = "Start request repeated too quickly"
_DEPENDENCY_FAILED = re.compile(r"Dependency failed for |\S+: Job \S+/start failed with result 'dependency'")
_STOPPING = ("Stopping ", "Stopped ", "Started ", "Starting ")
# Restarts by systemd after which a unit that does not stay up restarts for ever.
MANY_RESTARTS = 3


class UnitFault(StrEnum):
    """Why systemd does not run a unit. UNREADABLE: its file is not understood; FAILED: it ended, and nothing says why;
    RESTARTING: it ends again and again. CONDITION: one of its conditions is not met; DEPENDENCY: a unit that it
    requires cannot be had; WAITING: its start waits for another's. NAMESPACE: a path that its sandbox names is not
    there; READ_ONLY: its sandbox forbids a file without which its program does not start."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    MASKED = "masked"
    PROGRAM = "program"
    DIRECTORY = "directory"
    ACCOUNT = "account"
    ENVIRONMENT_FILE = "environment_file"
    CONDITION = "condition"
    DEPENDENCY = "dependency"
    WAITING = "waiting"
    NAMESPACE = "namespace"
    READ_ONLY = "read_only"
    START_LIMIT = "start_limit"
    OUT_OF_MEMORY = "out_of_memory"
    RESTARTING = "restarting"
    FAILED = "failed"


def is_up(unit: Unit) -> bool:
    """Whether systemd counts the unit as running: active, reloading, or on its way there for the first time."""
    return unit.active in ("active", "reloading") or (
        unit.active == "activating" and not unit.sub.startswith("auto-restart") and unit.result == "success"
    )


def was_stopped(unit: Unit) -> bool:
    """Whether the unit has ended as somebody wanted: inactive, without a failure."""
    return unit.load == "loaded" and unit.active == "inactive" and unit.result == "success"


def is_missing_a_dependency(words: Sequence[str]) -> bool:
    """Whether systemd's last word on a unit that is down is that it did not start it, for want of another unit. The
    unit looks as if somebody had stopped it, and systemd does not try again (systemd: src/core/job.c).

    ``words``: the lines of its journal, oldest first."""
    for line in reversed(words):
        if _DEPENDENCY_FAILED.match(line):
            return True
        if line.startswith(_STOPPING):
            return False
    return False


def unit_fault(unit: Unit) -> UnitFault | None:
    """Why systemd does not run ``unit``; None if it runs, or was stopped in order.

    What is wrong with the host now goes before what the last exit says: systemd does not try again by itself once the
    start limit is reached, whatever has been repaired since."""
    if unit.load == "masked":
        return UnitFault.MASKED
    if unit.load == "not-found":
        return UnitFault.MISSING if unit.references else None
    if unit.load not in ("loaded", ""):
        return UnitFault.UNREADABLE
    if unit.active in ("active", "reloading"):
        return None
    # systemd counts a start that it held back as no failure: such a unit looks like one that somebody stopped.
    # A condition that no longer holds is none of its start's, unless systemd found so when it was last asked for that.
    held = _held_back(unit)
    if unit.active != "activating" and held is not None and (held != UnitFault.CONDITION or unit.was_skipped):
        return held
    if was_stopped(unit):
        return None
    has_run_out = unit.active == "failed" and reached_start_limit(unit)
    if missing_environment_file(unit) is not None:
        return UnitFault.ENVIRONMENT_FILE
    if unit.account_error or (unit.status in (_USER, _GROUP) and not has_run_out):
        return UnitFault.ACCOUNT
    if unit.directory_error or (unit.status == _CHDIR and not has_run_out):
        return UnitFault.DIRECTORY
    if unit.program_error or (unit.status == _EXEC and not has_run_out):
        return UnitFault.PROGRAM
    if unit.sandbox.missing or (unit.status == _NAMESPACE and not has_run_out):
        return UnitFault.NAMESPACE
    if unit.result == "oom-kill":
        return UnitFault.OUT_OF_MEMORY
    if any(place.stops_the_start for place in unit.unwritable):
        return UnitFault.READ_ONLY
    if has_run_out:
        return UnitFault.START_LIMIT
    if unit.sub.startswith("auto-restart") or (
        unit.active == "activating" and unit.restarts >= MANY_RESTARTS
    ):
        return UnitFault.RESTARTING
    return None if is_up(unit) else UnitFault.FAILED


def start_obstacle(unit: Unit) -> UnitFault | None:
    """Why systemd could not start ``unit`` now, by what is wrong with the unit and this host, whether it runs or has
    never been started; None if nothing of that is seen."""
    if unit.load == "masked":
        return UnitFault.MASKED
    if unit.load == "not-found":
        return UnitFault.MISSING if unit.references else None
    if unit.load not in ("loaded", ""):
        return UnitFault.UNREADABLE
    if missing_environment_file(unit) is not None:
        return UnitFault.ENVIRONMENT_FILE
    if unit.account_error:
        return UnitFault.ACCOUNT
    if unit.directory_error:
        return UnitFault.DIRECTORY
    if unit.program_error:
        return UnitFault.PROGRAM
    if (held := _held_back(unit)) is not None:
        return held
    if unit.sandbox.missing:
        return UnitFault.NAMESPACE
    return UnitFault.READ_ONLY if any(place.stops_the_start for place in unit.unwritable) else None


def _held_back(unit: Unit) -> UnitFault | None:
    """Why systemd does not even begin to start ``unit``."""
    if unit.unmet:
        return UnitFault.CONDITION
    if unit.obstacles:
        return UnitFault.WAITING if unit.is_queued else UnitFault.DEPENDENCY
    return None


def reached_start_limit(unit: Unit) -> bool:
    """Whether systemd has given up starting the unit. Before version 254 its Result= is that of the last failure, and
    only the journal says so (systemd: src/core/service.c, service_start)."""
    return unit.result == "start-limit-hit" or any(_GAVE_UP in line for line in unit.words[-4:])


def missing_environment_file(unit: Unit) -> UnitEnvironmentFile | None:
    """The first file of variables without which systemd does not start the unit, if one cannot be read."""
    return next((file for file in unit.environment_files if file.error and not file.is_optional), None)


def state_words(unit: Unit) -> str:
    """The unit's state in systemd's own words, as `systemctl show` prints them."""
    words = [f"LoadState={unit.load}"] if unit.load != "loaded" else []
    words.append(f"ActiveState={unit.active} ({unit.sub})" if unit.sub else f"ActiveState={unit.active}")
    if unit.result != "success":
        words.append(f"Result={unit.result}")
    if unit.status:
        words.append(f"ExecMainStatus={unit.status}")
    if unit.signal:
        words.append(f"signal={unit.signal}")
    if unit.restarts:
        words.append(f"NRestarts={unit.restarts}")
    if unit.file_state:
        words.append(f"UnitFileState={unit.file_state}")
    return ", ".join(words)


def last_words(unit: Unit) -> str | None:
    """The last line of the unit's journal that tells of the failure, systemd's own summary lines last."""
    lines = [line for line in unit.words if line.strip()]
    telling = [line for line in lines if not _is_summary(line)]
    return next(reversed(telling or lines), None)


def _is_summary(line: str) -> bool:
    return any(
        words in line
        for words in (
            "Scheduled restart job", "Failed with result", "Main process exited", "Failed to start", "Stopped ",
            "Starting ", "Started ", "Start request repeated too quickly", "Deactivated successfully", "Consumed ",
            "Control process exited", "Stopping ",
        )
    )  # fmt: skip


def stale_units(units: Units) -> Iterator[Unit]:
    """The units whose files have changed since systemd read them. Of a masked one systemd always says so if it has
    drop-ins."""
    return (unit for unit in units.units if unit.needs_reload and unit.load == "loaded")
