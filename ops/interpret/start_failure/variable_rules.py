"""Exceptions and exits for the want of a variable, or because of its value."""

from __future__ import annotations

import itertools
import re

from ops.facts.start import Default, EnvironmentRead, LastStart, Use
from ops.interpret.start_failure.kind import Found, Kind
from ops.interpret.start_failure.words import Trace, is_in

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


def variable_rule(trace: Trace, name: str, message: str, last: LastStart | None) -> Found:
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


def _setting_from_variable(message: str, last: LastStart | None) -> Found:
    """Find the variable that sets the named setting, for 'The SECRET_KEY setting must not be empty'."""
    if last is None or not re.search(r"must (?:not )?be|not set|required|missing|not configured", message):
        return None
    settings = set(re.findall(r"[A-Z][A-Z0-9_]{2,79}", message))
    for read in last.reads:
        if read.target in settings and read.default is not Default.VALUE:
            return Kind.VARIABLE, {"name": read.name, "where": f"{read.path}:{read.line}"}
    return None


def _settings(trace: Trace, last: LastStart | None) -> Found:
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
    by_environment = is_in(trace, "pydantic_settings/", "pydantic/env_settings")
    prefix = last.prefixes.get(model, "") if last else ""
    if missing and by_environment:
        return Kind.VARIABLE, {"name": ", ".join(f"{prefix}{f}".upper() for f in missing[:8]), **values}
    if pairs and by_environment:
        names = ", ".join(f"{prefix}{field.partition('.')[0]}".upper() for field, _ in pairs[:4])
        return Kind.VARIABLE_VALUE, {"name": names, "detail": "; ".join(c for _, c in pairs[:4]), **values}
    if pairs:
        return Kind.SETTINGS, {"detail": "; ".join(f"{f}: {c}" for f, c in pairs[:4]), **values}
    return None


def _dynaconf(trace: Trace, message: str, last: LastStart | None) -> Found:
    """Read dynaconf's validation errors: 'TOKEN is required in env main', 'PORT must ... but it is ...'."""
    match = re.match(r"(\w[\w.]{0,79}) (is required|must )", message)
    if match is None or not is_in(trace, "dynaconf/"):
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


def environment_rule(trace: Trace, name: str, message: str, last: LastStart | None) -> Found:
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


def exit_for_a_variable(last: LastStart, last_words: str | None, exits: str | None) -> Found:
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
