"""What a shell command of cron or rc.local starts: the former service, something else, or what a person must decide.

Commands are read as sh(1) splits them, as far as needed to name the program that runs; nothing is executed."""

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
# Of a word that names a script's own directory.
_MAX_FOLDER_CHARS = 120


class Start(IntEnum):
    """What a command starts; the highest of its parts counts."""

    OTHER = 0
    UNDECIDED = 1
    SERVICE = 2


@dataclass(frozen=True)
class ShellContext:
    """Where a command runs. ``directory``: the former service's; ``home``: of the user who runs it, None if unknown;
    ``cwd``: where the command is, None if unknown; ``is_set``: the command itself said so, by cd; ``is_its_script``:
    it is in a script of ``directory``; ``folder``: where that script is; ``scripts``: those that were read already."""

    directory: str
    home: str | None = None
    cwd: str | None = None
    is_set: bool = False
    is_its_script: bool = False
    folder: str = ""
    depth: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    scripts: set[str] = field(default_factory=set)


# Repetitions are possessive, and those inside others are bounded, so that no text of another user takes long.
_TOKEN = re.compile(
    r"""(?P<end>&&|\|\||;;|\|&|[;|()\n]|&(?!>))
    |(?P<redirect>(?:&>>?|\d*+(?:>>|>\||>&|<<<|<&|[<>]))\s*+)
    |(?P<comment>(?<!\S)\#[^\n]*+)
    |(?P<word>(?:\\.|'[^']*+'|"(?:\\.|\$\((?:[^()]|\([^()]{0,300}+\)){0,300}+\)|[^"\\])*+"|\$\((?:[^()]|\([^()]{0,300}+\)){0,300}+\)|`[^`]*+`
        |[^\s;&|()<>'"\\`])++)
    |(?P<other>\S)""",
    re.VERBOSE | re.DOTALL,
)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_KEYWORDS = frozenset({"if", "then", "elif", "else", "while", "until", "do", "!", "{", "time", "export"})
_GUNICORN = re.compile(r"gunicorn(?:-?3(?:\.\d+)?)?")
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
_SHELL_VALUES = ("-o", "-O", "--rcfile", "--init-file")
# Programs that run the command in their words: the options that take a value, and the words before the command.
_RUNNERS: dict[str, tuple[tuple[str, ...], int]] = {
    "nohup": ((), 0),
    "setsid": ((), 0),
    "exec": (("-a",), 0),
    "command": ((), 0),
    "builtin": ((), 0),
    "time": (("-f", "-o"), 0),
    "nice": (("-n", "--adjustment"), 0),
    "ionice": (("-c", "-n", "--class", "--classdata"), 0),
    "chrt": ((), 1),
    "taskset": ((), 1),
    "stdbuf": (("-i", "-o", "-e"), 0),
    "env": (("-u", "--unset", "-C", "--chdir"), 0),
    "sudo": (("-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R", "--user", "--group", "--chdir"), 0),
    "doas": (("-u", "-C"), 0),
    "setpriv": (("--reuid", "--regid", "--groups", "--ruid", "--rgid", "--euid", "--egid"), 0),
    "chpst": (("-u", "-U", "-b", "-e", "-/", "-n", "-l", "-L", "-m", "-d", "-o", "-p", "-f", "-c", "-r", "-t"), 0),
    "gosu": ((), 1),
    "su-exec": ((), 1),
    "setuidgid": ((), 1),
    "s6-setuidgid": ((), 1),
    "flock": (("-w", "--timeout", "--wait", "-E", "--conflict-exit-code"), 1),
    "timeout": (("-s", "--signal", "-k", "--kill-after"), 1),
    "chronic": ((), 0),
    "systemd-cat": (("-t", "-p", "--identifier", "--priority"), 0),
}  # fmt: skip
_CHANGE_DIRECTORY = {"env": ("-C", "--chdir"), "sudo": ("-D", "--chdir")}
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
    for words in _simple_commands(command):
        start, context = _run(words, context)
        highest = max(highest, start)
    return highest


