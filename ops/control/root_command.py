"""Whether root may run a command: checks every file that decides what it does, not its first word alone.

An interpreter, a shell, ``env`` and ``nohup`` run what their arguments name. So each word that names a file or a
directory is checked, those of a shell's text and of ``NAME=value`` included, and what environment variables make
programs load. Words after a change to another user (setpriv, sudo, su) are run by that user, and are not checked.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath

from ops.collect.services.gunicorn import read_config
from ops.control.start_command import gunicorn_at, user_change
from ops.facts.gunicorn import GunicornConfig
from ops.files.nofollow import reason_not_to_trust
from ops.files.programs import reason_not_to_run, search, trusted_path
from ops.interpret.gunicorn import options

MAX_WORDS = 2000
MAX_DEPTH = 5
# They run the words after them, as the same user.
_WRAPPERS = frozenset(
    {"env", "nohup", "nice", "ionice", "exec", "command", "timeout", "setsid", "stdbuf", "time", "chrt", "taskset"}
)  # fmt: skip
# Shell built-ins: they use no file but those that are named.
_BUILTINS = frozenset(
    {"cd", "export", "set", "unset", "ulimit", "umask", "echo", "printf", "test", "[", "true", "false", ":", "exit",
     "wait", "trap", "shift", "then", "else", "fi", "do", "done", "if", "while", "for", "{", "}", "!", "sleep"}
)  # fmt: skip
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox"})
_TAKES_TEXT = re.compile(r"-[A-Za-z]*c\Z")
# Between two shell commands, and before a file that is written to.
_ENDS = re.compile(r"[;&|()]+\Z")
_WRITES = re.compile(r"&?>>?[|&]?\Z")
_SHELL_TEXT = re.compile(r"[\s;&|()<>`]")
_ONLY_SIGNS = re.compile(r"[\s;&|()<>]*\Z")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=(.*)\Z", re.DOTALL)
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(?::[^/]*)?\Z")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)[^}]*\}|([A-Za-z_]\w*))")
_NUMBER = re.compile(r"[\d.]+[smhd]?\Z")
_PATTERN = re.compile(r"[*?\[{]")
_DEVICES = frozenset({"/dev/null", "/dev/zero", "/dev/stdin", "/dev/stdout", "/dev/stderr"})
# gunicorn writes or listens there, and runs nothing of it (gunicorn: settings). Its logs are the workers' user's.
_WRITTEN_BY_GUNICORN = frozenset(
    {"access-logfile", "error-logfile", "log-file", "pid", "bind", "worker-tmp-dir", "control-socket"}
)
_SHORT_WRITTEN = {"-p": "pid", "-b": "bind"}
# Variables that make programs load or run something: ld.so(8), bash(1), python(1), perlrun(1), ruby(1), node(1),
# openssl-env(7), locale(7), iconv(3).
_LOADS_CODE = re.compile(
    r"(LD_\w+|PYTHON\w+|BASH_ENV|ENV|ZDOTDIR|CDPATH|PERL5LIB|PERLLIB|PERL5OPT|PERL5DB|RUBYLIB|RUBYOPT|NODE_PATH|"
    r"NODE_OPTIONS|JAVA_TOOL_OPTIONS|GCONV_PATH|LOCPATH|OPENSSL_(CONF|MODULES|ENGINES)|GUNICORN_CMD_ARGS|GIT_EXEC_PATH)\Z"
)


@dataclass(frozen=True)
class Refusal:
    """``what`` root does not run, and ``why``."""

    what: str
    why: str


def trusted_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` made fit for a command of root's: only directories of $PATH that nobody else may write, and no
    home of another user, where shells and interpreters look for start-up files (bash(1), Python: site)."""
    safe = dict(environment)
    if "PATH" in safe:
        safe["PATH"] = trusted_path(safe["PATH"])
    home = safe.get("HOME")
    if home is not None and reason_not_to_trust(home, listed=True) is not None:
        safe["HOME"] = _home_of_root()
    return safe


def reason_not_to_run_as_root(
    argv: Iterable[str], cwd: str, environment: Mapping[str, str], *, any_cwd: bool = False
) -> Refusal | None:
    """The first part of a command that somebody other than root or the caller controls; None if there is none.

    ``environment`` is made by `trusted_environment`. ``any_cwd``: the command is a script that changes the user itself,
    so that its directory may be that user's."""
    review = _Review(dict(environment), any_cwd)
    return next(review.environment_refusals(cwd), None) or next(review.command(tuple(argv), cwd), None)


