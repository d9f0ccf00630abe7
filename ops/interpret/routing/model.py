"""What a route is made of: the request, what is known beside the configuration, the steps, the end.

URIs, patterns and values are kept as nginx sees them, byte by byte: a str whose every character is one byte
(`as_bytes`). `as_text` makes words of it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ops.facts.nginx import Directive
from ops.interpret.nginx import Scope
from ops.text.language import Text, verbatim


def as_bytes(words: str) -> str:
    """``words`` as nginx reads them: one character a byte of their UTF-8 form."""
    return words.encode("utf-8", "surrogateescape").decode("latin-1")


_WRITTEN_ESCAPE = re.compile(r"\\([tnr\"'\\])")
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r"}


def unescaped(written: str) -> str:
    """An argument as nginx takes it: the escapes that it knows in its configuration resolved (ngx_conf_read_token)."""
    if "\\" not in written:
        return written
    return _WRITTEN_ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), written)


def as_text(value: str) -> str:
    """A value of nginx's as words; bytes that are no UTF-8 are shown as escapes."""
    return value.encode("latin-1", "replace").decode("utf-8", "backslashreplace")


class StepKind(StrEnum):
    """What a step is about."""

    LISTEN = "listen"
    SERVER = "server"
    URI = "uri"
    LOCATION = "location"
    REWRITE = "rewrite"
    SET = "set"
    IF = "if"
    RETURN = "return"
    LIMIT = "limit"
    ACCESS = "access"
    TRY_FILES = "try_files"
    INDEX = "index"
    REDIRECT = "internal redirect"
    ERROR_PAGE = "error_page"
    FILE = "file"
    PROXY = "proxy"
    UPSTREAM = "upstream"
    HEADER = "header"
    ASSUMED = "assumed"
    UNKNOWN = "unknown"


class RouteStep(msgspec.Struct, frozen=True):
    """One step of nginx's. ``where``: ``file:line`` of what decides it, empty where a default does."""

    kind: StepKind
    where: str
    words: Text


class OutcomeKind(StrEnum):
    """How a request ends at nginx."""

    RESPONSE = "response"  # nginx answers by itself
    FILE = "file"  # a file is sent
    PROXIED = "proxied"
    CLOSED = "closed"  # without an answer
    NO_LISTENER = "no listener"
    TLS_TO_PLAIN = "tls to a plain port"
    UNKNOWN = "unknown"


class FileKind(StrEnum):
    """What is at a path."""

    FILE = "file"
    DIRECTORY = "directory"
    MISSING = "missing"
    FORBIDDEN = "forbidden"


class RoutedRequest(msgspec.Struct, frozen=True):
    """One request as a client sends it.

    ``target``: the request line's target as sent (``/predict?x=1``); ``headers``: without Host, which is ``host``
    (None: HTTP/1.0 without any); ``sni``: the name of the TLS handshake (None: none is sent); ``client``: its address
    as nginx sees it (None: not known); ``body_length``: of the body, bytes (None: no body)."""

    method: str
    target: str
    host: str | None
    address: str
    port: int
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = ()
    sni: str | None = None
    client: str | None = None
    body_length: int | None = None
    protocol: str = "HTTP/1.1"


class RouteSurroundings(msgspec.Struct, frozen=True):
    """What decides beside the configuration.

    ``names``: the addresses each host name has by the system's resolver, as nginx asked it at its start; ``files``:
    what is at each path that was looked at; ``assumed_file``: what is taken to be at every other one (None: the route
    stops there). ``answers``: the status that the service at each address answers, 0 where nobody takes the
    connection; ``answer``: that of every other one (None: the route ends there)."""

    names: Mapping[str, tuple[str, ...]] = {}
    files: Mapping[str, FileKind] = {}
    assumed_file: FileKind | None = None
    answers: Mapping[str, int] = {}
    answer: int | None = None
    hostname: str | None = None


class UpstreamServer(msgspec.Struct, frozen=True):
    """One address requests are sent to. ``where``: ``file:line`` that names it; ``parameters``: as they are written."""

    address: str
    where: str
    name: str
    parameters: tuple[str, ...] = ()
    is_down: bool = False
    is_backup: bool = False
    max_fails: int = 1


class Header(msgspec.Struct, frozen=True):
    """A header sent to the service. ``value`` None: known only at run time, ``written`` says by what."""

    name: str
    value: str | None
    written: str
    where: str


class Passed(msgspec.Struct, frozen=True):
    """How a request is sent on. ``uri`` is the request target that the service gets; ``scheme``: http, https, grpc,
    grpcs, fastcgi, uwsgi, suwsgi, scgi, memcached. ``is_path_replaced``: the location's prefix was replaced by the URI
    that the directive names. ``upstream``: the name of the upstream block, None where there is none."""

    directive: str
    where: str
    written: str
    scheme: str
    method: str
    uri: str
    host: str
    servers: tuple[UpstreamServer, ...]
    headers: tuple[Header, ...] = ()
    upstream: str | None = None
    upstream_where: str = ""
    is_path_replaced: bool = False
    resolved_at: str = "start"


class Decision(msgspec.Struct, frozen=True):
    """What first decided the answer, whatever an error_page made of it: a return, who is let in, a limit, a file, or
    the service (`StepKind.PROXY`). ``status``: what it answers; None: the service's."""

    kind: StepKind
    where: str
    status: int | None


class Limit(msgspec.Struct, frozen=True):
    """A limit or time-out in force. ``where`` is empty where the default of nginx is."""

    name: str
    value: str
    where: str


class RouteOutcome(msgspec.Struct, frozen=True):
    """The end of a route. ``status``: what the client gets; ``where``: ``file:line`` of what decided it; ``location``:
    of a redirect; ``path``: of a file; ``reason``: why it is not known, or what is behind the status."""

    kind: OutcomeKind
    status: int | None = None
    where: str = ""
    location: str | None = None
    body: str | None = None
    path: str | None = None
    reason: Text = verbatim("")
    passed: Passed | None = None


class RequestRoute(msgspec.Struct, frozen=True):
    """What nginx does with ``request``: ``steps`` in order, and ``outcome``. ``listen_where``, ``server_where`` and
    ``location_where``: ``file:line`` of those last used; ``rivals``: ``file:line`` of server blocks whose claim to the
    same name nginx ignores; ``asked``: the files whose presence decides and that were not
    looked at; ``passed``: the last time it was sent on, also where its failure was answered otherwise."""

    request: RoutedRequest
    steps: tuple[RouteStep, ...]
    outcome: RouteOutcome
    server_where: str = ""
    server_names: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    decision: Decision | None = None
    location_where: str = ""
    location: str = ""
    limits: tuple[Limit, ...] = ()
    asked: tuple[str, ...] = ()
    passed: Passed | None = None


class UndeterminedError(Exception):
    """What decides here cannot be known from the configuration: why, and where it stands."""

    def __init__(self, reason: Text, where: str = "") -> None:
        super().__init__(reason.en)
        self.reason = reason
        self.where = where


def place(directive: Directive) -> str:
    """``file:line``."""
    return f"{directive.file}:{directive.line}"


def first_argument(scope: Scope, name: str, default: str) -> tuple[str, str]:
    """The first argument of the directive ``name`` in force, and where it stands (empty: the default)."""
    directives = [d for d in scope.effective(name) if d.args]
    return (directives[-1].args[0], place(directives[-1])) if directives else (default, "")


def is_on(scope: Scope, name: str, default: bool) -> bool:
    """Whether the flag ``name`` is on."""
    return first_argument(scope, name, "on" if default else "off")[0] == "on"
