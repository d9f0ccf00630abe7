"""What the files that configure the service's start say of its account and its variables: never a variable's value."""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path

from ops.collect.host_files import environment_files
from ops.facts.start import BadAssignment, ConfiguredAccount
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.interpret.assignments import Syntax, bad_assignments, flaw_of
from ops.text.sanitize import safe_line

MAX_BYTES = 256 << 10
MAX_FOUND = 40
_UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][\w.-]{0,63}")


def _text(path: str | Path) -> str | None:
    try:
        return read_regular_file(str(path), MAX_BYTES).content.decode("utf-8", "replace")
    except (OSError, ValueError):
        return None


def configured_accounts(target: Target) -> tuple[ConfiguredAccount, ...]:
    """gunicorn's settings ``user`` and ``group``: by the start command, else by the configuration file."""
    found: dict[str, ConfiguredAccount] = {}
    for setting, value, line in _assigned(target.gunicorn_config_file):
        literal = value.value if isinstance(value, ast.Constant) else None
        if (
            setting in ("user", "group")
            and isinstance(literal, str | int)
            and _ACCOUNT.fullmatch(str(literal))
        ):
            where = safe_line(f"{target.gunicorn_config_file}:{line}", 1000)
            found[setting] = ConfiguredAccount(setting=setting, name=str(literal), where=where)
    for setting, name in _options(target.start_command):
        found[setting] = ConfiguredAccount(setting=setting, name=name, where=f"--{setting}")
    return tuple(found.values())


def _options(command: str) -> Iterator[tuple[str, str]]:
    match = re.search(r"gunicorn\b.*", command)
    try:
        words = shlex.split(match[0]) if match else []
    except ValueError:
        return
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        setting = {"-u": "user", "--user": "user", "-g": "group", "--group": "group"}.get(option)
        name = value if equals else words[at + 1] if at + 1 < len(words) else ""
        if setting and _ACCOUNT.fullmatch(name):
            yield setting, name


def _assigned(path: str | None) -> Iterator[tuple[str, ast.expr, int]]:
    """The top-level assignments of gunicorn's configuration file, which is parsed and not run."""
    text = _text(path) if path else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(text).body if text else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for statement in body:
        if isinstance(statement, ast.Assign):
            for each in statement.targets:
                if isinstance(each, ast.Name):
                    yield each.id, statement.value, statement.lineno


def badly_written(target: Target, unit: str | None) -> tuple[BadAssignment, ...]:
    """The assignments of variables whose writing is wrong where they stand."""
    return tuple(_bad(target, unit))[:MAX_FOUND]


def _bad(target: Target, unit: str | None) -> Iterator[BadAssignment]:
    for setting, value, _ in _assigned(target.gunicorn_config_file):
        if setting == "raw_env" and isinstance(value, ast.List | ast.Tuple):
            for item in value.elts:
                if isinstance(item, ast.Constant) and isinstance(item.value, str):
                    name, _, written = item.value.partition("=")
                    flaw = flaw_of(name, written, Syntax.LITERAL)
                    if flaw:
                        path = safe_line(str(target.gunicorn_config_file), 1000)
                        yield BadAssignment(
                            name=name.strip().removeprefix("export "), path=path, line=item.lineno, flaw=flaw
                        )
    for file in _unit_files(unit):
        text = _text(file) or ""
        yield from bad_assignments(str(file), text, Syntax.UNIT)
        for source in environment_files(text):
            yield from bad_assignments(source.path, _text(source.path) or "", Syntax.ENVIRONMENT_FILE)
    for word in target.start_command.split():
        if word.startswith("/") and word.endswith(".sh"):
            yield from bad_assignments(word, _text(word) or "", Syntax.SHELL)
    for name in (".env", ".env.production"):
        beside = Path(target.app_dir) / name
        yield from bad_assignments(str(beside), _text(beside) or "", Syntax.DOTENV)


def _unit_files(unit: str | None) -> Iterator[Path]:
    if not unit or "/" in unit:
        return
    name = unit if "." in unit else f"{unit}.service"
    for place in _UNITS:
        path = Path(place, name)
        if _text(path) is not None:
            yield path
            break
    for place in _UNITS:
        try:
            yield from sorted(Path(place, f"{name}.d").glob("*.conf"))[:10]
        except OSError:
            continue
