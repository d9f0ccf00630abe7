"""Classify a failed start by the messages of gunicorn, Python, a shell or a supervisor.

A rule is a pattern for one part of the reading (the exception, gunicorn's own error, its errors about the address)
and the kind that it proves; its named groups are the facts. The first match decides. A message without a match is of
kind ``UNKNOWN``: it is only quoted.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable
from enum import StrEnum

import msgspec

from ops.facts.start import (
    Default,
    EnvironmentRead,
    LastStart,
    ServiceManager,
    StartWords,
    SupervisorAccount,
    Use,
)
from ops.interpret.packages import normal_name
from ops.interpret.start_failure.words import Ended, StartReading, Trace, read_start
from ops.text.language import Text, verbatim

# Sources written within this many seconds of the newest belong to the same start.
SAME_START = 90.0


class Kind(StrEnum):
    """The kind of defect that kept the service from starting."""

    VARIABLE = "missing_variable"
    VARIABLE_VALUE = "malformed_variable"
    SETTINGS = "invalid_settings"
    OWN_MODULE = "module_not_on_path"
    WSGI_MODULE = "wsgi_module_not_found"
    SUBMODULE = "module_missing_in_own_package"
    RELATIVE_IMPORT = "relative_import_without_package"
    PACKAGE = "package_missing"
    VERSION_CLASH = "version_clash"
    CIRCULAR = "circular_import"
    OWN_NAME = "name_missing_in_own_module"
    HIDES = "own_file_hides_package"
    ATTRIBUTE = "attribute_missing"
    NOT_CALLABLE = "application_is_none"
    FACTORY_ARGUMENT = "factory_takes_arguments"
    SYNTAX = "syntax_error"
    DAMAGED = "module_damaged"
    PICKLED = "pickled_class_missing"
    SOURCE_ENCODING = "source_is_not_utf8"
    ENCODING = "wrong_encoding"
    WORKER_CLASS = "worker_class"
    WORKER_DIRECTORY = "worker_temporary_directory"
    CONFIG_MISSING = "configuration_file_missing"
    CONFIG_FAILS = "configuration_file_fails"
    SETTING_VALUE = "invalid_setting"
    OPTION = "invalid_option"
    ADDRESS_IN_USE = "address_in_use"
    ADDRESS_NOT_HERE = "address_not_of_this_host"
    PORT_FORBIDDEN = "port_needs_privilege"
    ADDRESS_INVALID = "invalid_address"
    HOST_UNKNOWN = "host_name_unknown"
    SOCKET_DIRECTORY = "socket_directory_missing"
    SOCKET_FORBIDDEN = "socket_not_writable"
    SOCKET_TOO_LONG = "socket_path_too_long"
    PIDFILE_HELD = "pidfile_names_living_process"
    PIDFILE_DIRECTORY = "pidfile_directory_missing"
    PIDFILE_FORBIDDEN = "pidfile_not_writable"
    USER = "no_such_user"
    GROUP = "no_such_group"
    NOT_ROOT = "user_needs_root"
    LOG_DIRECTORY = "log_directory_missing"
    LOG_FORBIDDEN = "log_not_writable"
    DIRECTORY = "working_directory"
    TLS_FILE = "tls_file_missing"
    CONNECTION = "connection_refused_at_import"
    FILE = "file_missing_at_import"
    FILE_FORBIDDEN = "file_not_readable"
    DATA_FILE = "file_not_as_expected"
    DATABASE_FILE = "database_file_not_opened"
    TABLE = "table_missing"
    DATABASE_REFUSES = "database_refuses"
    READ_ONLY = "read_only_file_system"
    DISK_FULL = "disk_full"
    LIBRARY = "shared_library_missing"
    MEMORY = "out_of_memory"
    KILLED = "killed_while_loading"
    CRASHED = "crashed_while_loading"
    TOO_SLOW = "loading_exceeds_timeout"
    OPEN_FILES = "too_many_open_files"
    RUNS_ITSELF = "application_runs_itself"
    PORT_OF_ITS_OWN = "application_binds_taken_port"
    PARSES_ARGUMENTS = "application_parses_arguments"
    EXITS = "application_exits"
    INTERPRETER = "interpreter_missing"
    PROGRAM = "program_missing"
    NO_GUNICORN = "gunicorn_not_installed"
    NOT_EXECUTABLE = "program_not_executable"
    START_LIMIT = "start_limit"
    EXTENSION = "extension_of_another_python"
    OLD_ENVIRONMENT = "environment_of_another_python"
    NO_LIBRARY = "python_without_its_library"
    EXCEPTION = "exception_at_import"
    UNKNOWN = "unknown"


# Defects that make a worker fail while it loads the application: GUN003. All others keep the master from running.
LOADING = frozenset(
    {
        Kind.VARIABLE, Kind.VARIABLE_VALUE, Kind.SETTINGS, Kind.SUBMODULE, Kind.RELATIVE_IMPORT, Kind.DATA_FILE,
        Kind.DATABASE_FILE, Kind.TABLE, Kind.DATABASE_REFUSES, Kind.PORT_OF_ITS_OWN, Kind.PARSES_ARGUMENTS,
        Kind.OWN_MODULE, Kind.WSGI_MODULE, Kind.PACKAGE, Kind.VERSION_CLASH,
        Kind.CIRCULAR, Kind.HIDES, Kind.OWN_NAME, Kind.ATTRIBUTE, Kind.NOT_CALLABLE, Kind.FACTORY_ARGUMENT, Kind.SYNTAX,
        Kind.DAMAGED, Kind.PICKLED,
        Kind.SOURCE_ENCODING, Kind.ENCODING, Kind.CONNECTION, Kind.FILE, Kind.FILE_FORBIDDEN, Kind.READ_ONLY,
        Kind.DISK_FULL, Kind.LIBRARY, Kind.MEMORY, Kind.KILLED, Kind.CRASHED, Kind.TOO_SLOW, Kind.OPEN_FILES,
        Kind.RUNS_ITSELF, Kind.EXITS, Kind.EXCEPTION, Kind.EXTENSION,
    }
)  # fmt: skip


# Defects that may disappear by themselves: the next start may succeed without a fix.
PASSING = frozenset(
    {
        Kind.UNKNOWN, Kind.CONNECTION, Kind.ADDRESS_IN_USE, Kind.START_LIMIT, Kind.MEMORY, Kind.KILLED,
        Kind.HOST_UNKNOWN, Kind.PIDFILE_HELD, Kind.PORT_OF_ITS_OWN, Kind.DATABASE_REFUSES,
    }
)  # fmt: skip


class StartFailure(msgspec.Struct, frozen=True):
    """The reason for the failure of the last start. ``quote``: the message that proves it; ``source``: its log;
    ``time``: when it was written; ``where``: FILE:LINE in the application, if that is involved; ``values``: the kind's
    facts; ``is_loading``: a worker, or the master in its place, failed while it loaded the application; ``count``:
    the number of workers that ended."""

    kind: Kind
    quote: str
    source: str
    time: float
    where: str | None = None
    values: dict[str, str] = {}
    is_loading: bool = False
    count: int = 0

    @property
    def at(self) -> Text:
        """``where``, or words for it."""
        return verbatim(self.where) if self.where else Text("the place that fails", "出错处")


class _Proof(msgspec.Struct, frozen=True):
    kind: Kind
    quote: str
    where: str | None = None
    values: dict[str, str] = {}


def start_failure(last: LastStart, since: float = 0.0) -> StartFailure | None:
    """Return why the last start failed; None if no log has a failed start.

    ``since``: when the service is known to have last served (Unix seconds); older lines belong to another start."""
    readings = [(words, read_start(words.lines)) for words in last.words if words.time >= since]
    failing = [(words, reading) for words, reading in readings if reading.has_failed]
    newest = max((words.time for words, _ in failing), default=0.0)
    best: StartFailure | None = None
    for words, reading in failing:
        if words.time < newest - SAME_START:
            continue
        best = _clearer(best, _of_reading(words, reading, last))
    for account in last.supervisors:
        by_account = _of_account(account)
        if by_account is not None and (account.time or newest or since) >= max(since, newest - SAME_START):
            best = _clearer(best, by_account)
    return best


def _clearer(best: StartFailure | None, other: StartFailure) -> StartFailure:
    """Return ``best``, unless only ``other`` shows the defect."""
    return other if best is None or (best.kind in VAGUE and other.kind not in VAGUE) else best


# Kinds that systemd reports before the program runs.
SYSTEMD_S = (Kind.PROGRAM, Kind.NOT_EXECUTABLE, Kind.INTERPRETER, Kind.DIRECTORY, Kind.USER, Kind.GROUP)
# Kinds that say that a start failed, and not why.
VAGUE = (Kind.UNKNOWN, Kind.EXITS, Kind.START_LIMIT)


def _of_reading(words: StartWords, reading: StartReading, last: LastStart) -> StartFailure:
    proof = (
        _by_error(reading, last)
        or _by_binds(reading)
        or _by_trace(reading, last)
        or _by_lines(reading)
        or _by_ends(reading, last)
    )
    is_traced = bool(reading.traces) and not any(t.is_master for t in reading.traces[-1:])
    ends_of_workers = (reading.reason or "").startswith(("Worker failed", "App failed")) or reading.loops
    if proof is None:
        lines = [line for line in reading.tail if "Worker exiting" not in line]
        proof = _Proof(Kind.UNKNOWN, lines[-1].strip() if lines else "?")
    is_preload = bool(reading.traces) and any(
        frame[0].endswith("gunicorn/arbiter.py") and frame[2] == "setup"
        for frame in reading.traces[-1].frames
    )
    # gunicorn reads its configuration before the master runs: a fault in that file fails no worker.
    is_loading = "config" not in proof.values and (
        proof.kind in LOADING
        or is_preload
        or (is_traced and proof.kind not in _MASTER)
        or (proof.kind is Kind.UNKNOWN and ends_of_workers)
    )
    return StartFailure(
        proof.kind,
        proof.quote,
        words.source,
        words.time,
        proof.where,
        proof.values,
        is_loading,
        len(reading.ends),
    )


_MASTER = frozenset(Kind) - LOADING - {Kind.UNKNOWN}


# --- gunicorn's own error --------------------------------------------------------------------------------------------

_ERRORS: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (r"Already running on PID (?P<pid>\d+) \(or pid file '(?P<path>[^']+)' is stale\)", Kind.PIDFILE_HELD),
        (r"(?P<path>/\S+|\S+) doesn't exist\. Can't create pidfile", Kind.PIDFILE_DIRECTORY),
        (r"class uri '?(?P<name>[^' ]+)'? invalid or not found:?\s*(?P<detail>.*)", Kind.WORKER_CLASS),
        (r"'(?P<path>[^']+)' isn't writable \[FileNotFoundError", Kind.LOG_DIRECTORY),
        (r"'(?P<path>[^']+)' isn't writable \[(?:OSError|PermissionError)\(30", Kind.READ_ONLY),
        (r"'(?P<path>[^']+)' isn't writable \[(?P<detail>.*)\]", Kind.LOG_FORBIDDEN),
        (r"No such user: '(?P<name>[^']*)'", Kind.USER),
        (r"No such group: '(?P<name>[^']*)'", Kind.GROUP),
        (r"can't chdir to '(?P<path>[^']*)'", Kind.DIRECTORY),
        (r"'(?P<path>[^']+)' (?:doesn't exist|not found)$", Kind.CONFIG_MISSING),
        (r"'(?P<name>[^']*)' is not a valid port number", Kind.ADDRESS_INVALID),
        (r"Failed to read config file: (?P<path>\S+)", Kind.CONFIG_FAILS),
        (r"Fatal Python error: .*No module named 'encodings'(?:.*PYTHONHOME = '(?P<home>[^']*)')?", Kind.NO_LIBRARY),
        (r"No module named '?gunicorn", Kind.NO_GUNICORN),
        (r"couldn't chdir to (?P<path>/\S+): E[A-Z]+$", Kind.DIRECTORY),
        (r"Failed at step CHDIR spawning|requested working directory failed", Kind.DIRECTORY),
        (r"Failed at step USER spawning|determine user credentials", Kind.USER),
        (r"Failed at step GROUP spawning|determine group credentials", Kind.GROUP),
        (r"Failed at step (?:STDOUT|STDERR) spawning|set up standard (?:output|error)", Kind.LOG_DIRECTORY),
        (r"(?P<path>/\S+): bad interpreter: (?P<interpreter>\S+)|bad interpreter", Kind.INTERPRETER),
        (r"(?P<path>/[^\s:']+)'?: (?:No such file or directory|not found)$", Kind.PROGRAM),
        (r"(?P<path>[\w.-]+): (?:command )?not found$", Kind.PROGRAM),
        (r"(?P<path>/[^\s:']+)'?: (?:cannot execute: required file not found)$", Kind.INTERPRETER),
        (r"(?P<path>/[^\s:']+)'?: (?:[Pp]ermission denied|cannot execute.*|Exec format error)$", Kind.NOT_EXECUTABLE),
        (r"(?:argument |unrecognized arguments: |ambiguous option: )(?P<detail>.*)", Kind.OPTION),
        (r"(?i:invalid|could not convert|not a |value |must be |unable )(?P<detail>.*)",
         Kind.SETTING_VALUE),
    )
)  # fmt: skip


def _by_error(reading: StartReading, last: LastStart) -> _Proof | None:
    if reading.error is None:
        return None
    if reading.error.startswith("Failed to read config file: "):
        return _of_configuration(reading)
    for pattern, kind in _ERRORS:
        if match := pattern.search(reading.error):
            values = {name: value.strip() for name, value in match.groupdict().items() if value}
            if kind is Kind.SETTING_VALUE:
                values |= _invalid_setting(reading)
            elif kind is Kind.PROGRAM and (interpreter := last.broken_scripts.get(values.get("path", ""))):
                kind, values["interpreter"] = Kind.INTERPRETER, interpreter
            elif kind is Kind.NO_GUNICORN and last.other_python:
                kind, values["path"] = Kind.OLD_ENVIRONMENT, last.other_python
            return _Proof(kind, reading.error.strip(), None, values)
    setting = _invalid_setting(reading)
    return _Proof(Kind.SETTING_VALUE if setting else Kind.UNKNOWN, reading.error.strip(), None, setting)


def _invalid_setting(reading: StartReading) -> dict[str, str]:
    for line in reversed(reading.tail):
        if match := re.match(r"Invalid value for (\w+): (.*)", line.strip()):
            return {"name": match[1], "value": match[2][:100]}
    return {}


def _of_configuration(reading: StartReading) -> _Proof:
    """Return the proof for a configuration file of gunicorn's that raised: its path and the exception."""
    path = (reading.error or "").rpartition("config file: ")[2].strip()
    trace = reading.traces[-1] if reading.traces else None
    values = {"path": path}
    if trace is None:
        return _Proof(Kind.CONFIG_FAILS, reading.error or "", path, values)
    where = next((f"{file}:{line}" for file, line, _ in reversed(trace.frames) if file == path), path)
    values["exception"] = _first_line(trace.exception)
    inner = _exception_rule(trace, None)
    if inner.kind in (Kind.VARIABLE, Kind.PACKAGE, Kind.SYNTAX):
        return msgspec.structs.replace(inner, where=where, values=inner.values | {"config": path})
    return _Proof(Kind.CONFIG_FAILS, values["exception"], where, values)


