"""Classify a failed start by its traceback.

A rule is a function of the trace, the exception's name and message, and what is known of the start; its facts come with
the kind that it proves. The first match decides. An exception without a rule is only quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from ops.facts.start import LastStart
from ops.interpret.start_failure.import_rules import (
    PACKAGES,
    damaged_rule,
    hides_rule,
    import_name_rule,
    looked_up_rule,
    module_rule,
    pickled_rule,
)
from ops.interpret.start_failure.kind import Found, Kind, Proof
from ops.interpret.start_failure.privileges import forbidden_call
from ops.interpret.start_failure.variable_rules import environment_rule, variable_rule
from ops.interpret.start_failure.words import StartReading, Trace, first_line, is_in, mentioned


def by_trace(reading: StartReading, last: LastStart) -> Proof | None:
    """Classify by the newest traceback; if it shows no kind, by the traceback that is its direct cause."""
    outer: Proof | None = None
    for trace in reversed(reading.traces):
        if not trace.exception or (outer is not None and not trace.is_cause):
            continue
        proof = exception_rule(trace, last)
        if proof.kind is not Kind.EXCEPTION:
            where = proof.where if trace.own or outer is None else outer.where
            return msgspec.structs.replace(proof, where=where)
        outer = outer or proof
    return outer


def exception_rule(trace: Trace, last: LastStart | None) -> Proof:
    """Classify an exception that was raised while gunicorn loaded something."""
    place = trace.own or trace.last
    if place and _NOBODYS.search(place[0]):
        place = None
    where = f"{place[0]}:{place[1]}" if place else None
    words = first_line(trace.exception)
    name, _, message = words.partition(": ")
    name = name.rpartition(".")[2]
    for rule in _RULES:
        result = rule(trace, name, message, last)
        if result is not None:
            kind, values = result
            at = values.pop("where", None)
            return Proof(kind, words, at or where, values)
    return Proof(Kind.EXCEPTION, words, where, {"exception": words})


# Files of Python's and gunicorn's own, which nobody has to correct.
_NOBODYS = re.compile(r"/lib(?:64)?/python[\d.]+/importlib/|/gunicorn/(?:workers|app)/\w+\.py$")
_Rule = Callable[[Trace, str, str, "LastStart | None"], Found]


def _pidfile(trace: Trace, name: str, message: str, _last: LastStart | None) -> Found:
    if not is_in(trace, "gunicorn/pidfile.py") or "Error" not in name:
        return None
    path = re.search(r"'([^']+)'", message)
    values = {"path": path[1].rpartition("/")[0] or "/"} if path else {}
    return (Kind.READ_ONLY if "[Errno 30]" in message else Kind.PIDFILE_FORBIDDEN), values


def _master_files(trace: Trace, name: str, message: str, _last: LastStart | None) -> Found:
    if name == "PermissionError" and is_in(trace, "gunicorn/workers/workertmp.py", "gunicorn/glogging.py"):
        return Kind.NOT_ROOT, {}
    if (call := forbidden_call(trace, name, message)) is not None:
        return Kind.CALL_FORBIDDEN, call
    if match := re.search(r"(\S+) doesn't exist\. Can't create workertmp", message):
        return Kind.WORKER_DIRECTORY, {"path": match[1]}
    if match := re.search(r'(?:certfile|keyfile) "([^"]+)" does not exist', message):
        return Kind.TLS_FILE, {"path": match[1]}
    if match := re.match(r"[Ff]ile ([^ ]+) does not exists?", message):
        return Kind.TLS_FILE, {"path": match[1]}
    return None


def _syntax(trace: Trace, name: str, message: str, _last: LastStart | None) -> Found:
    if name not in ("SyntaxError", "IndentationError", "TabError"):
        return None
    path, line, _ = trace.frames[-1] if trace.frames else ("?", 0, "")
    values = {"where": f"{path}:{line}", "path": path, "line": str(line), "error": f"{name}: {message}"}
    is_encoding = "(unicode error)" in message or "Non-UTF-8 code" in message
    return (Kind.SOURCE_ENCODING if is_encoding else Kind.SYNTAX), values


def _files(_trace: Trace, name: str, message: str, _last: LastStart | None) -> Found:
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
    if name == "PermissionError" and path:
        return Kind.FILE_FORBIDDEN, values
    return None


_INSTALL = re.compile(r"pip3? install (?:-U |--upgrade )?['\"]?([A-Za-z0-9][\w.\[\],-]{0,79})")
_UNINSTALLED = re.compile(
    r"['\"`]?(?P<a>[A-Za-z][\w.-]{0,79})['\"`]? (?:package |library |module )?(?:is|are) not installed"
    r"|requires? (?:the )?['\"`](?P<b>[A-Za-z][\w.-]{0,79})['\"`] (?:package |library )?to be installed"
    r"|[Pp]lease install (?:the )?['\"`]?(?P<c>[A-Za-z][\w.-]{0,79})"
)


def _uninstalled(trace: Trace, _name: str, message: str, _last: LastStart | None) -> Found:
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


def _database(trace: Trace, _name: str, message: str, last: LastStart | None) -> Found:
    words = trace.exception
    if match := _TABLE.search(words):
        return Kind.TABLE, {"table": next(filter(None, match.groups()))}
    if "unable to open database file" in words or "attempt to write a readonly database" in words:
        path = mentioned(trace, last, (".db", ".sqlite", ".sqlite3"))
        return Kind.DATABASE_FILE, {"path": path} if path else {}
    if match := _DATABASE_REFUSES.search(words):
        return Kind.DATABASE_REFUSES, {"detail": message[:200]}
    return None


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


def _data_file(trace: Trace, name: str, message: str, last: LastStart | None) -> Found:
    """Match a file that the application reads, but whose content the parser rejects."""
    endings = _PARSERS.get(name)
    path = mentioned(trace, last, endings) if endings else None
    if path is None:
        return None
    return Kind.DATA_FILE, {"path": path, "detail": f"{name}: {message}"[:300]}


def _port(trace: Trace, _name: str, message: str, last: LastStart | None) -> Found:
    """Match an application that binds a port of its own, already in use, while it is loaded."""
    if "[Errno 98]" not in message or not trace.own or is_in(trace, "gunicorn/sock.py"):
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


def _connection(_trace: Trace, name: str, message: str, _last: LastStart | None) -> Found:
    if name != "ConnectionRefusedError" and not _REFUSED.search(message):
        return None
    peer = _PEER.search(message)
    if peer is None:
        return Kind.CONNECTION, {}
    port = peer["port"] or peer["colon"]
    host = peer["host"].rstrip(".:")
    return Kind.CONNECTION, {"peer": f"{host}:{port}" if port else host}


def _resources(_trace: Trace, name: str, message: str, _last: LastStart | None) -> Found:
    if name == "MemoryError" or "Cannot allocate memory" in message or "DefaultCPUAllocator" in message:
        return Kind.MEMORY, {}
    if name == "UnicodeDecodeError" or name == "UnicodeEncodeError":
        codec = re.match(r"'([\w-]+)' codec", message)
        return Kind.ENCODING, {"codec": codec[1] if codec else "?"}
    if name == "ValueError" and message == "Empty module name":
        return Kind.OPTION, {"detail": "no application is named (MODULE:NAME)"}
    return None


_RULES: tuple[_Rule, ...] = (
    _pidfile, _master_files, damaged_rule, pickled_rule, variable_rule, looked_up_rule, hides_rule, module_rule,
    _uninstalled, import_name_rule, _syntax, _database, _connection, _files, _resources, _port, environment_rule,
    _data_file,
)  # fmt: skip