def _simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command, still quoted, without redirections and comments."""
    words: list[str] = []
    is_target = False
    for token in _TOKEN.finditer(re.sub(r"\\\r?\n", " ", text)):
        if token["end"] or token["other"]:
            if words:
                yield words
            words, is_target = [], False
        elif token["redirect"]:
            is_target = True
        elif token["word"]:
            if not is_target:
                words.append(token["word"])
            is_target = False
    if words:
        yield words


def _run(words: Sequence[str], context: ShellContext) -> tuple[Start, ShellContext]:
    """What one simple command starts, and where the next one runs."""
    words = list(words)
    while words and words[0] in _KEYWORDS:
        words.pop(0)
    variables = dict(context.variables)
    while words and (assigned := _ASSIGNMENT.fullmatch(words[0])):
        value = _value(assigned[2], context)
        if len(variables) >= _MAX_VARIABLES:
            pass
        elif value is not None:
            variables[assigned[1]] = value
        elif _is_own_folder(assigned[2]) and context.folder:
            variables[assigned[1]] = context.folder
        else:
            variables.pop(assigned[1], None)
        context = replace(context, variables=variables)
        words.pop(0)
    if not words:
        return Start.OTHER, context
    name = _value(words[0], context)
    if name in ("cd", "pushd"):
        return Start.OTHER, _after_cd(words[1:], context)
    return _program(words, context), context


def _after_cd(words: Sequence[str], context: ShellContext) -> ShellContext:
    targets = [word for word in words if not re.fullmatch(r"-[LPe@]*-?", word)]
    if not targets:
        return replace(context, cwd=context.home, is_set=True)
    target = _value(targets[0], context)
    if target is None and _is_own_folder(targets[0]):
        target = context.folder or None
    return replace(context, cwd=_resolved(target, context) if target is not None else None, is_set=True)


def _program(words: Sequence[str], context: ShellContext) -> Start:
    """What the program of these words starts."""
    program = _value(words[0], context)
    if program is None:
        return _undecided(words, context)
    name = PurePosixPath(program).name
    if _GUNICORN.fullmatch(name):
        return _gunicorn(program, words[1:], context)
    if name in _SHELLS:
        return _shell(words[1:], context)
    if name in (".", "source") and len(words) > 1:
        return _script(words[1], context)
    if name == "busybox" and len(words) > 1:
        return _program(words[1:], context)
    if name in ("su", "runuser"):
        return _other_user(words[1:], context)
    if name in _RUNNERS:
        return _runner(name, words[1:], context)
    if re.fullmatch(r"(?:python|pypy)[\d.]*", name):
        return _python(program, words[1:], context)
    if name == "find":
        at = next((n for n, word in enumerate(words) if word in ("-exec", "-execdir", "-ok", "-okdir")), None)
        return _program(words[at + 1 :], context) if at is not None and words[at + 1 :] else Start.OTHER
    if name in _HARMLESS:
        return Start.OTHER
    start = _script(words[0], context) if "/" in program else Start.OTHER
    return max(start, _undecided(words[1:], context)) if start is Start.OTHER else start


def _runner(name: str, words: Sequence[str], context: ShellContext) -> Start:
    """What a program starts that runs the command in its words."""
    valued, before = _RUNNERS[name]
    rest = list(words)
    while rest and (rest[0].startswith("-") or (name in ("env", "sudo") and _ASSIGNMENT.fullmatch(rest[0]))):
        option = rest.pop(0)
        if option == "--":
            break
        key, equals, value = option.partition("=")
        if option in valued and rest:
            value, equals = rest.pop(0), "="
        if equals and key in _CHANGE_DIRECTORY.get(name, ()):
            context = _after_cd([value], context)
        if name == "env" and key in ("-S", "--split-string"):
            return _undecided(words, context)
    rest = rest[before:]
    if name == "flock" and len(rest) > 1 and rest[0] in ("-c", "--command"):
        return _text(rest[1], context)
    return _program(rest, context) if rest else Start.OTHER


def _other_user(words: Sequence[str], context: ShellContext) -> Start:
    """su(1) and runuser(1): a text after -c, or the command after --; a login shell begins at that user's home."""
    is_login = any(word in ("-", "-l", "--login") for word in words)
    inner = replace(context, home=None, cwd=None if is_login else context.cwd)
    for number, word in enumerate(words[:-1]):
        if re.fullmatch(r"-[A-Za-z]*c|--command", word):
            return _text(words[number + 1], inner)
    for word in words:
        if word.startswith("--command="):
            return _text(word.partition("=")[2], inner)
    if words[:1] == ["-u"] and len(words) > 2:
        rest = words[2:]
        return (
            _program(rest[1:] if rest[0] == "--" else rest, inner)
            if rest[1:] or rest[0] != "--"
            else Start.OTHER
        )
    return _undecided(words, inner)


def _shell(words: Sequence[str], context: ShellContext) -> Start:
    rest = list(words)
    while rest and rest[0].startswith(("-", "+")):
        option = rest.pop(0)
        if re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*", option):
            while rest and rest[0].startswith("-"):
                rest.pop(0)
            return _text(rest[0], context) if rest else Start.OTHER
        if option in _SHELL_VALUES and rest:
            rest.pop(0)
    return _script(rest[0], context) if rest else Start.OTHER


def _text(word: str, context: ShellContext) -> Start:
    """What the quoted text of a shell's -c starts."""
    try:
        text = shlex.split(word)
    except ValueError:
        text = []
    if len(text) != 1 or context.depth >= _MAX_DEPTH:
        return _undecided([word], context)
    return what_starts(text[0], replace(context, depth=context.depth + 1))


def _python(program: str, words: Sequence[str], context: ShellContext) -> Start:
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "-m":
            module = (rest.pop(0) if rest else "").strip("'\"")
            is_gunicorn = module == "gunicorn" or module.startswith("gunicorn.")
            return _gunicorn(program, rest, context) if is_gunicorn else _undecided(rest, context)
        if option == "-c":
            return Start.UNDECIDED if rest and "gunicorn" in rest[0] else Start.OTHER
        if option in ("-W", "-X") and rest:
            rest.pop(0)
    script = _value(rest[0], context) if rest else None
    if script is None:
        return _undecided(rest, context)
    if _GUNICORN.fullmatch(PurePosixPath(script).name):
        return _gunicorn(script, rest[1:], context)
    # A program in Python may start gunicorn in ways that are not read here.
    text = _read(script, context)
    is_its = _is_within(_resolved(script, context), context.directory)
    return Start.UNDECIDED if text is not None and is_its and "gunicorn" in text else Start.OTHER