# --- the address -----------------------------------------------------------------------------------------------------

_ADDRESS = r"(?:connection to |Connection in use: |Invalid address: |Can't connect to )"
_BINDS: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"(?P<address>\S.*?) failed: \[Errno 98\]", Kind.ADDRESS_IN_USE),
        (r"Connection in use: (?P<address>.*)", Kind.ADDRESS_IN_USE),
        (r"(?P<address>\S.*?) failed: \[Errno 99\]", Kind.ADDRESS_NOT_HERE),
        (r"Invalid address: (?P<address>.*)", Kind.ADDRESS_NOT_HERE),
        (r"(?P<address>/\S*) failed: \[Errno 13\]", Kind.SOCKET_FORBIDDEN),
        (r"(?P<address>\(.*?\)) failed: \[Errno 13\]", Kind.PORT_FORBIDDEN),
        (r"(?P<address>/\S*) failed: \[Errno 2\]", Kind.SOCKET_DIRECTORY),
        (r"(?P<address>/\S*) failed: \[Errno 30\]", Kind.READ_ONLY),
        (r"(?P<address>\S.*?) failed: AF_UNIX path too long", Kind.SOCKET_TOO_LONG),
        (r"(?P<address>\S.*?) failed: \[Errno -\d+\]", Kind.HOST_UNKNOWN),
    )
)


