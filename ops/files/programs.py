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
    """Where ``name`` is found on $PATH and only root or the caller may change it; None where that is nowhere.

    Every program that is not named by its whole path is found by this."""
    place = search(name)
    return place if place is not None and reason_not_to_run(place) is None else None


def refused_program(name: str) -> str | None:
    """Why the ``name`` that is found on $PATH is not run, in one line; None where it is, or there is none."""
    place = search(name)
    why_not = reason_not_to_run(place) if place is not None and os.path.lexists(place) else None
    return f"{place} is not run: {why_not}" if why_not is not None else None


def trusted_path(path: str) -> str:
    """A $PATH for what root runs: its absolute directories that nobody but root and the caller may write to."""
    trusted = (
        directory
        for directory in path.split(os.pathsep)
        if directory.startswith("/") and reason_not_to_trust(directory, listed=True) is None
    )
    return os.pathsep.join(trusted) or os.defpath


def reason_not_to_run(program: str, path: str | None = None) -> str | None:
    """Why somebody else than root or the caller decides what ``program`` does when it is run: the file itself, and
    what a script's first line names, with env(1)'s argument on ``path`` (default: $PATH). None where nobody does."""
    why_not = reason_not_to_trust(program)
    if why_not is not None:
        return why_not
    reasons = (reason_not_to_trust(place) for place in _interpreters(program, path))
    return next(filter(None, reasons), None)


def _interpreters(program: str, path: str | None) -> list[str]:
    """The files that a script's first line names; none for what is no script."""
    try:
        with Path(program).open("rb") as file:
            line = file.read(_LINE_BYTES).partition(b"\n")[0]
    except OSError:
        return []
    words = [os.fsdecode(word) for word in line[2:].split()] if line.startswith(b"#!") else []
    places = [word for word in words if word.startswith("/")]
    if words and Path(words[0]).name == "env":
        places += filter(None, (search(word, path) for word in words[1:] if "/" not in word))
    return places


def _is_executable(place: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(place).st_mode) and os.access(place, os.X_OK)  # noqa: PTH116
    except OSError:
        return False
