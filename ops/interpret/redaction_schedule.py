"""Redact scheduled commands: keep those that checks read, and of every other only the program's name.

A cron entry or a rotation's script may contain secrets: a header, a token in the path of a URL, a password that it
writes to a file. Checks read only whether certificates are renewed, the service is watched, and what tells it to
reload.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import msgspec

from ops.facts.safeguards import Rotation, Schedule
from ops.interpret.renewal import RENEWS
from ops.interpret.schedule import LOOP_PAUSE, NOT_UNDER_SYSTEMD, SAFEGUARD_RUNS, SENDS_HUP, WATCHDOG_RUN
from ops.text.sanitize import HIDDEN

# All patterns that checks search for in scheduled commands; a test ensures that the list is complete.
JUDGED_COMMANDS = (RENEWS, WATCHDOG_RUN, NOT_UNDER_SYSTEMD, SENDS_HUP, LOOP_PAUSE, *SAFEGUARD_RUNS.values())

_SEPARATORS = re.compile(r"(&&|\|\||[;|\n])")
_PROGRAM = re.compile(r"[\w./+\[-]{1,200}")
_URL_PATH = re.compile(r"(://[^\s/\"'<>]{1,255}+/)[^\s\"'<>]++")
# Options with data to send: curl --header VALUE, -d VALUE.
_CLIENT = re.compile(r"\b(?:curl|wget|https?|xh)\b")
_SENT = re.compile(
    r"((?<![\w-])(?:-[HdFTA]|--(?:header|data|form|user-agent|post-data|body-data)[\w-]{0,20})[ =]?)"
    r"""(?!\*\*\*)(?:"[^"\n]*+"?|'[^'\n]*+'?|[^\s"']++)"""
)


def redacted_schedule(schedule: Schedule) -> Schedule:
    """Return ``schedule`` with all commands hidden that are not read."""
    replace = msgspec.structs.replace
    return replace(
        schedule,
        cron=tuple(replace(e, command=_judged(e.command), script=_judged(e.script)) for e in schedule.cron),
        timers=tuple(
            replace(t, commands=tuple(map(_judged, t.commands)), scripts=tuple(map(_judged, t.scripts)))
            for t in schedule.timers
        ),
        services=tuple(replace(s, commands=tuple(map(_judged, s.commands))) for s in schedule.services),
        watched=tuple(replace(s, commands=tuple(map(_judged, s.commands))) for s in schedule.watched),
    )


def redacted_rotation(rotation: Rotation) -> Rotation:
    """Return ``rotation`` with its scripts hidden: checks only read whether there is one."""
    return msgspec.structs.replace(
        rotation,
        rules=tuple(
            msgspec.structs.replace(
                rule, scripts={name: HIDDEN if script else "" for name, script in rule.scripts.items()}
            )
            for rule in rotation.rules
        ),
    )


def _judged(words: str) -> str:
    """Reduce a command line or script to the commands that checks search for, and the names of the other programs."""
    spans = [match.span() for pattern in JUDGED_COMMANDS for match in pattern.finditer(words)]
    return "".join(_parts(words, spans))


def _parts(words: str, spans: list[tuple[int, int]]) -> Iterator[str]:
    at = 0
    for part in _SEPARATORS.split(words):
        end = at + len(part)
        if _SEPARATORS.fullmatch(part) or not part.strip():
            yield part
        elif any(start < end and at < stop for start, stop in spans):
            text = _URL_PATH.sub(rf"\1{HIDDEN}", part)
            yield _SENT.sub(rf"\1{HIDDEN}", text) if _CLIENT.search(part) else text
        else:
            blanks = part[: len(part) - len(part.lstrip())]
            yield blanks + _program_alone(part.split())
        at = end


def _program_alone(command: list[str]) -> str:
    name = PurePosixPath(command[0]).name if _PROGRAM.fullmatch(command[0]) else HIDDEN
    return name if len(command) == 1 else f"{name} {HIDDEN} "