def _by_binds(reading: StartReading) -> _Proof | None:
    if not reading.binds or reading.traces:
        return None
    for line in reversed(reading.binds):
        bare = line.removeprefix("connection to ")
        for pattern, kind in _BINDS:
            if match := pattern.search(bare):
                address = match["address"].strip()
                values = {"address": _address(address)}
                if address.startswith("/"):
                    values["path"] = address
                return _Proof(kind, line, None, values)
    return None


def _address(text: str) -> str:
    """Convert ``('127.0.0.1', 8000)`` to ``127.0.0.1:8000``."""
    match = re.match(r"\('([^']*)', (\d+)", text)
    return f"{match[1]}:{match[2]}" if match else text


# --- an exception ----------------------------------------------------------------------------------------------------

_VARIABLE_SAID = re.compile(
    r"[Ss]et (?:the )?['\"]?(?P<a>[A-Z][A-Z0-9_]{2,79})['\"]? (?:environment|env)"
    r"|[Ee]nv(?:ironment)?(?: var(?:iable)?)?s? ['\"`]?(?P<b>[A-Z][A-Z0-9_]{2,79})['\"`]? "
    r"(?:is |was |must |not |has |required|missing|needs)"
    r"|(?P<c>[A-Z][A-Z0-9]*_[A-Z0-9_]{1,79}) (?:environment variable|env(?:ironment)? var|is (?:not "
    r"set|missing|required)"
    r"|must (?:be set|not be empty)|not (?:set|found|defined)|setting must)"
    r"|(?P<d>[A-Z][A-Z0-9_]{2,79}) not found\. Declare it as envvar"
    r"|[Mm]issing (?:required )?(?:environment|env)\w* (?:variables?)?:? ?['\"`]?(?P<e>[A-Z][A-Z0-9_]{2,79})"
)
_OS_ENVIRON = re.compile(r"^<frozen os>$|/os\.py$|/environs/|/decouple\.py$|/environ/")
_ENVIRON_NAME = re.compile(r"^[A-Z][A-Z0-9_]{1,79}$")


def _first_line(words: str) -> str:
    return words.partition("\n")[0].strip()


def _by_trace(reading: StartReading, last: LastStart) -> _Proof | None:
    """Classify by the newest traceback; if it shows no kind, by the traceback that is its direct cause."""
    outer: _Proof | None = None
    for trace in reversed(reading.traces):
        if not trace.exception or (outer is not None and not trace.is_cause):
            continue
        proof = _exception_rule(trace, last)
        if proof.kind is not Kind.EXCEPTION:
            where = proof.where if trace.own or outer is None else outer.where
            return msgspec.structs.replace(proof, where=where)
        outer = outer or proof
    return outer


def _exception_rule(trace: Trace, last: LastStart | None) -> _Proof:
    """Classify an exception that was raised while gunicorn loaded something."""
    place = trace.own or trace.last
    if place and _NOBODYS.search(place[0]):
        place = None
    where = f"{place[0]}:{place[1]}" if place else None
    words = _first_line(trace.exception)
    name, _, message = words.partition(": ")
    name = name.rpartition(".")[2]
    for rule in _RULES:
        result = rule(trace, name, message, last)
        if result is not None:
            kind, values = result
            at = values.pop("where", None)
            return _Proof(kind, words, at or where, values)
    return _Proof(Kind.EXCEPTION, words, where, {"exception": words})


