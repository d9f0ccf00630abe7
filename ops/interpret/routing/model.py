"""The parts of a route: the request, the facts outside the configuration, the steps, the outcome.

URIs, patterns and values are kept as nginx sees them, byte by byte: each character of the str is one byte
(`as_bytes`). `as_text` converts it back to text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ops.interpret.nginx import Scope
from ops.text.language import Text, verbatim


def as_bytes(words: str) -> str:
    """Return ``words`` as nginx reads them: one character for each byte of their UTF-8 form."""
    return words.encode("utf-8", "surrogateescape").decode("latin-1")


_WRITTEN_ESCAPE = re.compile(r"\\([tnr\"'\\])")
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r"}


def unescaped(argument: str) -> str:
    """Return an argument with the escapes of nginx's configuration resolved (ngx_conf_read_token)."""
    if "\\" not in argument:
        return argument
    return _WRITTEN_ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), argument)


def as_text(value: str) -> str:
    """Return a value of nginx's as text, with bytes that are not UTF-8 as escapes."""
    return value.encode("latin-1", "replace").decode("utf-8", "backslashreplace")


class StepKind(StrEnum):
    """The subject of a step."""

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
    """One step of nginx's. ``where``: ``file:line`` of the directive that decides it, empty if a default does."""

    kind: StepKind
    where: str
    words: Text


class OutcomeKind(StrEnum):
    """The kind of a request's end at nginx."""

    RESPONSE = "response"  # nginx itself answers
    FILE = "file"  # nginx sends a file
    PROXIED = "proxied"
    CLOSED = "closed"  # without an answer
    NO_LISTENER = "no listener"
    TLS_TO_PLAIN = "tls to a plain port"
    UNKNOWN = "unknown"


class FileKind(StrEnum):
    """The kind of a path."""

    FILE = "file"
    DIRECTORY = "directory"
    MISSING = "missing"
    FORBIDDEN = "forbidden"


class RoutedRequest(msgspec.Struct, frozen=True):
    """One request as a client sends it.

    ``target``: the request line's target as sent (``/predict?x=1``); ``headers``: without Host, which is ``host``
    (None: no Host header, as HTTP/1.0 allows); ``sni``: the name in the TLS handshake (None: none is sent);
    ``client``: its address as nginx sees it (None: not known); ``body_length``: in bytes (None: no body)."""

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
    """The facts outside the configuration that decide a route.

    ``names``: each host name's addresses by the system's resolver, which nginx asks at its start; ``files``: the kind
    of each inspected path; ``assumed_file``: the kind assumed for every other path (None: the route stops there).
    ``answers``: the status that the service at each address answers, 0 if nothing accepts the connection; ``answer``:
    that of every other address (None: the route ends there)."""

    names: Mapping[str, tuple[str, ...]] = {}
    files: Mapping[str, FileKind] = {}
    assumed_file: FileKind | None = None
    answers: Mapping[str, int] = {}
    answer: int | None = None
    hostname: str | None = None


class UpstreamServer(msgspec.Struct, frozen=True):
    """One address that requests are sent to. ``where``: its ``file:line``; ``parameters``: as in the configuration."""

    address: str
    where: str
    name: str
    parameters: tuple[str, ...] = ()
    is_down: bool = False
    is_backup: bool = False
    max_fails: int = 1


class Header(msgspec.Struct, frozen=True):
    """A header sent to the service. ``value``: None if known only at run time; ``written``: its configured value."""

    name: str
    value: str | None
    written: str
    where: str


class Passed(msgspec.Struct, frozen=True):
    """A request as it is sent on. ``uri``: the request target that the service gets; ``scheme``: http, https, grpc,
    grpcs, fastcgi, uwsgi, scgi, memcached. ``is_path_replaced``: the directive's URI replaced the location's prefix.
    ``upstream``: the name of the upstream block, None without one."""

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
    """The first decision about the answer, before any error_page: a return, access control, a limit, a file, or the
    service (`StepKind.PROXY`). ``status``: the status that it answers; None: the service's."""

    kind: StepKind
    where: str
    status: int | None


class Limit(msgspec.Struct, frozen=True):
    """A limit or time-out in force. ``where``: empty for nginx's default."""

    name: str
    value: str
    where: str


class RouteOutcome(msgspec.Struct, frozen=True):
    """The end of a route. ``status``: the client's; ``where``: ``file:line`` of the directive that decided it;
    ``location``: of a redirect; ``path``: of a file; ``reason``: why the end is unknown, or the cause of the status."""

    kind: OutcomeKind
    status: int | None = None
    where: str = ""
    location: str | None = None
    body: str | None = None
    path: str | None = None
    reason: Text = verbatim("")
    passed: Passed | None = None


class RequestRoute(msgspec.Struct, frozen=True):
    """nginx's handling of ``request``: ``steps`` in order, and ``outcome``. ``server_where`` and ``location_where``:
    ``file:line`` of the last blocks used; ``rivals``: ``file:line`` of server blocks that also claim the name, which
    nginx ignores; ``asked``: files that decide the route, but were not inspected; ``passed``: the request as it was
    last sent on, even if nginx then answered a failure itself."""

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
    """The configuration does not determine the next step. ``reason``: why; ``where``: the directive's ``file:line``."""

    def __init__(self, reason: Text, where: str = "") -> None:
        super().__init__(reason.en)
        self.reason = reason
        self.where = where


def first_argument(scope: Scope, name: str, default: str) -> tuple[str, str]:
    """Return the first argument of the directive ``name`` in force, and its ``file:line`` (empty: the default)."""
    directives = [d for d in scope.effective(name) if d.args]
    return (directives[-1].args[0], directives[-1].where) if directives else (default, "")


def is_on(scope: Scope, name: str, default: bool) -> bool:
    """Whether the flag ``name`` is on."""
    return first_argument(scope, name, "on" if default else "off")[0] == "on"
