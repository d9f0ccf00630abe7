"""Programs by their names, found only where nobody but root and the caller decides what they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ops.files.nofollow import reason_not_to_trust

# execve(2): an interpreter's line is read so far (BINPRM_BUF_SIZE).
_LINE_BYTES = 256


def search(name: str, path: str | None = None) -> str | None:
    """Where ``name`` is found among the absolute directories of ``path`` (default: $PATH); None where it is not.

    A name with a slash is its own place. An empty or relative entry would be the working directory."""
    if "/" in name:
        return name
    given = os.environ.get("PATH", os.defpath) if path is None else path
    for directory in given.split(os.pathsep):
        place = f"{directory}/{name}"
        if directory.startswith("/") and _is_executable(place):
            return place
    return None


def trusted_program(name: str) -> str | None:
    """Where ``name`` is found on $PATH and only root or the caller may change it; None where that is nowhere."""
    place = search(name)
    return place if place is not None and reason_not_to_run(place) is None else None


def reason_not_to_run(program: str) -> str | None:
    """Why somebody else than root or the caller decides what ``program`` does when it is run: the file itself, and
    the interpreter that a script's first line names. None where nobody does."""
    why_not = reason_not_to_trust(program)
    if why_not is not None:
        return why_not
    interpreter = _interpreter(program)
    return reason_not_to_trust(interpreter) if interpreter else None


def _interpreter(program: str) -> str | None:
    try:
        with Path(program).open("rb") as file:
            line = file.read(_LINE_BYTES).partition(b"\n")[0]
    except OSError:
        return None
    words = line[2:].split() if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else None


def _is_executable(place: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(place).st_mode) and os.access(place, os.X_OK)  # noqa: PTH116
    except OSError:
        return False