# Files of Python's and gunicorn's own, which nobody has to correct.
_NOBODYS = re.compile(r"/lib(?:64)?/python[\d.]+/importlib/|/gunicorn/(?:workers|app)/\w+\.py$")
_Found = tuple[Kind, dict[str, str]] | None
_Rule = Callable[[Trace, str, str, "LastStart | None"], _Found]


def _is_in(trace: Trace, *parts: str) -> bool:
    return any(part in path for path, _, _ in trace.frames for part in parts)


def _pidfile(trace: Trace, name: str, message: str, _last: LastStart | None) -> _Found:
    if not _is_in(trace, "gunicorn/pidfile.py") or "Error" not in name:
        return None
    path = re.search(r"'([^']+)'", message)
    values = {"path": path[1].rpartition("/")[0] or "/"} if path else {}
    return (Kind.READ_ONLY if "[Errno 30]" in message else Kind.PIDFILE_FORBIDDEN), values


def _master_files(trace: Trace, name: str, message: str, _last: LastStart | None) -> _Found:
    if name == "PermissionError" and _is_in(trace, "gunicorn/workers/workertmp.py", "gunicorn/glogging.py"):
        return Kind.NOT_ROOT, {}
    if match := re.search(r"(\S+) doesn't exist\. Can't create workertmp", message):
        return Kind.WORKER_DIRECTORY, {"path": match[1]}
    if match := re.search(r'(?:certfile|keyfile) "([^"]+)" does not exist', message):
        return Kind.TLS_FILE, {"path": match[1]}
    if match := re.match(r"[Ff]ile ([^ ]+) does not exists?", message):
        return Kind.TLS_FILE, {"path": match[1]}
    return None


def _variable(trace: Trace, name: str, message: str, last: LastStart | None) -> _Found:
    bare = message.strip().strip("'\"")
    if name == "KeyError" and _ENVIRON_NAME.match(bare):
        if any(_OS_ENVIRON.search(path) for path, _, _ in trace.frames[-3:]):
            return Kind.VARIABLE, {"name": bare}
        return None
    if match := re.search(r"[Ee]nvironment variable ['\"]?(\w+)['\"]? (?:is )?invalid\b:?(.*)", message):
        return Kind.VARIABLE_VALUE, {"name": match[1], "detail": (match[2].strip() or message).rstrip(".")}
    if by_setting := _setting_from_variable(message, last):
        return by_setting
    if match := _VARIABLE_SAID.search(f"{message} "):
        return Kind.VARIABLE, {"name": next(filter(None, match.groups()))}
    if name == "UndefinedValueError" and (match := re.match(r"(\w+) not found", message)):
        return Kind.VARIABLE, {"name": match[1]}
    if name == "ValidationError":
        return _settings(trace, last) or _dynaconf(trace, message, last)
    if match := re.match(r'error parsing value for field "(\w+)" from source "EnvSettingsSource"', message):
        prefix = next(iter(last.prefixes.values()), "") if last and len(last.prefixes) == 1 else ""
        return Kind.VARIABLE_VALUE, {"name": f"{prefix}{match[1]}".upper(), "detail": message[:200]}
    if name == "ImproperlyConfigured":
        if "DJANGO_SETTINGS_MODULE" in message:
            return Kind.VARIABLE, {"name": "DJANGO_SETTINGS_MODULE"}
        if match := re.match(r"The ([A-Z_]+) setting must not be empty", message):
            return Kind.VARIABLE, {"name": match[1]}
    return None


def _setting_from_variable(message: str, last: LastStart | None) -> _Found:
    """Find the variable that sets the named setting, for 'The SECRET_KEY setting must not be empty'."""
    if last is None or not re.search(r"must (?:not )?be|not set|required|missing|not configured", message):
        return None
    settings = set(re.findall(r"[A-Z][A-Z0-9_]{2,79}", message))
    for read in last.reads:
        if read.target in settings and read.default is not Default.VALUE:
            return Kind.VARIABLE, {"name": read.name, "where": f"{read.path}:{read.line}"}
    return None


def _settings(trace: Trace, last: LastStart | None) -> _Found:
    """Read pydantic's message: '2 validation errors for Settings', then pairs of a field and its error."""
    lines = trace.exception.splitlines()[1:]
    pairs = [
        (field.strip(), complaint.strip().partition(" [type=")[0])
        for field, complaint in itertools.pairwise(lines)
        if not field.startswith(" ") and complaint.startswith(" ")
    ]
    missing = [field for field, complaint in pairs if complaint.lower().startswith("field required")]
    match = re.search(r"for (\w+)", trace.exception)
    model = match[1] if match else "?"
    values = {"model": model}
    by_environment = _is_in(trace, "pydantic_settings/", "pydantic/env_settings")
    prefix = last.prefixes.get(model, "") if last else ""
    if missing and by_environment:
        return Kind.VARIABLE, {"name": ", ".join(f"{prefix}{f}".upper() for f in missing[:8]), **values}
    if pairs and by_environment:
        names = ", ".join(f"{prefix}{field.partition('.')[0]}".upper() for field, _ in pairs[:4])
        return Kind.VARIABLE_VALUE, {"name": names, "detail": "; ".join(c for _, c in pairs[:4]), **values}
    if pairs:
        return Kind.SETTINGS, {"detail": "; ".join(f"{f}: {c}" for f, c in pairs[:4]), **values}
    return None


def _dynaconf(trace: Trace, message: str, last: LastStart | None) -> _Found:
    """Read dynaconf's validation errors: 'TOKEN is required in env main', 'PORT must ... but it is ...'."""
    match = re.match(r"(\w[\w.]{0,79}) (is required|must )", message)
    if match is None or not _is_in(trace, "dynaconf/"):
        return None
    prefix = last.prefixes.get("*", "DYNACONF_") if last else "DYNACONF_"
    name = prefix + match[1].upper().replace(".", "__")
    return (Kind.VARIABLE if match[2] == "is required" else Kind.VARIABLE_VALUE), {
        "name": name,
        "detail": message.partition(" but it is ")[0][:200],
    }


_IS_NONE = re.compile(r"NoneType|\bNone\b")
_IS_EMPTY = re.compile(r"''|\bempty\b")
_OF_A_VALUE = (
    "TypeError", "ValueError", "AttributeError", "KeyError", "JSONDecodeError", "ArgumentError", "Error",
    "InvalidOperation", "ConversionSyntax", "ZoneInfoNotFoundError", "InvalidURI", "ConfigurationError", "InvalidURL",
    "LocationParseError", "UnicodeError", "ValidationError", "ImproperlyConfigured", "RuntimeError", "BadDsn",
    "NoSuchModuleError", "AssertionError", "LookupError",
)  # fmt: skip


