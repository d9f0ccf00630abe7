"""The steps of a fix as they are printed: each command on a line of its own, ready to be typed, the last one a proof.

A step that is the same in both languages is a command; every other one is advice.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

from ops.text.language import Text, verbatim

# The commands that read gte-ops.toml. In a Chinese sentence no space precedes them.
_READS_SETTINGS = re.compile(
    r"(?<![\w/.-])gte-ops (?:doctor|preflight|route|version"
    r"|(?:backup|watchdog|notify|cert|config|render) [a-z][a-z-]*)(?![\w-])(?! --config)",
    re.ASCII,
)
# What means something in a basic regular expression, and our delimiter (sed(1), regex(7)).
_SPECIAL = re.compile(r"[\\.*\[\]^$#]")
_STOPS_A_PROCESS = re.compile(r"kill (\d+)\n")
# A model is loaded before the service is ready.
_WORKS_WITHIN = "2m"


def is_command(step: Text) -> bool:
    """Whether a step is a command: the same words in both languages."""
    return step.en == step.zh


def step_marks(steps: Iterable[Text]) -> Iterator[tuple[str, Text]]:
    """Each step and the mark before it: a number for what can be typed, a dash for advice."""
    number = 0
    for step in steps:
        number += is_command(step)
        yield f"{number}. " if is_command(step) else "- ", step


def printed_steps(steps: Iterable[Text], confirm: str, settings_file: str | None) -> tuple[Text, ...]:
    """``steps`` as they are printed, with ``confirm``, the command that shows whether they worked, at the end."""
    lines = [line for step in (*steps, verbatim(confirm)) for line in _lines(step)]
    # Two causes of a fix may ask for the same command in a row: a test of nginx, a restart.
    unique = [line for before, line in zip([None, *lines], lines, strict=False) if line != before]
    return tuple(with_settings(line, settings_file) for line in unique)


def confirmation(code: str, *, is_fail: bool) -> str:
    """The command that shows whether a cause is gone: users are served again, or the check finds nothing."""
    return f"gte-ops doctor --wait-ok {_WORKS_WITHIN}" if is_fail else f"gte-ops doctor --only {code}"


def replaced_in_line(place: str, old: str, new: str) -> str:
    """The command that replaces ``old`` by ``new`` on one line; ``place`` is ``file:line``. A link stays a link."""
    file, _, line = place.rpartition(":")
    # Words may be set apart by more than one space in the file.
    pattern = _SPECIAL.sub(r"\\\g<0>", old).replace(" ", r"[[:space:]]\+")
    replacement = re.sub(r"[\\&#]", r"\\\g<0>", new)
    script = f"{line}s#{pattern}#{replacement}#"
    return f"sed -i --follow-symlinks {shlex.quote(script)} {shlex.quote(file)}"


def put_before_line(place: str, words: str) -> str:
    """The command that puts a line with ``words`` before the one at ``place``, ``file:line``."""
    file, _, line = place.rpartition(":")
    return f"sed -i --follow-symlinks {shlex.quote(f'{line}i {words}')} {shlex.quote(file)}"


def put_after_line(place: str, words: str) -> str:
    """The command that puts a line with ``words`` behind the one at ``place``, ``file:line``."""
    file, _, line = place.rpartition(":")
    return f"sed -i --follow-symlinks {shlex.quote(f'{line}a {words}')} {shlex.quote(file)}"


def without_line(place: str) -> str:
    """The command that takes the line at ``place``, ``file:line``, out."""
    file, _, line = place.rpartition(":")
    return f"sed -i --follow-symlinks {shlex.quote(f'{line}d')} {shlex.quote(file)}"


def replaced_statement(place: str, name: str, new: str) -> str:
    """The command that puts ``new`` (or nothing) in place of nginx's directive ``name``, which ends on the line that it
    begins on; ``place`` is ``file:line``."""
    file, _, line = place.rpartition(":")
    replacement = re.sub(r"[\\&#]", r"\\\g<0>", new)
    script = f"{line}s#{name} [^;]*;#{replacement}#"
    return f"sed -i --follow-symlinks {shlex.quote(script)} {shlex.quote(file)}"


def with_settings(words: Text, settings_file: str | None) -> Text:
    """``words`` with every gte-ops command made to read ``settings_file``, from whatever directory it is run."""
    if settings_file is None:
        return words
    option = f" --config {shlex.quote(settings_file)}"
    return Text(
        en=_READS_SETTINGS.sub(lambda match: match[0] + option, words.en),
        zh=_READS_SETTINGS.sub(lambda match: match[0] + option, words.to("zh")),
    )


def _lines(step: Text) -> Iterator[Text]:
    if not is_command(step) or "\n" not in step.en:
        yield step
        return
    if match := _STOPS_A_PROCESS.match(step.en):
        yield Text(
            en=f"Restart it (starting alone does nothing while process {match[1]} runs):",
            zh=f"重启（进程 {match[1]} 还在时，只执行启动命令不起作用）：",
        )
    yield from map(verbatim, step.en.splitlines())
