"""Take a start command apart: where it changes the user, and where gunicorn's own arguments begin."""

from __future__ import annotations

import pwd
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

# Programs that run other programs as another user, or have a service do so.
_CHANGERS = (
    "setpriv", "sudo", "su", "runuser", "gosu", "su-exec", "doas", "chpst", "setuidgid", "s6-setuidgid", "pkexec",
    "capsh", "start-stop-daemon", "systemctl", "systemd-run", "supervisorctl", "docker", "podman", "nsenter",
)  # fmt: skip
_CHANGER_WORD = re.compile(rf"(?<![\w./-])(?:/\S*/)?(?:{'|'.join(_CHANGERS)})(?![\w./-])")


def gunicorn_at(command: tuple[str, ...]) -> int | None:
    """The index at which gunicorn begins in a command line: its script, or the interpreter that runs it; None if no
    word names it, as in a start script's command."""
    for index, word in enumerate(command):
        name = PurePosixPath(word).name
        if name == "gunicorn":
            return index
        following = [PurePosixPath(other).name for other in command[index + 1 : index + 6]]
        if name.startswith(("python", "pypy")) and "gunicorn" in following:
            return index
    return None


def gunicorn_words(command: tuple[str, ...]) -> tuple[str, ...]:
    """gunicorn's own part of a command line; empty if there is none."""
    index = gunicorn_at(command)
    return () if index is None else command[index:]


def changes_user(words: tuple[str, ...]) -> bool:
    """Whether one of ``words`` is a program that runs the rest as another user."""
    return any(PurePosixPath(word).name in _CHANGERS for word in words)


def mentions_changer(text: str) -> bool:
    """Whether a script, or a shell's command text, names a program that runs others as another user."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return any(_CHANGER_WORD.search(line) for line in lines)


# How each program takes the user to become: by an option, or as its first argument (setpriv(1), sudo(8), su(1),
# runuser(1), chpst(8), s6-setuidgid, capsh(1), start-stop-daemon(8), systemd-run(1), nsenter(1)).
_USER_OPTIONS = {
    "setpriv": ("--reuid",),
    "sudo": ("-u", "--user"),
    "doas": ("-u",),
    "runuser": ("-u", "--user"),
    "chpst": ("-u",),
    "capsh": ("--user",),
    "start-stop-daemon": ("-c", "--chuid"),
    "systemd-run": ("--uid",),
    "nsenter": ("-S", "--setuid"),
    "pkexec": ("--user",),
}
_USER_WORDS = ("su", "runuser", "gosu", "su-exec", "setuidgid", "s6-setuidgid")


# Options of su and runuser whose value is not a user's name.
_SU_VALUES = ("-s", "--shell", "-c", "--command", "-g", "--group", "-G", "--supp-group", "-w", "-T")


@dataclass(frozen=True)
class UserChange:
    """A program runs the rest of its words as user ``uid``; ``length``: how many words say so."""

    uid: int
    length: int


def user_change(words: tuple[str, ...]) -> UserChange | None:
    """How the first program of ``words`` changes the user; None if it does not, or the user is unknown."""
    name = PurePosixPath(words[0]).name if words else ""
    for index in range(1, len(words)):
        word, following = words[index], words[index + 1] if index + 1 < len(words) else ""
        if word == "--" or not (word.startswith("-") or words[index - 1].startswith("-")):
            break
        for option in _USER_OPTIONS.get(name, ()):
            is_long = option.startswith("--")
            if word == option or (not is_long and re.fullmatch(rf"-[A-Za-z]+{option[1]}", word)):
                return _change(following, index + 2)
            if word.startswith(f"{option}=" if is_long else option):
                return _change(word[len(option) :].removeprefix("="), index + 1)
    if name in _USER_WORDS:
        rest = [
            word
            for before, word in pairwise(words)
            if not word.startswith("-") and not (name in ("su", "runuser") and before in _SU_VALUES)
        ]
        return _change(rest[0] if rest else "root", 1)
    return None


def _change(user: str, length: int) -> UserChange | None:
    uid = _user(user)
    return None if uid is None else UserChange(uid, length)


def _user(word: str) -> int | None:
    word = word.removeprefix("#").partition(":")[0]
    if word.isdecimal():
        return int(word)
    try:
        return pwd.getpwnam(word).pw_uid
    except KeyError:
        return None