def _about(reads: list[EnvironmentRead], name: str, message: str) -> tuple[list[EnvironmentRead], Kind]:
    """Return those of a statement's variables that the exception is about, and the kind: missing or malformed."""
    checked = [read for read in reads if read.use in (Use.UNSET, Use.VALUE)]
    if checked:
        same = [read for read in checked if read.use is checked[0].use]
        return same, Kind.VARIABLE if checked[0].use is Use.UNSET else Kind.VARIABLE_VALUE
    none = [read for read in reads if read.default is Default.NONE]
    empty = [read for read in reads if read.default is Default.EMPTY]
    if none and (_IS_NONE.search(message) or name in ("TypeError", "AttributeError")):
        return none, Kind.VARIABLE
    if empty and (_IS_EMPTY.search(message) or len(empty) == len(reads)):
        return empty, Kind.VARIABLE
    if none and _IS_EMPTY.search(message):
        return none, Kind.VARIABLE
    return reads, Kind.VARIABLE_VALUE


def _environment(trace: Trace, name: str, message: str, last: LastStart | None) -> _Found:
    """Match an exception about an environment variable's value with a statement of the traceback that uses it."""
    if last is None or name not in _OF_A_VALUE:
        return None
    own = [f"{path}:{line}" for path, line, _ in reversed(trace.frames)]
    reads = [read for frame in own for read in last.reads if read.frame == frame]
    if not reads or (_IS_NONE.search(message) and all(r.default is Default.VALUE for r in reads)):
        return None
    nearest = [read for read in reads if read.frame == reads[0].frame]
    culprits, kind = _about(nearest, name, message)
    names = list(dict.fromkeys(read.name for read in culprits))[:6]
    values = {"name": ", ".join(names), "where": f"{culprits[0].path}:{culprits[0].line}"}
    if kind is Kind.VARIABLE_VALUE:
        values["detail"] = f"{name}: {message}"[:300].rstrip(".") if message else name
    return kind, values


# A word of the command line that gunicorn took for the application's module: it begins with a dash that is no hyphen.
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_DASHED_MODULE = re.compile(rf"No module named '([{DASHES}-][^']{{0,200}})'")


def _module(trace: Trace, name: str, message: str, last: LastStart | None) -> _Found:
    if name == "ModuleNotFoundError" and (option := _DASHED_MODULE.match(message)):
        return Kind.OPTION, {"detail": message, "word": option[1]}
    match = re.match(r"No module named '?([\w.]+)'?", message)
    if name not in ("ModuleNotFoundError", "ImportError") or match is None:
        return None
    module = match[1]
    first = module.partition(".")[0]
    values = {"module": module, "first": first}
    if last is not None and module in last.extensions:
        return Kind.EXTENSION, {
            **values,
            "path": last.extensions[module],
            "package": PACKAGES.get(first, first),
        }
    if last is not None and last.other_python and not any(place.name == first for place in last.modules):
        return Kind.OLD_ENVIRONMENT, {**values, "path": last.other_python}
    # gunicorn itself imports the module, not a line of the application.
    is_wsgi = trace.own is None and _is_in(trace, "gunicorn/util.py")
    places = [place.directory for place in last.modules if place.name == first] if last else []
    if places and module != first and (inner := _submodule(trace, message, module, places[0], last)):
        return inner
    if places:
        values["directory"] = places[0]
        return (Kind.WSGI_MODULE if is_wsgi else Kind.OWN_MODULE), values
    if last is not None and normal_name(PACKAGES.get(first, first)) in last.requirements:
        values["package"] = PACKAGES.get(first, first)
        values["listed"] = "yes"
        return Kind.PACKAGE, values
    if is_wsgi:
        return Kind.WSGI_MODULE, values
    values["package"] = PACKAGES.get(first, first)
    return Kind.PACKAGE, values


def _submodule(trace: Trace, message: str, module: str, directory: str, last: LastStart | None) -> _Found:
    """Match a module missing from the application's own package, or a file found in place of the package."""
    values = {"module": module, "package": module.rpartition(".")[0], "directory": directory}
    values["name"] = module.rpartition(".")[2]
    if "is not a package" in message:
        values["file"] = f"{directory}/{module.partition('.')[0]}.py"
        return Kind.SUBMODULE, values
    if last is None or any(place.name == module for place in last.modules):
        return None
    if _is_in(trace, "django/conf/__init__.py"):
        values["variable"] = "DJANGO_SETTINGS_MODULE"
        read = next((r for r in last.reads if r.name == "DJANGO_SETTINGS_MODULE"), None)
        values |= {"where": f"{read.path}:{read.line}"} if read else {}
    return Kind.SUBMODULE, values


# PyPI's package names that differ from the module's name.
PACKAGES = {
    "dotenv": "python-dotenv", "yaml": "PyYAML", "cv2": "opencv-python-headless", "PIL": "Pillow",
    "sklearn": "scikit-learn", "bs4": "beautifulsoup4", "MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary",
    "jwt": "PyJWT", "dateutil": "python-dateutil", "Crypto": "pycryptodome", "serial": "pyserial",
    "git": "GitPython", "magic": "python-magic", "OpenSSL": "pyOpenSSL", "decouple": "python-decouple",
    "environ": "django-environ", "rest_framework": "djangorestframework", "corsheaders": "django-cors-headers",
    "jose": "python-jose", "multipart": "python-multipart", "socketio": "python-socketio", "engineio":
    "python-engineio", "pkg_resources": "setuptools", "attr": "attrs", "zmq": "pyzmq", "fitz": "PyMuPDF",
    "docx": "python-docx", "pptx": "python-pptx", "ldap": "python-ldap", "slugify": "python-slugify",
    "werkzeug": "Werkzeug", "flask": "Flask", "jinja2": "Jinja2", "django": "Django",
}  # fmt: skip


def _is_library(path: str) -> bool:
    return any(mark in path for mark in ("site-packages/", "dist-packages/", "/lib/python", "/lib64/python"))


def _is_package(module: str, last: LastStart | None) -> bool:
    """Whether a package has that name: in Python's standard library, in the application's requirements, installed for
    it, or in `PACKAGES`."""
    if module in sys.stdlib_module_names or module in PACKAGES:
        return True
    if last is None:
        return False
    return normal_name(module) in last.requirements or any(
        place.name == module and _is_library(f"{place.directory}/") for place in last.modules
    )


