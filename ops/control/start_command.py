"""What a start command is made of: what changes the user, and where gunicorn's own words begin."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

# Programs that run others as another user, or hand them to somebody who does.
_CHANGERS = (
    "setpriv", "sudo", "su", "runuser", "gosu", "su-exec", "doas", "chpst", "setuidgid", "s6-setuidgid", "pkexec",
    "capsh", "start-stop-daemon", "systemctl", "systemd-run", "supervisorctl", "docker", "podman", "nsenter",
)  # fmt: skip
_CHANGER_WORD = re.compile(rf"(?<![\w./-])(?:/\S*/)?(?:{'|'.join(_CHANGERS)})(?![\w./-])")


def gunicorn_at(command: tuple[str, ...]) -> int | None:
    """Where gunicorn's own words begin in a command line: its script, or an interpreter that runs it; None where no
    word is it, as in a script's."""
    for index, word in enumerate(command):
        name = PurePosixPath(word).name
        if name == "gunicorn":
            return index
        following = [PurePosixPath(other).name for other in command[index + 1 : index + 6]]
        if name.startswith(("python", "pypy")) and "gunicorn" in following:
            return index
    return None


def gunicorn_words(command: tuple[str, ...]) -> tuple[str, ...]:
    """gunicorn's own words of a command line; empty where none is."""
    index = gunicorn_at(command)
    return () if index is None else command[index:]


def changes_user(words: tuple[str, ...]) -> bool:
    """Whether one of the programs ``words`` begin with runs the rest as another user."""
    return any(PurePosixPath(word).name in _CHANGERS for word in words)


def mentions_changer(text: str) -> bool:
    """Whether a script, or a word for a shell, names a program that runs others as another user."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return any(_CHANGER_WORD.search(line) for line in lines)
