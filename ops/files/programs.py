"""Programs by name, found only if no user but root and the caller could have replaced them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ops.files.nofollow import reason_not_to_trust

# execve(2): the kernel reads this much of an interpreter's line (BINPRM_BUF_SIZE).
_LINE_BYTES = 256


def search(name: str, path: str | None = None) -> str | None:
    """The path of ``name`` in the absolute directories of ``path`` (default: $PATH); None if it is in none.

    A name with a slash is its own place. An empty or relative entry would be the working directory."""
    if "/" in name:
        return name
    search_path = os.environ.get("PATH", os.defpath) if path is None else path
    for directory in search_path.split(os.pathsep):
        place = f"{directory}/{name}"
        if directory.startswith("/") and _is_executable(place):
            return place
    return None


def trusted_program(name: str) -> str | None:
    """The path of ``name`` on $PATH, if only root or the caller may change it; else None.

    Every program that is not named by its whole path is found by this."""
    place = search(name)
    return place if place is not None and reason_not_to_run(place) is None else None


def refused_program(name: str) -> str | None:
    """Why the ``name`` on $PATH is not run, in one line; None if it is run, or does not exist."""
    place = search(name)
    why_not = reason_not_to_run(place) if place is not None and os.path.lexists(place) else None
    return f"{place} is not run: {why_not}" if why_not is not None else None


def trusted_path(path: str) -> str:
    """A $PATH for programs that root runs: only absolute directories to which no user but root and the caller may
    write."""
    trusted = (
        directory
        for directory in path.split(os.pathsep)
        if directory.startswith("/") and reason_not_to_trust(directory, listed=True) is None
    )
    return os.pathsep.join(trusted) or os.defpath


def reason_not_to_run(program: str, path: str | None = None) -> str | None:
    """Why users other than root and the caller can change what ``program`` does: the file itself, and the interpreter
    in a script's first line, with env(1)'s argument on ``path`` (default: $PATH). None if they cannot."""
    why_not = reason_not_to_trust(program)
    if why_not is not None:
        return why_not
    reasons = (reason_not_to_trust(place) for place in _interpreters(program, path))
    return next(filter(None, reasons), None)


def _interpreters(program: str, path: str | None) -> list[str]:
    """The files that a script's first line names; none if it is no script."""
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
