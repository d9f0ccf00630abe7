"""The traces of the last start of a service that does not answer: words in logs, supervisors' accounts, and the files
and packages that those words name. Everything is read within limits; nothing is run."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ops.collect.host.environment import packages_in
from ops.collect.logs.tail import LogTail
from ops.collect.services.damaged_modules import damaged_modules
from ops.collect.services.declared_servers import declared_servers
from ops.collect.services.start_configuration import badly_written, configured_accounts
from ops.collect.services.start_source import (
    MAX_SOURCE_BYTES,
    environment_files,
    migrations_command,
    read_sources,
)
from ops.collect.services.supervisors import supervisors
from ops.facts.base import NotSeen
from ops.facts.nginx import Pidfile
from ops.facts.start import LastStart, ModulePlace, PidfileHolder, SourceLine, StartWords, SupervisorAccount
from ops.facts.target import Target
from ops.files.bounded_read import open_regular_file, read_regular_file
from ops.files.ownership import ROOT
from ops.files.presence import is_there
from ops.interpret.packages import normal_name
from ops.interpret.start_failure.words import last_start
from ops.interpret.target import log_namer
from ops.settings import Settings
from ops.text.sanitize import safe_line, safe_text

if TYPE_CHECKING:
    from ops.collect.logs.journal import JournalRecord

# Limits for each source, counted from its end.
MAX_BYTES = 256 << 10
MAX_LINES = 160
MAX_LINE_CHARS = 400
MAX_SOURCES = 6
MAX_LISTED = 2000
MAX_JOURNAL_AGE = 7 * 86400.0
# systemd's messages (src/core/unit.c, src/core/execute.c) when a start begins, and when the program could not be run.
_SYSTEMD_STARTS = re.compile(r"(?:Started|Starting) ")
_SYSTEMD_FAILED = re.compile(
    r"Failed at step|Failed to (?:locate|execute|determine|set up|open|load)|Unable to locate executable"
    r"|Changing to the requested working directory failed|Main process could not have been executed"
)
# Older words are unlikely to be from the last start.
MAX_AGE = 90 * 86400.0
SECONDS = 1.5
# Names of files that may hold a start's output, beside the application or gunicorn's own log.
_OUTPUT_NAME = re.compile(
    r"nohup\.out|.{0,255}?(?:gunicorn|uvicorn|start|std(?:out|err)|output|console|service|app|web|err)\S{0,255}+"
    r"(?<=\.log|\.out|\.err|\.txt)",
    re.IGNORECASE,
)
_OTHERS_NAME = re.compile(r"access|nginx|letsencrypt|celery|redis|mysql|postgres", re.IGNORECASE)
_OF_A_START = re.compile(
    rb"gunicorn|Traceback \(most recent|^Fatal Python error|^Error: |No such file or directory|not found"
    rb"|Permission denied",
    re.MULTILINE,
)
_REDIRECTION = re.compile(
    r"(?:[12]?|&)>>?\s*(?P<path>[^\s&|;<>()'\"]+)|\btee\s+(?:-a\s+)?(?P<tee>/[^\s;|&]+)"
)
_FROZEN = re.compile(r'^\s*File "<frozen (?:importlib|zipimport)')
_CARETS = re.compile(r"^\s*[~^]+\s*$")
_INPUT_VALUE = re.compile(r"input_value=.{0,1000}?, input_type=")
_NO_MODULE = re.compile(r"No module named '?([A-Za-z_]\w*)")
_NO_SUBMODULE = re.compile(r"No module named '?([A-Za-z_]\w*(?:\.\w+)+)")
_PACKAGE_PATH = re.compile(r'"(/[^"]{1,400}/(?:site|dist)-packages)/([\w-]+)')
# gunicorn's error names the module that it was to serve.
_NAMED = re.compile(r"Failed to find attribute '\w+' in '([\w.]+)'")
_CLASH = re.compile(
    r"(?:cannot import name '\w+' from|module) (?:partially initialized module )?'([A-Za-z_]\w*)"
)
_PARTIAL = re.compile(r"partially initialized module '([A-Za-z_]\w{0,99})'")
_NOT_RUN = re.compile(r"(/[^\s:'\"]{1,400})'?: (?:not found|No such file or directory|cannot execute)")
_INTERPRETER_LIB = re.compile(r'"(/[^"]{1,400})/lib(?:64)?/python3[^"/]*/site-packages/gunicorn/')
_REQUIREMENT = re.compile(
    r"^\s*+['\"]?([A-Za-z0-9][A-Za-z0-9._-]{0,79})\s*+(?:\[[^\]]*+\]\s*+)?(?:[<>=!~;@'\",]|$)"
)
_REQUIREMENT_FILES = (
    "requirements.txt", "requirements.in", "requirements-prod.txt", "requirements/base.txt",
    "requirements/production.txt", "pyproject.toml", "Pipfile", "setup.cfg", "environment.yml",
)  # fmt: skip
_NO_DIRECTORIES = frozenset(
    {"node_modules", "__pycache__", "venv", ".venv", "env", "site-packages", "static", "media"}
)
_APPLICATIONS = ("Flask", "FastAPI", "Starlette", "Quart", "Sanic", "Bottle", "Falcon", "DispatcherMiddleware",
                 "get_wsgi_application", "get_asgi_application", "create_app", "make_app", "WSGIApplication",
                 "default_app", "Dash", "SocketIO", "App", "API")  # fmt: skip
_RUNS = re.compile(r"(?:\w+\.)*(?:run|serve_forever|run_forever|run_server|run_simple|serve)$")
_EXITS = ("sys.exit", "exit", "quit", "os._exit", "SystemExit")


def last_start_words(target: Target, settings: Settings, wsgi: str, pidfile: Pidfile | NotSeen) -> LastStart:
    """Return the last words of the service's last start, and the things they name. ``wsgi``: gunicorn's argument
    MODULE:NAME, used if the start command has none."""
    deadline = time.monotonic() + SECONDS
    accounts, outputs = supervisors(target, settings, deadline)
    words = tuple(sorted(_words(target, settings, outputs, deadline), key=lambda w: -w.time))
    output = "\n".join(line for source in words for line in source.lines)
    wsgi = wsgi_of_command(target.start_command) or wsgi
    modules = _NAMED.findall(output)
    module = modules[-1] if modules else wsgi.partition(":")[0]
    source = _module_source(target.app_dir, module)
    runs, exits, callables = _statements(*source) if source else ((), (), ())
    read = read_sources(target.app_dir, output, [(each.path, each.line) for each in exits])
    return LastStart(
        words=words,
        supervisors=accounts,
        modules=(
            *_modules(target.app_dir, {*_NO_MODULE.findall(output), module.partition(".")[0]}),
            *_modules(target.app_dir, {*_NO_SUBMODULE.findall(output), *([module] if "." in module else [])}),
            *_installed(output),
        ),
        extensions=_extensions(output),
        other_python=_other_python(output, target.python),
        requirements=_requirements(target.app_dir),
        versions=_versions(output),
        callables=callables,
        runs=runs,
        exits=exits,
        holder=_holder(pidfile),
        interpreter=_interpreter(output),
        wsgi=safe_line(wsgi, 200),
        broken_scripts=_broken_scripts(output, accounts),
        reads=read.reads,
        mentions=read.mentions,
        prefixes=read.prefixes,
        environment_files=environment_files(target.app_dir),
        migrations=migrations_command(target.app_dir),
        accounts=configured_accounts(target),
        badly_written=badly_written(target, settings.gunicorn.unit),
        servers=declared_servers(target, settings) if target.gunicorn_master is None else (),
        damaged=damaged_modules(target.app_dir, output),
    )


def wsgi_of_command(command: str) -> str | None:
    """Return the MODULE:NAME at the end of a start command; None if it has none."""
    last = command.split()[-1] if command.split() else ""
    module, colon, _ = last.partition(":")
    return last if colon and all(part.isidentifier() for part in module.split(".")) else None


# --- words -----------------------------------------------------------------------------------------------------------


def _words(
    target: Target, settings: Settings, outputs: Sequence[str], deadline: float
) -> Iterator[StartWords]:
    """Yield the last start's words from every place that may hold them."""
    error_log = target.gunicorn_error_log
    trusted = _trusted(target)
    inodes: set[tuple[int, int]] = set()
    places: list[tuple[str, int | None, bool]] = []
    if error_log:
        places.append((error_log, log_namer(target, "gunicorn_error_log"), False))
    state = Path(settings.watchdog.state_file)
    paths = [*outputs, *_redirections(target), str(state.with_name("start-output.log"))]
    places += [(path, None, False) for path in dict.fromkeys(paths)]
    places += [(path, None, True) for path in _neighbours(target)]
    count = 0
    if (journal := _of_journal(settings)) is not None:
        yield journal
    for path, namer, is_guess in places:
        if count >= MAX_SOURCES or time.monotonic() > deadline:
            return
        words = _of_file(path, namer, trusted if is_guess else None, inodes)
        if words is not None:
            count += 1
            yield words


