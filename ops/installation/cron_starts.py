"""What a shell command of cron or rc.local starts: the former service, something else, or what a person must decide.

Commands are split as sh(1) does by shlex, as far as needed to name the program that runs; nothing is executed. What
cannot be read, or depends on what is not known here, is for a person to decide if it names gunicorn."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import PurePosixPath

from ops.files.bounded_read import read_regular_file

MAX_SCRIPT_BYTES = 64 << 10
# Scripts that run scripts.
_MAX_DEPTH = 3
_MAX_SCRIPTS = 20
_MAX_VARIABLES = 50
# Of a quoted text over several lines.
_MAX_OPEN_CHARS = 2048


class Start(IntEnum):
    """What a command starts; the highest of its parts counts."""

    OTHER = 0
    UNDECIDED = 1
    SERVICE = 2


@dataclass(frozen=True)
class ShellContext:
    """Where a command runs. ``directory``: the former service's; ``home``: of the user who runs it, None if unknown;
    ``cwd``: where the command is, None if unknown; ``is_set``: the command itself said so, by cd; ``is_its_script``:
    it is in a script of ``directory``; ``scripts``: those that were read already."""

    directory: str
    home: str | None = None
    cwd: str | None = None
    is_set: bool = False
    is_its_script: bool = False
    depth: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    scripts: set[str] = field(default_factory=set)


_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_KEYWORDS = frozenset({"if", "then", "elif", "else", "while", "until", "do", "!", "{", "time", "export"})
_GUNICORN = re.compile(r"gunicorn(?:-?3(?:\.\d+)?)?")
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*")
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
# Programs that run the command in their words, after options of their own.
_RUNNER_NAMES = (
    "nohup setsid exec command builtin time nice ionice chrt taskset stdbuf env sudo doas setpriv chpst gosu su-exec"
    " setuidgid s6-setuidgid flock timeout chronic systemd-cat busybox su runuser"
)
_RUNNERS = _SHELLS.union(_RUNNER_NAMES.split())
# Those with another word before it (a user, a file), and those that take it as one text.
_ONE_BEFORE = frozenset({"gosu", "su-exec", "setuidgid", "s6-setuidgid", "flock", "su", "runuser"})
_TAKES_TEXT = _SHELLS | {"flock", "su", "runuser"}
# Their options whose value may look like a program, and values that never do.
_VALUED_OPTIONS = (
    "-u -g -h -p -C -D -R -r -T -U -t -s -k -o -O -a --user --group --chdir --identifier --priority --signal"
    " --kill-after --unset --rcfile"
)
_VALUED = frozenset(_VALUED_OPTIONS.split())
_NUMBER = re.compile(r"[\d.,-]+[smhd]?|0x[\da-f]+")
# A script's own directory, as scripts name it.
_SCRIPT = r"(?:0|BASH_SOURCE(?:\[0\])?)"
_OWN_FOLDER = re.compile(
    rf"""(?:\$\(|`)\s*dirname\s+(?:--\s+)?"?\$\{{?{_SCRIPT}\}}?"?\s*[)`]|\$\{{{_SCRIPT}%/\*\}}"""
)
_PWD_OF_FOLDER = re.compile(
    r"""(?:\$\(|`)\s*cd\s+(?:--\s+)?["']*(/[^"'\s;&]*)["']*\s*(?:&&|;)\s*pwd(?:\s+-P)?\s*[)`]"""
)
# Programs that start nothing of what they name.
_HARMLESS_NAMES = (
    "[ [[ : awk basename cat chgrp chmod chown cmp cp cut date diff dirname du echo egrep exit false fgrep find fuser"
    " grep gunzip gzip head install kill killall ln logger logrotate ls lsof md5sum mkdir mv pgrep pidof pkill printf"
    " ps pwd read restic return rm rmdir rsync scp sed set sha256sum shred sleep sort stat sync tail tar tee test touch"
    " tr trap true truncate ulimit umask unset wait wc xz zip zstd borg git"
)
_HARMLESS = frozenset(_HARMLESS_NAMES.split())
_NO_START = frozenset({"--version", "-v", "--help", "-h", "--check-config", "--print-config"})


def what_starts(command: str, context: ShellContext) -> Start:
    """What the shell command ``command`` starts."""
    highest = Start.OTHER
    try:
        for words in _simple_commands(command):
            start, context = _run(words, context)
            highest = max(highest, start)
    except ValueError:
        return max(highest, Start.UNDECIDED if "gunicorn" in command else Start.OTHER)
    return highest


def _simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command, without redirections and comments. Raises ValueError for an open quote."""
    pending = ""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        pending += f"{line}\n"
        try:
            tokens = _tokens(pending)
        except ValueError:
            if len(pending) > _MAX_OPEN_CHARS:
                raise
            continue
        pending = ""
        yield from _split_up(tokens)
    _tokens(pending)


def _tokens(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split, lexer.commenters = True, ""
    return list(lexer)


def _split_up(tokens: Sequence[str]) -> Iterator[list[str]]:
    words: list[str] = []
    is_target = False
    for token in [*tokens, ";"]:
        if token.startswith("#"):
            break
        if token and not token.strip("();<>|&"):
            is_target = "<" in token or ">" in token
            if is_target and words and words[-1].isdigit():
                words.pop()  # the descriptor that is redirected
            if not is_target or set(token) & set("();|"):
                yield words
                words = []
        elif not is_target:
            words.append(token)
        else:
            is_target = False
    yield words


def _run(words: Sequence[str], context: ShellContext) -> tuple[Start, ShellContext]:
    """What one simple command starts, and where the next one runs."""
    words = list(words)
    while words and words[0] in _KEYWORDS:
        words.pop(0)
    while words and (assigned := _ASSIGNMENT.fullmatch(words[0])):
        value = _value(assigned[2], context)
        variables = {name: held for name, held in context.variables.items() if name != assigned[1]}
        if value is not None and len(variables) < _MAX_VARIABLES:
            variables[assigned[1]] = value
        context = replace(context, variables=variables)
        words.pop(0)
    if not words:
        return Start.OTHER, context
    if words[0] in ("cd", "pushd"):
        targets = [word for word in words[1:] if not re.fullmatch(r"-[LPe@]*-?", word)]
        return Start.OTHER, _after_cd(targets[0] if targets else "~", context)
    return _program(words, context), context


def _after_cd(word: str, context: ShellContext) -> ShellContext:
    target = _value(word, context)
    return replace(context, cwd=_resolved(target, context) if target else None, is_set=True)


def _program(words: Sequence[str], context: ShellContext) -> Start:
    """What the program of these words starts."""
    program = _value(words[0], context)
    if program is None:
        return _undecided(words, context)
    name = PurePosixPath(program).name
    if _GUNICORN.fullmatch(name):
        return _gunicorn(program, words[1:], context)
    if name in _RUNNERS:
        return _runner(name, words[1:], context)
    if name in (".", "source"):
        return _script(words[1], context) if words[1:] else Start.OTHER
    if _PYTHON.fullmatch(name):
        return _python(program, words[1:], context)
    if name == "find" and (
        runs := [n for n, word in enumerate(words[:-1]) if word.startswith(("-exec", "-ok"))]
    ):
        return _program(words[runs[0] + 1 :], context)
    if name in _HARMLESS:
        return Start.OTHER
    start = _script(words[0], context) if "/" in program else Start.OTHER
    return start or _undecided(words[1:], context)


def _runner(name: str, words: Sequence[str], context: ShellContext) -> Start:
    """What a program starts that runs the command in its words: the text after -c, else the first word that is neither
    an option, nor the value of one, nor a number, on which the program itself acts."""
    if name in ("su", "runuser"):
        is_login = bool({"-", "-l", "--login"} & set(words))
        context = replace(context, home=None, cwd=None if is_login else context.cwd)
    if name in ("env", "sudo"):
        context = _after_chdir(words, context, ("-C" if name == "env" else "-D", "--chdir"))
    before = int(name in _ONE_BEFORE and "-u" not in words)
    for number, word in enumerate(words):
        option, equals, value = word.partition("=")
        if name in _TAKES_TEXT and re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*|--command", option):
            text = value if equals else "".join(words[number + 1 : number + 2])
            if context.depth >= _MAX_DEPTH:
                return _undecided([text], context)
            return what_starts(text, replace(context, depth=context.depth + 1))
        is_value = number > 0 and words[number - 1] in _VALUED
        if word.startswith(("-", "+")) or is_value or _NUMBER.fullmatch(word) or _ASSIGNMENT.fullmatch(word):
            continue
        if before:
            before -= 1
        else:
            return _script(word, context) if name in _SHELLS else _program(words[number:], context)
    return Start.OTHER


def _python(program: str, words: Sequence[str], context: ShellContext) -> Start:
    for number, word in enumerate(words):
        if word == "-m":
            module = words[number + 1] if words[number + 1 :] else ""
            if module.partition(".")[0] == "gunicorn":
                return _gunicorn(program, words[number + 2 :], context)
            return _undecided(words[number + 2 :], context)
        if word == "-c":
            return Start.UNDECIDED if any("gunicorn" in text for text in words[number + 1 :]) else Start.OTHER
        if word.startswith("-"):
            continue
        script = _value(word, context)
        if script is not None and _GUNICORN.fullmatch(PurePosixPath(script).name):
            return _gunicorn(script, words[number + 1 :], context)
        # A program in Python may start gunicorn in ways that are not read here.
        text = _read(word, context)
        if script is None or text is not None:
            is_its = _is_within(_resolved(script, context), context.directory)
            names_it = text is not None and "gunicorn" in text
            return Start.UNDECIDED if is_its and names_it else Start.OTHER
    return Start.OTHER


def _script(word: str, context: ShellContext) -> Start:
    """What a shell script starts."""
    place = _resolved(_value(word, context), context)
    if place is None:
        return _undecided([word], context)
    if place in context.scripts:
        return Start.OTHER
    if len(context.scripts) >= _MAX_SCRIPTS:
        return Start.UNDECIDED
    context.scripts.add(place)
    text = _read(word, context)
    if text is None or "gunicorn" not in text:
        return Start.OTHER
    is_within = _is_within(place, context.directory)
    is_shell = re.match(r"#!\s*/\S*(?:sh|env\s+\w*sh)\b", text) or (
        not text.startswith("#!") and PurePosixPath(place).suffix in (".sh", "")
    )
    if context.depth >= _MAX_DEPTH or not is_shell:
        return Start.UNDECIDED if is_within else Start.OTHER
    # Whatever the user has is below the home directory.
    is_its = is_within and (
        context.directory != context.home or posixpath.dirname(place) == context.directory
    )
    folder = posixpath.dirname(place)
    text = _PWD_OF_FOLDER.sub(r"\1", _OWN_FOLDER.sub(lambda _: folder, text))
    return what_starts(text, replace(context, depth=context.depth + 1, is_its_script=is_its))


def _gunicorn(program: str, words: Sequence[str], context: ShellContext) -> Start:
    """Whether this gunicorn is the former service's, by where it runs, where it is and what it names."""
    values = [_value(word, context) for word in words]
    if any(value in _NO_START for value in values):
        return Start.OTHER
    context = _after_chdir(words, context, ("--chdir",))
    directory = context.directory
    names = [program, *(value for value in values if value is not None)]
    is_named = any(_is_within(_resolved(part, context), directory) for name in names for part in _paths(name))
    if context.is_set and context.cwd is not None:
        if os.path.realpath(context.cwd) == os.path.realpath(directory):
            return Start.SERVICE
        # Another directory below it may be another application's.
        return Start.UNDECIDED if is_named or _is_within(context.cwd, directory) else Start.OTHER
    if context.is_its_script:
        return Start.SERVICE
    if directory == context.home:
        # Whatever the user has is below the home directory, and cron starts there.
        return Start.UNDECIDED
    if is_named or context.cwd == directory:
        return Start.SERVICE
    # An environment of its own tells what it is for.
    is_other = program.startswith("/") and not program.startswith(("/usr/", "/bin/", "/home/", "/root/"))
    is_unknown = None in values or (context.cwd is None and not is_other)
    return Start.UNDECIDED if is_unknown else Start.OTHER


def _after_chdir(words: Sequence[str], context: ShellContext, options: tuple[str, ...]) -> ShellContext:
    for number, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in options and (equals or words[number + 1 :]):
            return _after_cd(value if equals else words[number + 1], context)
    return context


def _paths(word: str) -> Iterator[str]:
    """The paths in an argument: itself, or the value of its option."""
    path = word.partition("=")[2] if word.startswith("-") else word
    if "/" in path and not path.startswith("unix:"):
        yield path


def _undecided(words: Sequence[str], context: ShellContext) -> Start:
    """UNDECIDED if the words name gunicorn, or a script of the directory that runs it, as a path or a program."""
    for part in (part for word in words for part in re.split(r"[\s;&|()'\"]+", word)):
        path = _value(part, context) or part
        if _GUNICORN.fullmatch(PurePosixPath(path).name):
            return Start.UNDECIDED
        if "/" in path and _is_within(_resolved(path, context), context.directory):
            text = _read(path, context) or ""
            if "gunicorn" in text and (text.startswith("#!") or path.endswith(".sh")):
                return Start.UNDECIDED
    return Start.OTHER


def _value(word: str, context: ShellContext) -> str | None:
    """A word as the shell expands it; None if that depends on what is not known here."""
    names = {"HOME": context.home, **context.variables}
    if word == "~" or word.startswith("~/"):
        word = f"$HOME{word[1:]}"
    text = _VARIABLE.sub(lambda match: names.get(match[1] or match[2]) or match[0], word)
    return None if "$" in text or "`" in text else text


def _resolved(path: str | None, context: ShellContext) -> str | None:
    if path is None or (not path.startswith("/") and context.cwd is None):
        return None
    return posixpath.normpath(posixpath.join(context.cwd or "/", path))


def _is_within(path: str | None, directory: str) -> bool:
    """By the path as it stands, or by where links in its directory lead."""
    if path is None:
        return False
    real = posixpath.join(os.path.realpath(posixpath.dirname(path)), posixpath.basename(path))
    return any(place == directory or place.startswith(f"{directory.rstrip('/')}/") for place in (path, real))


def _read(word: str, context: ShellContext) -> str | None:
    place = _resolved(_value(word, context), context)
    if place is None:
        return None
    try:
        content = read_regular_file(place, MAX_SCRIPT_BYTES).content
    except (OSError, ValueError):
        return None
    return None if b"\0" in content else content.decode("utf-8", "replace")