def _hiding(trace: Trace, message: str, last: LastStart | None) -> str | None:
    """Return the application's file that Python imports in place of a package of that name: one that is imported by
    the package's name while it is still being loaded, or by a library. Modules of the application that import each
    other hide nothing."""
    match = re.match(
        r"cannot import name '\w+' from partially initialized module '(\w+)' .*\((/[^)]+)\)$", message
    )
    if (
        match
        and not _is_library(match[2])
        and match[2].rpartition("/")[2] == f"{match[1]}.py"
        and _is_package(match[1], last)
    ):
        return match[2] if any(path == match[2] for path, _, _ in trace.frames) else None
    for (before, _, _), (after, _, function) in itertools.pairwise(trace.frames):
        imports = _is_library(before) and "/importlib/" not in before and "/gunicorn/" not in before
        if imports and after.startswith("/") and not _is_library(after) and function == "<module>":
            return after
    return None


def _looked_up(trace: Trace, name: str, message: str, last: LastStart | None) -> _Found:
    """Match a failed lookup of a name that a variable gives: getattr(logging, os.environ["LEVEL"])."""
    if last is None or name not in ("AttributeError", "ModuleNotFoundError", "ImportError"):
        return None
    own = {f"{path}:{line}" for path, line, _ in trace.frames}
    read = next((r for r in last.reads if r.frame in own and r.use is Use.NAME), None)
    if read is None:
        return None
    return Kind.VARIABLE_VALUE, {
        "name": read.name,
        "detail": f"{name}: {message}"[:300],
        "where": f"{read.path}:{read.line}",
    }


def _hides(trace: Trace, name: str, message: str, last: LastStart | None) -> _Found:
    if name not in ("ImportError", "AttributeError", "ModuleNotFoundError"):
        return None
    path = _hiding(trace, message, last)
    return (
        (Kind.HIDES, {"path": path, "module": path.rpartition("/")[2].removesuffix(".py")}) if path else None
    )


def _import_name(trace: Trace, name: str, message: str, _last: LastStart | None) -> _Found:
    if name == "AttributeError" and (
        match := re.match(r"(?:partially initialized )?module '([\w.]+)' has no attribute '(\w+)'", message)
    ):
        if message.startswith("partially"):
            return Kind.CIRCULAR, {"module": match[1], "name": match[2]}
        return _clash(trace, match[1], match[2])
    if name != "ImportError":
        return None
    if message.startswith("attempted relative import"):
        return Kind.RELATIVE_IMPORT, {}
    match = re.match(
        r"cannot import name '(\w+)' from (partially initialized module )?'([\w.]+)'(.*)", message
    )
    if match is None:
        return None
    if match[2] or "circular import" in match[4]:
        return Kind.CIRCULAR, {"module": match[3], "name": match[1]}
    file = re.search(r"\((/[^)]+)\)", match[4])
    if file and not any(mark in file[1] for mark in ("site-packages/", "dist-packages/", "/lib/python")):
        return Kind.OWN_NAME, {"module": match[3], "name": match[1], "file": file[1]}
    return _clash(trace, match[3], match[1])


def _clash(trace: Trace, module: str, attribute: str) -> _Found:
    """Return the version clash of ``module``, which lacks ``attribute``, and the package that imports it, if any."""
    last = trace.last[0] if trace.last else ""
    inside = re.search(r"(?:site|dist)-packages/([\w-]+?)(?:\.py)?(?:/|$)", last)
    values = {"module": module, "name": attribute, "package": module.partition(".")[0]}
    if inside and inside[1] != values["package"]:
        values["importer"] = inside[1]
    return Kind.VERSION_CLASH, values


_DAMAGE = re.compile(r"null bytes|bad marshal data|marshal data too short|bad magic number in")


def _damaged(_trace: Trace, _name: str, message: str, last: LastStart | None) -> _Found:
    """Match a module whose file is damaged: the traceback has only the statement that imports it."""
    if not _DAMAGE.search(message):
        return None
    path = next(iter(last.damaged), None) if last else None
    return Kind.DAMAGED, {"path": path} if path else {}


_PICKLES = (".pickle", ".pkl", ".joblib", ".pt", ".pth")


def _pickled(trace: Trace, name: str, message: str, last: LastStart | None) -> _Found:
    """Match a pickle whose classes are not where it was saved with them."""
    path = _mentioned(trace, last, _PICKLES)
    values = {"path": path} if path else {}
    if match := re.match(r"(?:Can't|Custom object) get attribute '(\w+)' on <module '([\w.]+)'", message):
        # With `python -m gunicorn` the program's own module is called so.
        module = "__main__" if match[2].endswith(".__main__") else match[2]
        return Kind.PICKLED, {"name": match[1], "module": module, **values}
    at = f"{trace.own[0]}:{trace.own[1]}" if trace.own else ""
    loads = any(m.frame == at and not m.is_near and m.file == path for m in (last.mentions if last else ()))
    if (
        name == "ModuleNotFoundError"
        and path
        and loads
        and (match := re.match(r"No module named '([\w.]+)'", message))
    ):
        return Kind.PICKLED, {"module": match[1], **values}
    return None


def _syntax(trace: Trace, name: str, message: str, _last: LastStart | None) -> _Found:
    if name not in ("SyntaxError", "IndentationError", "TabError"):
        return None
    path, line, _ = trace.frames[-1] if trace.frames else ("?", 0, "")
    values = {"where": f"{path}:{line}", "path": path, "line": str(line), "error": f"{name}: {message}"}
    is_encoding = "(unicode error)" in message or "Non-UTF-8 code" in message
    return (Kind.SOURCE_ENCODING if is_encoding else Kind.SYNTAX), values


def _files(_trace: Trace, name: str, message: str, _last: LastStart | None) -> _Found:
    match = re.search(r"\[Errno (\d+)\] [^:']*(?:: '([^']+)')?", message)
    number, path = (match[1], match[2] or "") if match else ("", "")
    values = {"path": path} if path else {}
    if library := re.match(r"(\S+): cannot open shared object file", message):
        return Kind.LIBRARY, {"library": library[1]}
    if name == "FileNotFoundError" and path:
        return Kind.FILE, values
    if number == "30":
        return Kind.READ_ONLY, values
    if number == "28":
        return Kind.DISK_FULL, values
    if number == "24":
        return Kind.OPEN_FILES, values
    if name == "PermissionError":
        return Kind.FILE_FORBIDDEN, values
    return None


_INSTALL = re.compile(r"pip3? install (?:-U |--upgrade )?['\"]?([A-Za-z0-9][\w.\[\],-]{0,79})")
_UNINSTALLED = re.compile(
    r"['\"`]?(?P<a>[A-Za-z][\w.-]{0,79})['\"`]? (?:package |library |module )?(?:is|are) not installed"
    r"|requires? (?:the )?['\"`](?P<b>[A-Za-z][\w.-]{0,79})['\"`] (?:package |library )?to be installed"
    r"|[Pp]lease install (?:the )?['\"`]?(?P<c>[A-Za-z][\w.-]{0,79})"
)