def _of_journal(settings: Settings) -> StartWords | None:
    """Return the words in the journal of the unit that the settings name."""
    from ops.collect.logs.journal import unit_records

    unit = settings.gunicorn.unit
    if not unit or not Path("/run/systemd/system").is_dir():
        return None
    try:
        records, _ = unit_records(unit, time.time() - MAX_JOURNAL_AGE)
    except OSError:
        return None
    return journal_words(unit, records)


def journal_words(unit: str, records: Sequence[JournalRecord]) -> StartWords | None:
    """Return the words of a unit's last start from its journal entries, oldest first: gunicorn's, and of systemd's only
    those that give the reason why it could not run the program."""
    lines: list[str] = []
    newest = 0.0
    for record in records:
        text = record.message.decode("utf-8", "replace")
        if record.pid == 1:
            if _SYSTEMD_STARTS.match(text):
                lines.clear()
            if not _SYSTEMD_FAILED.search(text):
                continue
        newest = max(newest, record.time)
        lines += text.splitlines()
    clean = clean_lines(last_start(lines))
    return (
        StartWords(source=f"journalctl -u {safe_line(unit, 200)}", time=newest, lines=clean)
        if clean
        else None
    )


def _trusted(target: Target) -> frozenset[int]:
    """Return the users whose files are accepted if a file is only guessed to be the service's."""
    users = {ROOT, os.geteuid()}
    for path in (target.app_dir, target.gunicorn_config_file):
        try:
            users.add(Path(path).stat().st_uid) if path else None
        except (OSError, ValueError):
            continue
    return frozenset(users)


