"""gunicorn's own errors: its settings, files and addresses, before it has an application."""

from __future__ import annotations

import re

import msgspec

from ops.facts.start import LastStart
from ops.interpret.start_failure.exception_rules import exception_rule
from ops.interpret.start_failure.kind import Kind, Proof
from ops.interpret.start_failure.words import StartReading, first_line

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


def by_error(reading: StartReading, last: LastStart) -> Proof | None:
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
            return Proof(kind, reading.error.strip(), None, values)
    setting = _invalid_setting(reading)
    return Proof(Kind.SETTING_VALUE if setting else Kind.UNKNOWN, reading.error.strip(), None, setting)


def _invalid_setting(reading: StartReading) -> dict[str, str]:
    for line in reversed(reading.tail):
        if match := re.match(r"Invalid value for (\w+): (.*)", line.strip()):
            return {"name": match[1], "value": match[2][:100]}
    return {}


def _of_configuration(reading: StartReading) -> Proof:
    """Return the proof for a configuration file of gunicorn's that raised: its path and the exception."""
    path = (reading.error or "").rpartition("config file: ")[2].strip()
    trace = reading.traces[-1] if reading.traces else None
    values = {"path": path}
    if trace is None:
        return Proof(Kind.CONFIG_FAILS, reading.error or "", path, values)
    where = next((f"{file}:{line}" for file, line, _ in reversed(trace.frames) if file == path), path)
    values["exception"] = first_line(trace.exception)
    inner = exception_rule(trace, None)
    if inner.kind in (Kind.VARIABLE, Kind.PACKAGE, Kind.SYNTAX):
        return msgspec.structs.replace(inner, where=where, values=inner.values | {"config": path})
    return Proof(Kind.CONFIG_FAILS, values["exception"], where, values)


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


def by_address(reading: StartReading) -> Proof | None:
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
                return Proof(kind, line, None, values)
    return None


def _address(text: str) -> str:
    """Convert ``('127.0.0.1', 8000)`` to ``127.0.0.1:8000``."""
    match = re.match(r"\('([^']*)', (\d+)", text)
    return f"{match[1]}:{match[2]}" if match else text