def _script(word: str, context: ShellContext) -> Start:
    """What a shell script starts."""
    path = _value(word, context)
    if path is None:
        return _undecided([word], context)
    place = _resolved(path, context) or path
    if place in context.scripts:
        return Start.OTHER
    if len(context.scripts) >= _MAX_SCRIPTS:
        return Start.UNDECIDED
    context.scripts.add(place)
    text = _read(path, context)
    if text is None or "gunicorn" not in text:
        return Start.OTHER
    is_shell = re.match(r"#!\s*/\S*(?:sh|env\s+\w*sh)\b", text) or (
        not text.startswith("#!") and PurePosixPath(place).suffix in (".sh", "")
    )
    if context.depth >= _MAX_DEPTH or not is_shell:
        return Start.UNDECIDED if _is_within(place, context.directory) else Start.OTHER
    folder = posixpath.dirname(place)
    is_its = _is_within(place, context.directory) and not (
        context.directory == context.home and folder != context.directory
    )
    inner = replace(
        context,
        depth=context.depth + 1,
        folder=folder,
        is_its_script=is_its,
        variables=dict(context.variables),
    )
    return what_starts(text, inner)


def _gunicorn(program: str, words: Sequence[str], context: ShellContext) -> Start:
    """Whether this gunicorn is the former service's, by where it runs, where it is and what it names."""
    values = [_value(word, context) for word in words]
    if any(value in _NO_START for value in values):
        return Start.OTHER
    context = _after_chdir(words, context)
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
    if context.cwd is None and not _is_other_environment(program):
        return Start.UNDECIDED
    return Start.UNDECIDED if None in values else Start.OTHER


def _is_other_environment(program: str) -> bool:
    """Whether gunicorn comes from an environment of its own, which tells what it is for."""
    return program.startswith("/") and not program.startswith(("/usr/", "/bin/", "/home/", "/root/"))


def _after_chdir(words: Sequence[str], context: ShellContext) -> ShellContext:
    for number, word in enumerate(words):
        if word == "--chdir" and number + 1 < len(words):
            return _after_cd([words[number + 1]], context)
        if word.startswith("--chdir="):
            return _after_cd([word.partition("=")[2]], context)
    return context


def _paths(word: str) -> Iterator[str]:
    """The paths in an argument: itself, or the value of its option."""
    path = word.partition("=")[2] if word.startswith("-") else word
    if "/" in path and not path.startswith("unix:"):
        yield path


def _undecided(words: Sequence[str], context: ShellContext) -> Start:
    """UNDECIDED if the words name gunicorn, or a script of the directory that runs it, as a path or a program."""
    for word in words:
        for part in re.split(r"[\s;&|()'\"]+", word):
            path = _value(part, context) or part
            if _GUNICORN.fullmatch(PurePosixPath(path).name):
                return Start.UNDECIDED
            if "/" in path and _is_within(_resolved(path, context), context.directory):
                text = _read(path, context)
                if (
                    text is not None
                    and "gunicorn" in text
                    and (text.startswith("#!") or path.endswith(".sh"))
                ):
                    return Start.UNDECIDED
    return Start.OTHER


def _value(word: str, context: ShellContext) -> str | None:
    """A word as the shell reads it; None if that depends on what is not known here."""
    if word[:1] == "'" and word[-1:] == "'" and word.count("'") == 2:
        return word[1:-1]
    names = {"HOME": context.home, **context.variables}
    if word == "~" or word.startswith("~/"):
        if context.home is None:
            return None
        word = context.home + word[1:]
    text = _VARIABLE.sub(lambda match: names.get(match[1] or match[2]) or match[0], word)
    if "$" in text or "`" in text:
        return None
    try:
        return "".join(shlex.split(text)) if text else text
    except ValueError:
        return None


def _is_own_folder(word: str) -> bool:
    """Whether a word is the directory of the script that it stands in."""
    text = re.sub(r"[\"'\s{}]", "", word)
    return len(word) <= _MAX_FOLDER_CHARS and re.fullmatch(
        r"(?:\$\(|`)(?:cd)?(?:\$\(|`)?dirname(?:--)?(?:\$\(readlink-f)?\$(?:0|BASH_SOURCE(?:\[0\])?)\)*`*(?:&&pwd(?:-P)?)?[)`]*"
        r"|\$0%/\*|\$BASH_SOURCE(?:\[0\])?%/\*",
        text,
    ) is not None  # fmt: skip


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


def _read(path: str, context: ShellContext) -> str | None:
    place = _resolved(path, context)
    if place is None:
        return None
    try:
        content = read_regular_file(place, MAX_SCRIPT_BYTES).content
    except (OSError, ValueError):
        return None
    return None if b"\0" in content else content.decode("utf-8", "replace")