def _of_file(
    path: str, namer: int | None, owners: frozenset[int] | None, inodes: set[tuple[int, int]]
) -> StartWords | None:
    """Return the last start's words in a file. ``owners``: set if only the file's name suggests that it is the
    service's; then one of them must own it, and it must mention a start."""
    try:
        with open_regular_file(path, namer=namer) as file:
            status = os.fstat(file.fileno())
        inode = (status.st_dev, status.st_ino)
        if inode in inodes or not status.st_size or status.st_mtime < time.time() - MAX_AGE:
            return None
        if owners is not None and status.st_uid not in owners:
            return None
        inodes.add(inode)
        tail = LogTail(path, time.time(), MAX_BYTES, namer)
        lines = list(islice(tail.lines(), 4000))
    except (OSError, ValueError):
        return None
    if owners is not None and not any(_OF_A_START.search(line) for line in lines):
        return None
    text = [line.decode("utf-8", "replace").rstrip("\r") for line in reversed(lines)]
    clean = clean_lines(last_start(text))
    return StartWords(source=safe_line(path, 1000), time=tail.modified, lines=clean) if clean else None


def clean_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the last of ``lines`` without the import system's own frames, control characters and secrets."""
    own_lines: list[str] = []
    skip = False
    for line in lines:
        if skip and line.startswith("    "):
            continue
        skip = bool(_FROZEN.match(line))
        if skip or _CARETS.match(line) or not line.strip():
            continue
        own_lines.append(line)
    words = "\n".join(
        _INPUT_VALUE.sub("input_value=..., input_type=", k[:MAX_LINE_CHARS]) for k in own_lines[-MAX_LINES:]
    )
    # The "|" keeps a strip from removing the first line's indentation, by which frames are recognised.
    clean = safe_text("|" + words, MAX_LINES * MAX_LINE_CHARS)[1:]
    return tuple(clean.split("\n")) if clean.strip() else ()