@dataclass
class _Review:
    """The check of one command. ``environment`` gains the assignments of a shell's text."""

    environment: dict[str, str]
    any_cwd: bool
    words_left: int = field(default=MAX_WORDS)

    def environment_refusals(self, cwd: str) -> Iterator[Refusal]:
        """Refusals of what environment variables make programs load."""
        for name, value in tuple(self.environment.items()):
            if _LOADS_CODE.match(name):
                yield from self._loaded(name, value, cwd)

    # --- commands -------------------------------------------------------------------------------------------------

    def command(self, words: tuple[str, ...], cwd: str, depth: int = 0) -> Iterator[Refusal]:
        """Refusals of one command, up to a change of the user."""
        own, becomes_another = self._of_root(words)
        at = gunicorn_at(own)
        for index, word in enumerate(own):
            if at is None or index <= at or not _is_written(own[index - 1], word):
                yield from self._word(word, cwd, depth)
        runs = [word for word in own if not _goes_before_a_program(word)]
        if runs and not becomes_another and not self.any_cwd and not _only_says_what(runs[0], own):
            yield from _refused(cwd, reason_not_to_trust(cwd, listed=True))
        if at is not None:
            yield from self._gunicorn(own[at:], cwd)

    def _of_root(self, words: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
        """The words that root runs, and whether another user runs the rest."""
        for index, word in enumerate(words):
            change = user_change(words[index:])
            if change is not None and change.uid != 0:
                return words[: index + change.length], True
            if not _goes_before_a_program(word):
                break
        return words, False

    def _shell_text(self, text: str, cwd: str, depth: int) -> Iterator[Refusal]:
        """Refusals of a shell's text, command by command; ``cd`` and assignments affect the commands after them."""
        text = text.replace("\\\n", " ").replace("\n", " ; ").replace("`", " ; ")
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()<>")
        lexer.whitespace_split, lexer.commenters = True, ""
        try:
            tokens = list(lexer)
        except ValueError:  # a quotation that does not end
            tokens = text.split()
        words: list[str] = []
        for token in [*tokens, ";"]:
            if not _ENDS.match(token):
                words.append(token)
                continue
            yield from self._part(words, cwd, depth)
            if words[:1] == ["cd"]:
                target = next((word for word in words[1:] if not word.startswith("-")), "~")
                cwd = _joined(cwd, self._expanded(target))
            words = []

    def _part(self, words: list[str], cwd: str, depth: int) -> Iterator[Refusal]:
        """Refusals of one command of a shell's text. The target of ``cd`` is checked when something runs there."""
        own: list[str] = []
        for before, word in pairwise(["", *words]):
            if _WRITES.match(word):
                continue
            if _WRITES.match(before):
                yield from self._existing(_joined(cwd, self._expanded(word)))
            elif words[0] == "cd" and not _SHELL_TEXT.search(word) and word != "cd":
                continue
            else:
                own.append(word)
        for word in own:
            if match := _ASSIGNMENT.match(word):
                self.environment[match[1]] = self._expanded(match[2])
        yield from self.command(tuple(own), cwd, depth + 1)

    # --- words ----------------------------------------------------------------------------------------------------

    def _word(self, word: str, cwd: str, depth: int) -> Iterator[Refusal]:
        self.words_left -= 1
        if self.words_left < 0 or depth > MAX_DEPTH:
            yield Refusal(word, "the command is too long to be checked")
            return
        if _ONLY_SIGNS.match(word):
            return
        if _SHELL_TEXT.search(word):
            yield from self._shell_text(word, cwd, depth + 1)
            yield from self._existing(_joined(cwd, word))  # a name may have spaces
            return
        word = self._expanded(word)
        path = self.environment.get("PATH")
        if assigned := _ASSIGNMENT.match(word):
            name, value = assigned.groups()
            if name == "PATH" or _LOADS_CODE.match(name):
                yield from self._loaded(name, value, cwd)
            yield from self._values(value, cwd)
        elif word.startswith("-"):
            yield from self._values(word.partition("=")[2] if "=" in word else word[2:], cwd)
            if "/" in word:
                yield from self._values(word[word.index("/") :], cwd)
        else:
            if "/" not in word and (place := search(word, path)) is not None:
                yield from _refused(place, reason_not_to_run(place, path))
            yield from self._values(word, cwd)
            yield from self._to_be(word)
            if _MODULE.match(word):
                yield from self._module(word, cwd)

    def _values(self, value: str, cwd: str) -> Iterator[Refusal]:
        """Refusals of a value, and of the items of a list in it: ``/a:/b``, ``file:/a``, ``/a,/b``."""
        items = re.split(r"[:,;\s]", value) if "://" not in value else []
        for item in dict.fromkeys((value, *items)):
            if item:
                yield from self._existing(_joined(cwd, item))

    def _loaded(self, name: str, value: str, cwd: str) -> Iterator[Refusal]:
        """Refusals of a variable that makes programs load something: an empty item is the working directory, and a path
        that does not exist yet counts too."""
        if name == "GUNICORN_CMD_ARGS":
            yield from self.command(("gunicorn", *_words(value)), cwd)
            return
        for item in re.split(r"[:;\s]", value) if value else ():
            place = item.rpartition("=")[2]
            for refusal in (*self._existing(_joined(cwd, place)), *self._to_be(place)):
                yield Refusal(f"{name}={refusal.what}", refusal.why)

    def _existing(self, place: str) -> Iterator[Refusal]:
        """Refusals of an existing file or directory. A pattern stands for the directory before it."""
        if match := _PATTERN.search(place):
            place = place[: match.start()].rpartition("/")[0] or "/"
        if "\0" in place or place in _DEVICES:
            return
        try:
            is_directory = stat.S_ISDIR(os.stat(place).st_mode)  # noqa: PTH116
        except (OSError, ValueError):
            if not os.path.lexists(place):
                return
            is_directory = False
        path = self.environment.get("PATH")
        why_not = reason_not_to_trust(place, listed=True) if is_directory else reason_not_to_run(place, path)
        yield from _refused(place, why_not)

    def _to_be(self, place: str) -> Iterator[Refusal]:
        """Refusals of a path that does not exist, if somebody else could create it."""
        if "\0" in place or not place.startswith("/") or _PATTERN.search(place) or os.path.lexists(place):
            return
        above = Path(place).parent
        while not os.path.lexists(above) and above != above.parent:
            above = above.parent
        yield from _refused(place, reason_not_to_trust(str(above), listed=True))

    def _module(self, word: str, cwd: str) -> Iterator[Refusal]:
        """Refusals of ``package.module:name`` as Python finds it in the working directory."""
        parts = word.partition(":")[0].split(".")
        for length in range(1, len(parts) + 1):
            place = _joined(cwd, "/".join(parts[:length]))
            yield from self._existing(place)
            yield from self._existing(f"{place}.py")

    def _expanded(self, word: str) -> str:
        """``word`` with variables and ``~`` expanded."""
        word = _VARIABLE.sub(lambda match: self.environment.get(match[1] or match[2], ""), word)
        if word == "~" or word.startswith("~/"):
            return self.environment.get("HOME", _home_of_root()) + word[1:]
        return os.path.expanduser(word) if word.startswith("~") else word  # noqa: PTH111

    # --- gunicorn -------------------------------------------------------------------------------------------------

    def _gunicorn(self, words: tuple[str, ...], cwd: str) -> Iterator[Refusal]:
        """Refusals of what gunicorn loads besides: its configuration file, and the directories that this names
        (settings: config, chdir, pythonpath)."""
        own_options = options(words)
        file = _joined(cwd, own_options.get("config", "gunicorn.conf.py").removeprefix("file:"))
        yield from self._existing(file)
        config = read_config(file)
        assigned = config.assigned if isinstance(config, GunicornConfig) else {}
        for key in ("chdir", "pythonpath"):
            value = own_options.get(key) or (assigned[key].value if key in assigned else None)
            for item in value.split(",") if isinstance(value, str) else ():
                yield from self._existing(_joined(cwd, item))
        chdir = _joined(cwd, own_options.get("chdir", "."))
        for word in words:
            if _MODULE.match(word):
                yield from self._module(word, chdir)


def _goes_before_a_program(word: str) -> bool:
    """Whether a word precedes the program that a command runs: a wrapper, an option, an assignment, a number."""
    is_wrapper = PurePosixPath(word).name in _WRAPPERS
    return is_wrapper or word.startswith("-") or bool(_ASSIGNMENT.match(word) or _NUMBER.match(word))


def _only_says_what(program: str, words: tuple[str, ...]) -> bool:
    """Whether a program uses nothing of its directory but what its words name: a shell built-in, or a shell whose text
    is checked."""
    is_shell = PurePosixPath(program).name in _SHELLS
    return program in _BUILTINS or (is_shell and any(_TAKES_TEXT.match(word) for word in words))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _is_written(before: str, word: str) -> bool:
    """Whether a word is the value of an option that names what gunicorn writes to."""
    if word.startswith("--") and "=" in word:
        return word[2:].partition("=")[0] in _WRITTEN_BY_GUNICORN
    if word[:2] in _SHORT_WRITTEN and len(word) > 2 and not word.startswith("--"):
        return True
    return before in _SHORT_WRITTEN or before.removeprefix("--") in _WRITTEN_BY_GUNICORN


def _refused(place: str, why_not: str | None) -> Iterator[Refusal]:
    if why_not is not None:
        yield Refusal(place, why_not)


def _joined(cwd: str, path: str) -> str:
    return path if path.startswith("/") else f"{cwd.rstrip('/')}/{path}"


def _home_of_root() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"