def _uninstalled(trace: Trace, _name: str, message: str, _last: LastStart | None) -> _Found:
    """Match a library's own message about a package that it needs."""
    if (trace.last or ("",))[0] == (trace.own or ("",))[0]:
        return None
    advice = _INSTALL.search(trace.exception)
    match = _UNINSTALLED.search(message)
    if advice is None and match is None:
        return None
    package = advice[1] if advice else next(filter(None, match.groups()), "?") if match else "?"
    return Kind.PACKAGE, {"module": package, "package": PACKAGES.get(package, package), "listed": "yes"}


_TABLE = re.compile(
    r"no such table: (?P<a>[\w.]{1,80})|relation \"(?P<b>[\w.]{1,80})\" does not exist"
    r"|[Tt]able '(?P<c>[\w.]{1,120})' doesn't exist"
)
_DATABASE_REFUSES = re.compile(
    r"password authentication failed for user|Access denied for user|no pg_hba\.conf entry|NOAUTH|WRONGPASS"
    r"|[Aa]uthentication failed|(?:database|role) \"[^\"]+\" does not exist|Unknown database '"
)


def _database(trace: Trace, _name: str, message: str, last: LastStart | None) -> _Found:
    words = trace.exception
    if match := _TABLE.search(words):
        return Kind.TABLE, {"table": next(filter(None, match.groups()))}
    if "unable to open database file" in words or "attempt to write a readonly database" in words:
        path = _mentioned(trace, last, (".db", ".sqlite", ".sqlite3"))
        return Kind.DATABASE_FILE, {"path": path} if path else {}
    if match := _DATABASE_REFUSES.search(words):
        return Kind.DATABASE_REFUSES, {"detail": message[:200]}
    return None


def _mentioned(trace: Trace, last: LastStart | None, endings: tuple[str, ...]) -> str | None:
    """Return the file that the traceback's statements name, the innermost first, else one that their module opens."""
    own = [f"{path}:{line}" for path, line, _ in reversed(trace.frames)]
    mentions = [m for frame in own for m in (last.mentions if last else ()) if m.frame == frame and m.file]
    fitting = [m for m in mentions if (m.file or "").endswith(endings)]
    return next((m.file for m in sorted(fitting, key=lambda m: m.is_near)), None)


_PARSERS = {
    "JSONDecodeError": (".json",), "TOMLDecodeError": (".toml",), "TomlDecodeError": (".toml",),
    "ScannerError": (".yaml", ".yml"), "ParserError": (".yaml", ".yml", ".csv"), "ComposerError": (".yaml", ".yml"),
    "ConstructorError": (".yaml", ".yml"), "NoSectionError": (".ini", ".cfg", ".conf"),
    "NoOptionError": (".ini", ".cfg", ".conf"), "MissingSectionHeaderError": (".ini", ".cfg", ".conf"),
    "DuplicateSectionError": (".ini", ".cfg", ".conf"), "DuplicateOptionError": (".ini", ".cfg", ".conf"),
    "ParsingError": (".ini", ".cfg", ".conf"), "ParseError": (".xml",),
    "KeyError": (".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf"),
    "ReaderError": (".yaml", ".yml"),
}  # fmt: skip


def _data_file(trace: Trace, name: str, message: str, last: LastStart | None) -> _Found:
    """Match a file that the application reads, but whose content the parser rejects."""
    endings = _PARSERS.get(name)
    path = _mentioned(trace, last, endings) if endings else None
    if path is None:
        return None
    return Kind.DATA_FILE, {"path": path, "detail": f"{name}: {message}"[:300]}


def _port(trace: Trace, _name: str, message: str, last: LastStart | None) -> _Found:
    """Match an application that binds a port of its own, already in use, while it is loaded."""
    if "[Errno 98]" not in message or not trace.own or _is_in(trace, "gunicorn/sock.py"):
        return None
    frame = f"{trace.own[0]}:{trace.own[1]}"
    port = next((str(m.port) for m in (last.mentions if last else ()) if m.frame == frame and m.port), None)
    return Kind.PORT_OF_ITS_OWN, {"port": port} if port else {}


_REFUSED = re.compile(
    r"[Cc]onnection refused|Connect call failed|could not connect|Can't connect to|Error \d+ connecting to"
    r"|Name or service not known|Temporary failure in name resolution"
)
_PEER = re.compile(
    r"(?:server at |connecting to |connection to (?:server at )?|connect to (?:\w+ server on )?|host=')\"?'?"
    r"(?P<host>[\w.:-]+)\"?'?(?: \([\d.:a-f]+\))?,?(?: port[= ](?P<port>\d+)|:(?P<colon>\d+))?"
)


def _connection(_trace: Trace, name: str, message: str, _last: LastStart | None) -> _Found:
    if name != "ConnectionRefusedError" and not _REFUSED.search(message):
        return None
    peer = _PEER.search(message)
    if peer is None:
        return Kind.CONNECTION, {}
    port = peer["port"] or peer["colon"]
    host = peer["host"].rstrip(".:")
    return Kind.CONNECTION, {"peer": f"{host}:{port}" if port else host}


def _resources(_trace: Trace, name: str, message: str, _last: LastStart | None) -> _Found:
    if name == "MemoryError" or "Cannot allocate memory" in message or "DefaultCPUAllocator" in message:
        return Kind.MEMORY, {}
    if name == "UnicodeDecodeError" or name == "UnicodeEncodeError":
        codec = re.match(r"'([\w-]+)' codec", message)
        return Kind.ENCODING, {"codec": codec[1] if codec else "?"}
    if name == "ValueError" and message == "Empty module name":
        return Kind.OPTION, {"detail": "no application is named (MODULE:NAME)"}
    return None


_RULES: tuple[_Rule, ...] = (
    _pidfile, _master_files, _damaged, _pickled, _variable, _looked_up, _hides, _module, _uninstalled, _import_name,
    _syntax, _database,
    _connection, _files, _resources, _port, _environment, _data_file,
)  # fmt: skip


# --- lines, and exiting workers --------------------------------------------------------------------------------------


def _by_lines(reading: StartReading) -> _Proof | None:
    """Classify the messages that gunicorn prints, without a traceback, about a wrong application object."""
    for line in reversed(reading.tail):
        if match := re.search(r"Failed to find attribute '(\w+)' in '([\w.]+)'", line):
            return _Proof(Kind.ATTRIBUTE, line.strip(), None, {"name": match[1], "module": match[2]})
        if match := re.search(
            r"Failed to find application object(?:: '?([\w.():]+?)'?| '([^']+)' in '([\w.]+)')$", line
        ):
            name, module = (match[2], match[3]) if match[3] else (match[1], "")
            return _Proof(Kind.NOT_CALLABLE if not match[3] else Kind.ATTRIBUTE, line.strip(), None,
                          {"name": name or "", "module": module})  # fmt: skip
        if match := re.match(r"TypeError: (\w+)\(\) (missing|takes)", line):
            return _Proof(Kind.FACTORY_ARGUMENT, line.strip(), None, {"name": match[1]})
        if "Application object must be callable" in line or "Failed to parse" in line:
            return _Proof(Kind.NOT_CALLABLE, line.strip())
    return None