def _redirections(target: Target) -> Iterator[str]:
    """Yield the files that the start command, or the script it runs, redirects output to."""
    command = target.start_command
    texts = [command]
    for word in command.split():
        if word.startswith("/") and word.endswith((".sh", "/start", "/run")):
            try:
                texts.append(read_regular_file(word, 64 << 10).content.decode("utf-8", "replace"))
            except (OSError, ValueError):
                continue
    for text in texts:
        for match in islice(_REDIRECTION.finditer(text), 20):
            path = match["path"] or match["tee"] or ""
            if path and not path.startswith(("&", "/dev/")) and "$" not in path:
                yield str(Path(target.app_dir) / path)


def _neighbours(target: Target) -> Iterator[str]:
    """Yield files beside the application and gunicorn's log that by their names hold a start's output, newest first."""
    directories = [target.app_dir, str(Path(target.app_dir) / "logs")]
    if target.gunicorn_error_log:
        directories.append(str(Path(target.gunicorn_error_log).parent))
    log_paths = {target.gunicorn_access_log, target.nginx_access_log, *target.nginx_error_logs}
    outputs: list[tuple[float, str]] = []
    for directory in dict.fromkeys(directories):
        try:
            with os.scandir(directory) as entries:
                for entry in islice(entries, MAX_LISTED):
                    is_output = _OUTPUT_NAME.fullmatch(entry.name) and not _OTHERS_NAME.search(entry.name)
                    if is_output and entry.path not in log_paths and entry.is_file(follow_symlinks=False):
                        outputs.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
        except OSError:
            continue
    yield from (path for _, path in sorted(outputs, reverse=True)[:4])


# --- things that the words name --------------------------------------------------------------------------------------


def _modules(app_dir: str, names: set[str]) -> Iterator[ModulePlace]:
    """Yield the places of these modules: the application's directory, the ones directly below it, and its parent."""
    root = Path(app_dir)
    directories = [root]
    try:
        with os.scandir(root) as entries:
            directories += sorted(
                Path(entry.path)
                for entry in islice(entries, 500)
                if entry.is_dir(follow_symlinks=False)
                and entry.name not in _NO_DIRECTORIES
                and not entry.name.startswith(".")
            )[:60]
    except OSError:
        return
    directories.append(root.parent)
    for name in sorted(filter(None, names))[:8]:
        for directory in directories:
            inner = directory.joinpath(*name.split("."))
            if is_there(inner.with_suffix(".py")) or is_there(inner / "__init__.py"):
                yield ModulePlace(name=safe_line(name, 100), directory=safe_line(str(directory), 1000))


def _installed(output: str) -> Iterator[ModulePlace]:
    """Yield the places of installed packages that share the name of a partially initialized module."""
    names = sorted(set(_PARTIAL.findall(output)))[:8]
    places = dict.fromkeys(directory for directory, _ in _PACKAGE_PATH.findall(output))
    for name in names:
        for place in list(places)[:3]:
            if is_there(Path(place) / name) or is_there(Path(place) / f"{name}.py"):
                yield ModulePlace(name=name, directory=safe_line(place, 1000))


