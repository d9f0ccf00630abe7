"""Print the steps of a fix: each command on a line of its own, ready to be typed; the last one confirms the fix.

A step that is the same in both languages is a command; every other one is advice.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ops.text.language import Text, verbatim
from ops.text.sanitize import HIDDEN

if TYPE_CHECKING:
    from ops.facts.nginx import NginxConfig

# The commands that read gte-ops.toml. In a Chinese sentence no space precedes them.
_READS_SETTINGS = re.compile(
    r"(?<![\w/.-])gte-ops (?:doctor|preflight|route|timeline|version"
    r"|(?:backup|baseline|deploy|watchdog|notify|cert|config|render|service) [a-z][a-z-]*)(?![\w-])(?! --config)",
    re.ASCII,
)
# Special characters of a basic regular expression, and our delimiter (sed(1), regex(7)).
_SPECIAL = re.compile(r"[\\.*\[\]^$#]")
_STOPS_A_PROCESS = re.compile(r"kill (\d+)\n")
_ENDS_PROCESSES = re.compile(r"kill (?:-(?:TERM|QUIT|9) )?(\d+(?: \d+)*)")
_CHANGES_DIRECTORY = re.compile(r"(?:cd [^;&|<>]+)?")
# The shell's own characters, outside quotes.
_SHELL = re.compile(r"^[^'\"]*[;&|<>$`]")
# What ends or begins an argument in nginx's configuration, anywhere in it or at its beginning.
_NEEDS_QUOTES = re.compile(r"[\s;{}\"'\\]|^#")
# A value by itself, or the beginning or the end of a path, outside quotes; in a pattern a question mark follows what it
# is about, in a URL something follows it. find's patterns are for names of one character.
_NOT_SEEN = re.compile(
    r"""(?<!name )(?<!path )(?:^|[\s=:/,(]|(?P<quote>['"]))\?(?(quote)(?P=quote)|(?=$|[\s/:,;)]))"""
)
_QUOTED = re.compile(r"""'[^']{2,}'|"[^"]{2,}\"""")
_NOT_SEEN_IN_QUOTES = re.compile(r"=\?(?=[\s'\":,;)\[#])")
_LEFT_OUT = Text(
    en="One step is left out: a value in it was not seen, or is hidden; root on the host is shown a hidden one",
    zh="这里省略了一步：其中有一个值没有看到或被隐藏；若是被隐藏，请在该主机上以 root 身份运行 doctor 查看",
)
# The service loads a model before it is ready.
_WORKS_WITHIN = "2m"
# gunicorn's default graceful_timeout, and some.
_ENDS_WITHIN = 35


def is_command(step: Text) -> bool:
    """Whether a step is a command: the same words in both languages."""
    return step.en == step.zh


def has_a_hole(command: str) -> bool:
    """Whether a command has something in place of a value: a mark for one that was hidden, or ``?`` for one that was
    not seen."""
    return (
        HIDDEN in command
        or _NOT_SEEN.search(_QUOTED.sub("''", command)) is not None
        or _NOT_SEEN_IN_QUOTES.search(command) is not None
    )


def step_marks(steps: Iterable[Text]) -> Iterator[tuple[str, Text]]:
    """Yield each step with the mark before it: a number for a command, a dash for advice."""
    number = 0
    for step in steps:
        number += is_command(step)
        yield f"{number}. " if is_command(step) else "- ", step


def printed_steps(
    steps: Iterable[Text], confirm: str, settings_file: str | None, app_dir: str | None = None
) -> tuple[Text, ...]:
    """Return ``steps`` as they are printed, followed by ``confirm``, the command that shows whether they worked. A
    command that has no value for something is left out, and a sentence says so.
    ``app_dir``: where the service is started."""
    whole = (
        _LEFT_OUT if is_command(line) and has_a_hole(line.en) else line
        for step in (*steps, verbatim(confirm))
        for line in _lines(step)
    )
    lines = [verbatim(in_background(line.en, app_dir)) if is_command(line) else line for line in whole]
    # One step may end with the command that begins the next: a test of nginx, a restart.
    unique = [line for before, line in zip([None, *lines], lines, strict=False) if line != before]
    return tuple(with_settings(line, settings_file) for line in _with_waits(unique))


def _with_waits(lines: Sequence[Text]) -> Iterator[Text]:
    """Yield ``lines``; between a process's end and what starts in its place, wait until it is gone. The last line,
    which shows whether they worked, waits by itself."""
    for place, line in enumerate(lines):
        yield line
        ended = _ENDS_PROCESSES.fullmatch(line.en) if is_command(line) else None
        following = [later.en for later in lines[place + 1 : -1] if is_command(later)]
        if ended and following and not following[0].startswith("timeout "):
            for pid in ended[1].split():
                yield verbatim(f"timeout {_ENDS_WITHIN} tail --pid={pid} -f /dev/null")


def confirmation(code: str, *, is_fail: bool) -> str:
    """The command that shows whether a cause is gone: users are served again, or the check finds nothing."""
    return f"gte-ops doctor --wait-ok {_WORKS_WITHIN}" if is_fail else f"gte-ops doctor --only {code}"


def replaced_in_line(place: str, old: str, new: str) -> str:
    """The command that replaces ``old`` with ``new`` on one line; ``place`` is ``file:line``. Symbolic links remain."""
    file, _, line = place.rpartition(":")
    # The file may have more than one space between words.
    pattern = _literal(old).replace(" ", r"[[:space:]]\+")
    replacement = re.sub(r"[\\&#]", r"\\\g<0>", new)
    script = f"{line}s#{pattern}#{replacement}#"
    return f"sed -i --follow-symlinks {shlex.quote(script)} {shlex.quote(file)}"


def _literal(words: str) -> str:
    """The regular expression for ``words`` themselves; the mark of a hidden value stays one, for `has_a_hole`."""
    return HIDDEN.join(_SPECIAL.sub(r"\\\g<0>", part) for part in words.split(HIDDEN))


def replaced_argument(place: str, old: str, new: str) -> str:
    """The command that replaces the whole argument ``old`` of nginx's directive, quoted or not, with ``new``; one that
    only begins like it stays. ``place`` is ``file:line``."""
    file, _, line = place.rpartition(":")
    pattern = _literal(old).replace(" ", "[[:space:]]")
    replacement = re.sub(r"[\\&#]", r"\\\g<0>", new)
    # \x27 is an apostrophe (GNU sed).
    mark = r'["\x27]\?'
    script = rf"{line}s#\([[:space:]]\){mark}{pattern}{mark}\([[:space:];{{]\|$\)#\1{replacement}\2#"
    return f"sed -i --follow-symlinks {shlex.quote(script)} {shlex.quote(file)}"


def written_argument(value: str) -> str:
    """``value`` as nginx reads it back as one argument (ngx_conf_read_token)."""
    if value and not _NEEDS_QUOTES.search(value):
        return value
    escaped = re.sub(r'[\\"]', r"\\\g<0>", value)
    return f'"{escaped}"'


def put_before_line(place: str, words: str) -> str:
    """The command that inserts a line with ``words`` before the one at ``place``, ``file:line``."""
    file, _, line = place.rpartition(":")
    return f"sed -i --follow-symlinks {shlex.quote(f'{line}i {words}')} {shlex.quote(file)}"


def put_after_line(place: str, words: str) -> str:
    """The command that inserts a line with ``words`` after the one at ``place``, ``file:line``."""
    file, _, line = place.rpartition(":")
    return f"sed -i --follow-symlinks {shlex.quote(f'{line}a {words}')} {shlex.quote(file)}"


def set_in_main_context(config: NginxConfig, name: str, value: str) -> str | None:
    """The command that sets nginx's directive ``name`` outside every block; None if no place is known."""
    directive = next((d for d in config.directives if d.name == name), None)
    if directive is not None:
        return replaced_statement(directive.where, name, f"{name} {value};")
    events = next((d for d in config.directives if d.name == "events"), None)
    return put_before_line(events.where, f"{name} {value};") if events else None


def without_line(place: str) -> str:
    """The command that deletes the line at ``place``, ``file:line``."""
    file, _, line = place.rpartition(":")
    return f"sed -i --follow-symlinks {shlex.quote(f'{line}d')} {shlex.quote(file)}"


def replaced_statement(place: str, name: str, new: str) -> str:
    """The command that replaces nginx's directive ``name``, which begins and ends on one line, with ``new`` (or
    nothing); ``name`` may have the first arguments too; ``place`` is ``file:line``. What else stands on the line
    stays."""
    file, _, line = place.rpartition(":")
    pattern = name.replace(" ", r"[[:space:]]\+")
    replacement = re.sub(r"[\\&#]", r"\\\g<0>", new)
    script = f"{line}s#{pattern}[[:space:]][^;]*;#{replacement}#"
    return f"sed -i --follow-symlinks {shlex.quote(script)} {shlex.quote(file)}"


def in_background(line: str, app_dir: str | None) -> str:
    """A line that runs gunicorn in the foreground, so that it ends at once and gunicorn outlives the shell; any other
    line unchanged. What gunicorn prints goes to nohup.out, on a terminal (nohup(1))."""
    directory, _, command = line.rpartition(" && ")
    try:
        words = shlex.split(command)
    except ValueError:
        return line
    programs = [word.rpartition("/")[2] for word in words[:3]]
    runs_gunicorn = programs[:1] == ["gunicorn"] or programs[1:3] == ["-m", "gunicorn"]
    if (
        not runs_gunicorn
        or {"-D", "--daemon"} & set(words)
        or _SHELL.search(command)
        or not _CHANGES_DIRECTORY.fullmatch(directory)
    ):
        return line
    change = directory or (f"cd {shlex.quote(app_dir)}" if app_dir else "")
    return f"{change}{' && ' if change else ''}nohup {command} </dev/null &"


def with_settings(words: Text, settings_file: str | None) -> Text:
    """Return ``words`` in which every gte-ops command reads ``settings_file``, whatever directory it is run in."""
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
