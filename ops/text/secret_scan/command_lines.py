"""Secrets in the command lines of programs that take a password as an argument: ``mysql -pX``, ``curl -u USER:X``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from ops.text.secret_scan import HIDDEN
from ops.text.secret_scan.forms import table
from ops.text.secret_scan.names import Strength
from ops.text.secret_scan.values import is_harmless, is_secret


class _Options(NamedTuple):
    glued: tuple[str, ...]
    following: tuple[str, ...]
    user: tuple[str, ...]
    last_after: tuple[str, ...]
    needs: str


@lru_cache(maxsize=1)
def _programs() -> dict[str, tuple[_Options, ...]]:
    programs: dict[str, tuple[_Options, ...]] = {}
    for entry in table()["program"]:
        options = _Options(
            glued=tuple(entry.get("glued", ())),
            following=tuple(entry.get("following", ())),
            user=tuple(entry.get("user", ())),
            last_after=tuple(entry.get("last_after", ())),
            needs=entry.get("needs", ""),
        )
        for program in entry["programs"]:
            programs[program] = (*programs.get(program, ()), options)
    return programs


@lru_cache(maxsize=1)
def _start() -> re.Pattern[str]:
    names = "|".join(sorted(map(re.escape, _programs()), key=len, reverse=True))
    return re.compile(rf"(?<![\w.-])(?:{names})(?=[ \t]+[^\s=:])")


# A word of a shell's command line, its quotes included; a command ends at these marks.
_WORD = re.compile(r"""[ \t]++((?:[^\s"'|;&<>\\]++|"(?:[^"\\]++|\\.)*+"|'[^']*+'|\\.|["'])++)""")
MAX_WORDS = 64


def without_argument_secrets(words: str) -> str:
    """``words`` with the passwords hidden in the command lines of known programs that stand in it."""
    parts: list[str] = []
    position = read = 0
    for program in _start().finditer(words):
        if program.start() < read:
            continue
        spans: list[tuple[int, int]] = []
        at = program.end()
        while len(spans) < MAX_WORDS and (word := _WORD.match(words, at)):
            spans.append(word.span(1))
            at = word.end()
        arguments = [words[start:end] for start, end in spans]
        for (start, end), replacement, argument in zip(
            spans, _cleaned(program[0], arguments), arguments, strict=True
        ):
            if replacement != argument:
                parts += (words[position:start], replacement)
                position = end
        read = at
    return "".join((*parts, words[position:])) if parts else words


# Options that set a variable: gunicorn -e NAME=VALUE, docker run --env, systemd-run --setenv.
_ENVIRONMENT_OPTIONS = frozenset(("-e", "--env", "--en", "--setenv", "--build-arg"))
_VARIABLE = re.compile(r"([A-Za-z_]\w{0,80}=).+", re.DOTALL)
_GLUED_VARIABLE = re.compile(r"(-e=?[A-Za-z_]\w{0,80}=).+", re.DOTALL)
_ENVIRONMENT_PROGRAMS = frozenset(("gunicorn", "docker", "podman", "nerdctl"))
# To these -e is a pattern.
_PATTERN_PROGRAMS = frozenset(("grep", "egrep", "sed", "perl", "rg"))


def without_secret_arguments(command: Sequence[str]) -> tuple[str, ...]:
    """One process's command line, word by word, without the secrets of any program: ``--password``, ``VALUE``."""
    words = list(command)
    takes_patterns = bool(words) and PurePosixPath(words[0]).name in _PATTERN_PROGRAMS
    for at, word in enumerate(words[:-1]):
        following = words[at + 1]
        is_option = word.startswith("-") and "=" not in word
        if is_option and not following.startswith("-") and is_secret(word, following):
            words[at + 1] = HIDDEN
        elif (
            word in _ENVIRONMENT_OPTIONS and not takes_patterns and (set_to := _VARIABLE.fullmatch(following))
        ):
            words[at + 1] = set_to[1] + HIDDEN
    if not _ENVIRONMENT_PROGRAMS.isdisjoint(PurePosixPath(word).name for word in words[:4]):
        words = [glued[1] + HIDDEN if (glued := _GLUED_VARIABLE.fullmatch(word)) else word for word in words]
    for at, word in enumerate(words[:4]):
        # sudo mysql, /usr/bin/env curl
        if (program := PurePosixPath(word).name) in _programs():
            words[at + 1 :] = _cleaned(program, words[at + 1 :])
            break
    return tuple(words)


def _cleaned(program: str, arguments: list[str]) -> list[str]:
    clean = list(arguments)
    for options in _programs()[program]:
        if options.needs and options.needs not in arguments:
            continue
        for at, word in enumerate(arguments):
            bare = word.strip("\"'")
            for option in options.glued:
                if (
                    bare.startswith(option)
                    and len(bare) > len(option)
                    and not bare.startswith("--" + option[1:])
                ):
                    clean[at] = option + HIDDEN
            for option in options.user:
                if bare == option and at + 1 < len(arguments):
                    clean[at + 1] = _user(arguments[at + 1])
                elif bare.startswith(f"{option}=") or (
                    len(option) == 2 and bare.startswith(option) and bare != option
                ):
                    rest = bare[len(option) :].removeprefix("=")
                    if ":" in rest or "%" in rest:
                        clean[at] = bare[: len(bare) - len(rest)] + _user(rest)
            if bare in options.following and at + 1 < len(arguments):
                clean[at + 1] = _hidden(arguments[at + 1])
            # FILE USER PASSWORD; with -n no file.
            place = at + (2 if "n" in bare else 3)
            if bare in options.last_after and len(arguments) > place:
                clean[place] = HIDDEN
    return clean


def _user(argument: str) -> str:
    for mark in (":", "%"):
        user, separator, secret = argument.partition(mark)
        if separator and secret.strip("\"'"):
            return f"{user}{mark}{_hidden(secret)}"
    return argument


def _hidden(argument: str) -> str:
    # openssl's pass:VALUE; file:, env: and fd: name a place.
    kind, colon, value = argument.partition(":")
    if colon and kind in ("file", "env", "fd"):
        return argument
    if colon and kind == "pass" and value:
        return f"{kind}:{HIDDEN}"
    if argument.startswith("-") or is_harmless(argument.strip("\"'"), Strength.PASSWORD):
        return argument
    return HIDDEN