_FRAME_FILE = re.compile(r'File "(/[^"]{1,400})", line')
_MISSING_MODULE = re.compile(r"No module named '?([A-Za-z_]\w*(?:\.\w+)*)")
_SCRIPT = re.compile(r'File "(/[^"]{1,400})/bin/[\w.-]+", line')
_ENVIRONMENT = "pyvenv.cfg"


def _extensions(output: str) -> dict[str, str]:
    """Return, for modules that were not found, the files of them that were compiled for another Python: in the
    directories of the traceback's files, with the module's last name and another ending."""
    directories = dict.fromkeys(str(Path(file).parent) for file in _FRAME_FILE.findall(output))
    found: dict[str, str] = {}
    for module in dict.fromkeys(_NO_SUBMODULE.findall(output)):
        *_, package, name = module.split(".")
        for directory in list(directories)[-20:]:
            if Path(directory).name != package:
                continue
            with contextlib.suppress(OSError):
                names = sorted(entry.name for entry in islice(Path(directory).iterdir(), 2000))
                file = next((each for each in names if each.startswith(f"{name}.") and ".so" in each), None)
                if file is not None:
                    found[safe_line(module, 100)] = safe_line(f"{directory}/{file}", 1000)
    return found


def _other_python(output: str, python: str) -> str | None:
    """Return the packages' directory of the virtual environment's former Python, if its present one has none there:
    the system's python3, which it links to, was exchanged."""
    if not _MISSING_MODULE.search(output):
        return None
    scripts = _SCRIPT.findall(output)
    prefixes = dict.fromkeys(
        [*scripts[-1:], str(Path(python).parent.parent)] if python.startswith("/") else scripts[-1:]
    )
    for prefix in map(Path, prefixes):
        if not is_there(prefix / _ENVIRONMENT):
            continue
        present = Path(os.path.realpath(prefix / "bin" / "python")).name
        try:
            libraries = sorted(
                path.name for path in (prefix / "lib").iterdir() if path.name.startswith("python3")
            )
        except OSError:
            continue
        if libraries and present.startswith("python3.") and present not in libraries:
            return safe_line(str(prefix / "lib" / libraries[-1]), 1000)
    return None


def _requirements(app_dir: str) -> tuple[str, ...]:
    """Return the normal names of the packages that requirement files beside the application list."""
    names: set[str] = set()
    for file in _REQUIREMENT_FILES:
        try:
            text = read_regular_file(str(Path(app_dir) / file), 64 << 10).content.decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
        for line in text.splitlines()[:500]:
            if match := _REQUIREMENT.match(line):
                names.add(normal_name(match[1]))
    return tuple(sorted(names)[:300])


def _versions(output: str) -> dict[str, str]:
    """Return the versions of packages that clash: one lacks a name that another imports from it."""
    names = {normal_name(name) for name in _CLASH.findall(output)}
    if not names:
        return {}
    places: dict[str, None] = {}
    for directory, name in _PACKAGE_PATH.findall(output):
        places[directory] = None
        if name not in ("gunicorn", "uvicorn"):
            names.add(normal_name(name))
    installed = packages_in([Path(place) for place in list(places)[:3]])
    return {name: installed[name] for name in sorted(names) if name in installed}


def _interpreter(output: str) -> str | None:
    """Return the interpreter of the virtual environment that gunicorn's frames in the words belong to."""
    last_prefix = None
    for prefix in _INTERPRETER_LIB.findall(output):
        last_prefix = prefix
    if last_prefix is None:
        return None
    python = Path(last_prefix) / "bin" / "python"
    return safe_line(str(python), 1000) if is_there(python) else None


