"""The edits that a cause's printed fix consists of: each `sed -i` line, run on the file's content, not on the file."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Collection, Mapping, Sequence

from ops.diagnosis.catalogue import is_command
from ops.diagnosis.model import Cause
from ops.diagnosis.steps import in_background
from ops.facts.target import Target
from ops.files.programs import trusted_program
from ops.repair.model import FileEdit

SED_SECONDS = 5.0
_IN_PLACE = ["sed", "-i", "--follow-symlinks"]


def printed_edits(
    cause: Cause, target: Target, contents: Mapping[str, bytes], real: Mapping[str, str]
) -> tuple[FileEdit, ...]:
    """Return the edits of the files in ``contents`` that the fix's lines make; none if a line does something else than
    edit one of them, or load what was edited. ``real``: by path, where its links lead.

    sed gets the lines that the doctor prints, in its sandbox: it opens no other file and runs nothing (sed(1))."""
    program = trusted_program("sed")
    before: dict[str, bytes] = {}
    after: dict[str, bytes] = {}
    for step in cause.fix if program else ():
        if not is_command(step) or step.en in loading_commands(target) or step.en.startswith("gte-ops "):
            continue
        script, file = _in_place(step.en, contents)
        if not file or program is None:
            return ()
        place = real.get(file, file)
        before.setdefault(place, contents[file])
        edited = _edited(program, script, after.get(place, before[place]))
        if edited is None:
            return ()
        after[place] = edited
    return tuple(
        FileEdit(place, before[place], content)
        for place, content in after.items()
        if content != before[place]
    )


def loading_commands(target: Target) -> Collection[str]:
    """The lines that test, load, start and restart, and change no file."""
    commands = (
        target.test_nginx,
        target.reload_nginx,
        target.start_nginx,
        target.restart_command,
        target.start_command or "",
    )
    return {in_background(line, target.app_dir) for command in commands for line in command.splitlines()}


def _in_place(line: str, contents: Mapping[str, bytes]) -> tuple[str, str]:
    """Script and file of one `sed -i` line; empty for any other line, or another file."""
    try:
        words = shlex.split(line)
    except ValueError:
        return "", ""
    if words[:3] != _IN_PLACE or len(words) != 5 or words[4] not in contents:
        return "", ""
    return words[3], words[4]


def _edited(program: str, script: str, content: bytes) -> bytes | None:
    arguments: Sequence[str] = (program, "--sandbox", script)
    try:
        ran = subprocess.run(
            arguments,
            input=content,
            capture_output=True,
            timeout=SED_SECONDS,
            env={"LC_ALL": "C.UTF-8"},
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout if ran.returncode == 0 else None