def _by_ends(reading: StartReading, last: LastStart) -> _Proof | None:
    newest = reading.ends[-1] if reading.ends else None
    run = next(iter(last.runs), None)
    if reading.serves_itself or (run and newest and (newest.code == 1 or newest.timed_out)):
        code = newest.code if newest else None
        quote = reading.serves_itself or f"Worker exited with code {code}"
        values = {"call": run.call} if run else {}
        return _Proof(Kind.RUNS_ITSELF, quote, f"{run.path}:{run.line}" if run else None, values)
    if newest is None:
        return None
    if newest.code is not None:
        before = _said_before(reading, newest)
        if newest.code == 2 and before and re.match(r"\S+: error: ", before):
            parses = next((e for e in last.exits if e.call.endswith("parse_args")), None)
            place = f"{parses.path}:{parses.line}" if parses else None
            values = {"call": parses.call if parses else "parse_args"}
            return _Proof(Kind.PARSES_ARGUMENTS, before, place, values)
        exits = next((e for e in last.exits if not e.call.endswith("parse_args")), None)
        quote = f"Worker (pid:{newest.pid}) exited with code {newest.code}"
        if by_variable := _exit_for_a_variable(last, before, f"{exits.path}:{exits.line}" if exits else None):
            kind, values = by_variable
            return _Proof(kind, before or quote, values.pop("where", None), values)
        values = {
            "code": str(newest.code),
            **({"call": exits.call} if exits else {}),
            **({"said": before} if before else {}),
        }
        return _Proof(Kind.EXITS, quote, f"{exits.path}:{exits.line}" if exits else None, values)
    if newest.timed_out:
        return _Proof(
            Kind.TOO_SLOW, f"WORKER TIMEOUT (pid:{newest.pid})", None, {"after": f"{newest.after:.0f}"}
        )
    signal = newest.signal or "?"
    kind = Kind.KILLED if signal in ("SIGKILL", "9") else Kind.CRASHED
    return _Proof(kind, f"Worker (pid:{newest.pid}) was sent {signal}", None, {"signal": signal})


def _exit_for_a_variable(last: LastStart, last_words: str | None, exits: str | None) -> _Found:
    """Match an application that exits because of a variable, by its message or by the condition before the exit."""
    if last_words and (match := _VARIABLE_SAID.search(f"{last_words} ")):
        name = next(filter(None, match.groups()))
        place = next((f"{r.path}:{r.line}" for r in last.reads if r.name == name), exits)
        return Kind.VARIABLE, {"name": name, **({"where": place} if place else {})}
    read = next(
        (r for r in last.reads if exits and r.frame == exits and r.use in (Use.UNSET, Use.VALUE)), None
    )
    if read is None:
        return None
    values = {"name": read.name, "where": f"{read.path}:{read.line}"}
    if read.use is Use.UNSET:
        return Kind.VARIABLE, values
    return Kind.VARIABLE_VALUE, {**values, **({"detail": last_words} if last_words else {})}


def _said_before(reading: StartReading, ended: Ended) -> str | None:
    """Return the application's last line before this worker ended.

    Lines behind gunicorn's last word on that worker belong to the next one, which may be in the middle of its own."""
    words = re.compile(rf"\(pid: ?{ended.pid}\)")
    end = next((at for at in reversed(range(len(reading.tail))) if words.search(reading.tail[at])), None)
    for line in reversed(reading.tail[:end]):
        if not re.match(r"\[\d{4}-", line) and line.strip():
            return line.strip()[:200]
    return None


# --- a supervisor's report -------------------------------------------------------------------------------------------

# systemd.exec(5), Process Exit Codes: failures between fork and exec.
_SYSTEMD_STATUS = {
    200: Kind.DIRECTORY, 203: Kind.PROGRAM, 209: Kind.LOG_DIRECTORY, 216: Kind.GROUP, 217: Kind.USER,
    208: Kind.LOG_DIRECTORY, 222: Kind.LOG_DIRECTORY, 238: Kind.PIDFILE_DIRECTORY, 240: Kind.LOG_DIRECTORY,
}  # fmt: skip
SYSTEMD_NAMES = {
    200: "CHDIR", 203: "EXEC", 208: "STDIN", 209: "STDOUT", 216: "GROUP", 217: "USER", 222: "STDERR",
    226: "NAMESPACE", 238: "RUNTIME_DIRECTORY", 240: "LOGS_DIRECTORY",
}  # fmt: skip


def _told_to(account: SupervisorAccount, kind: Kind) -> dict[str, str]:
    """Return the unit and its setting that systemd could not apply."""
    settings = {
        Kind.PROGRAM: ("path", account.program),
        Kind.DIRECTORY: ("path", account.directory),
        Kind.LOG_DIRECTORY: ("path", account.output),
        Kind.USER: ("name", account.user),
        Kind.GROUP: ("name", account.group),
    }
    name, value = settings.get(kind, ("", None))
    return {"unit": account.unit, **({name: value} if value else {})}


def _of_account(account: SupervisorAccount) -> StartFailure | None:
    """Return the failure that a supervisor's report alone proves; None if it reports none."""
    time = account.time or 0.0
    if account.manager is ServiceManager.SYSTEMD:
        status = account.status
        name = SYSTEMD_NAMES.get(status or 0)
        if account.result in ("success", "") and not status:
            return None
        words = f"Result={account.result}" + (
            f" status={status}{f'/{name}' if name else ''}" if status else ""
        )
        if account.signal:
            words += f" signal={account.signal}"
        kind = _SYSTEMD_STATUS.get(status or 0, Kind.UNKNOWN)
        if account.result == "start-limit-hit":
            kind = Kind.START_LIMIT
        elif account.result == "oom-kill":
            kind = Kind.MEMORY
        elif account.result == "timeout":
            kind = Kind.UNKNOWN
        return StartFailure(kind, words, account.source, time, None, _told_to(account, kind))
    match = re.search(
        r"spawnerr: (?:can't find command|command at) '([^']+)'( is not executable)?", account.words
    )
    if match:
        kind = Kind.NOT_EXECUTABLE if match[2] else Kind.PROGRAM
        return StartFailure(
            kind, account.words, account.source, time, None, {"path": match[1], "unit": account.unit}
        )
    if "FATAL" in account.words or "exit status" in account.words or "spawnerr" in account.words:
        return StartFailure(Kind.UNKNOWN, account.words, account.source, time, None, {"unit": account.unit})
    return None