def _broken_scripts(output: str, accounts: Sequence[SupervisorAccount]) -> dict[str, str]:
    """Return the scripts that could not be run because the interpreter in their first line is gone. A shell reports a
    missing script and a missing interpreter alike as 'not found' (execve(2), ENOENT)."""
    paths = _NOT_RUN.findall("\n".join((output, *(account.words for account in accounts))))
    interpreters: dict[str, str] = {}
    for path in dict.fromkeys(paths[-4:]):
        try:
            first = read_regular_file(path, 256).content.partition(b"\n")[0]
        except (OSError, ValueError):
            continue
        words = os.fsdecode(first[2:]).split() if first.startswith(b"#!") else []
        if words and words[0].startswith("/") and is_there(words[0]) is False:
            interpreters[safe_line(path, 400)] = safe_line(words[0], 400)
    return interpreters


def _holder(pidfile: Pidfile | NotSeen) -> PidfileHolder | None:
    if isinstance(pidfile, NotSeen) or pidfile.pid is None:
        return None
    try:
        process = psutil.Process(pidfile.pid)
        return PidfileHolder(pid=pidfile.pid, name=safe_line(process.name(), 60), state=process.status())
    except (psutil.Error, OSError, ValueError):
        return None


# --- the application's module ----------------------------------------------------------------------------------------


def _module_source(app_dir: str, module: str) -> tuple[str, bytes] | None:
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for base in (Path(app_dir), Path(app_dir) / "src"):
        for path in (base.joinpath(*parts).with_suffix(".py"), base.joinpath(*parts) / "__init__.py"):
            try:
                read = read_regular_file(str(path), MAX_SOURCE_BYTES)
            except (OSError, ValueError):
                continue
            return str(path), read.content
    return None


def _statements(
    path: str, content: bytes
) -> tuple[tuple[SourceLine, ...], tuple[SourceLine, ...], tuple[str, ...]]:
    """Return the calls that start a server or end the process when the module is imported, and the names it binds that
    look like an application or a factory of one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return (), (), ()
    runs: list[SourceLine] = []
    exits: list[SourceLine] = []
    names: list[str] = []
    for statement in _imported(tree.body):
        names += _bound(statement)
        for call in _calls(statement):
            line = SourceLine(path=safe_line(path, 1000), line=call[1], call=safe_line(call[0], 60))
            if _RUNS.fullmatch(call[0]) and not call[0].startswith(("subprocess.", "asyncio.")):
                runs.append(line)
            elif call[0] in _EXITS or call[0].endswith(".parse_args"):
                exits.append(line)
    return tuple(runs[:3]), tuple(exits[:3]), tuple(dict.fromkeys(names))[:8]


def _imported(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that an import runs: not those below ``if __name__ == "__main__":``."""
    waiting = body[::-1]
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.If) and "__main__" in ast.dump(statement.test):
            waiting += reversed(statement.orelse)
            continue
        yield statement
        for field in ("body", "orelse", "finalbody"):
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                waiting += reversed(getattr(statement, field, []))
        waiting += [inner for handler in getattr(statement, "handlers", []) for inner in handler.body]


def _bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        is_factory = (
            statement.name.startswith(("create_", "make_", "build_", "get_")) and "app" in statement.name
        )
        return (
            [f"{statement.name}()"]
            if is_factory
            else [statement.name]
            if statement.name in ("app", "application")
            else []
        )
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(statement.value, ast.Call):
        return []
    class_name = ast.unparse(statement.value.func).rpartition(".")[2]
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [t.id for t in targets if isinstance(t, ast.Name) and class_name in _APPLICATIONS]


def _calls(statement: ast.stmt) -> list[tuple[str, int]]:
    if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
        called = ast.unparse(statement.value.func)[:100]
        return [(called, statement.lineno)] if called.endswith(".parse_args") else []
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return [(ast.unparse(statement.value.func)[:100], statement.lineno)]
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return [(ast.unparse(raised)[:100], statement.lineno)]
    return []
