"""Redact nginx's configuration: keep all directives' names, and the arguments only of those that checks read.

A configuration has keys in unexpected places: in the lines of a `map`, in the condition of an `if`, in the answer of
a `return`, in the code of an embedded language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from ops.facts.nginx import Directive, NginxConfig
from ops.interpret.content_policy import HEADER
from ops.text.sanitize import HIDDEN
from ops.text.secret_scan.names import Strength
from ops.text.secret_scan.values import is_harmless

# Directives with arguments that a check or the routing of requests reads; a test ensures that these are complete.
JUDGED_DIRECTIVES = frozenset(
    {
        "access_log", "alias", "allow", "auth_basic_user_file", "client_body_timeout",
        "client_header_timeout", "client_max_body_size", "deny",
        "proxy_buffer_size", "proxy_buffering", "proxy_pass_request_headers", "proxy_ssl_name", "proxy_ssl_server_name",
        "proxy_ssl_verify", "proxy_ssl_verify_depth",
        "proxy_cache", "proxy_cache_valid", "underscores_in_headers", "add_header_inherit", "default_type",
        "proxy_hide_header", "proxy_ignore_headers", "types",
        # What a balancer does with a server that fails, which a reader of a bundle wants to know.
        "ip_hash", "keepalive_requests", "keepalive_timeout", "least_conn", "proxy_connect_timeout",
        "proxy_next_upstream", "proxy_next_upstream_timeout", "proxy_next_upstream_tries", "proxy_send_timeout", "zone",
        "error_log", "fastcgi_pass", "grpc_pass", "http", "index",
        "internal", "keepalive", "limit_conn", "limit_conn_status", "limit_conn_zone", "limit_except", "limit_req",
        "limit_req_status", "limit_req_zone", "listen", "location",
        "log_format", "pid", "proxy_http_version", "proxy_intercept_errors", "proxy_pass",
        "proxy_read_timeout", "root", "scgi_pass", "server", "server_name", "ssl", "ssl_certificate",
        "ssl_certificate_key", "ssl_ciphers", "ssl_crl", "ssl_protocols", "ssl_reject_handshake", "try_files",
        "upstream", "user", "uwsgi_pass", "worker_connections", "worker_rlimit_nofile",
        "gzip", "gzip_static", "proxy_cache_methods", "proxy_method", "proxy_pass_request_body",
        "ssl_ecdh_curve",
        "auth_request", "charset", "charset_types", "expires", "open_file_cache", "open_file_cache_valid",
        "override_charset", "real_ip_header", "source_charset",
        "set_real_ip_from", "ssl_stapling", "ssl_verify_client", "worker_shutdown_timeout",
    }
)  # fmt: skip
# Directives with arguments that are read in part: see `_arguments` and `_lookup_line`.
PARTLY_JUDGED = frozenset(
    {
        "add_header",
        "error_page",
        "geo",
        "if",
        "map",
        "proxy_cache_bypass",
        "proxy_cache_key",
        "proxy_no_cache",
        "proxy_set_body",
        "proxy_set_header",
        "return",
        "rewrite",
        "secure_link",
        "set",
        "split_clients",
        "sub_filter",
    }
)
_LOOKUP_BLOCKS = frozenset({"map", "geo", "split_clients"})
_LOOKUP_WORDS = frozenset({"default", "include", "hostnames", "volatile", "ranges", "", "*"})
# The names of variables, and what stands between them.
_OF_VARIABLES = re.compile(r"(?:\$\{?\w+\}?|[-:/|?&. ])+")
# RFC 9111, 5.2.2, and RFC 8246: words of a fixed set, and seconds.
_CACHE_WORD = (
    r"(?:public|private|no-cache|no-store|no-transform|must-revalidate|proxy-revalidate|immutable"
    r"|(?:max-age|s-maxage|stale-while-revalidate|stale-if-error)=\d{1,10})"
)
_CACHE_CONTROL = re.compile(rf"{_CACHE_WORD}(?:\s*,\s*{_CACHE_WORD})*", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[a-z]+/[\w.+-]+")
_CONNECTION_VALUES = frozenset({"", "close", "keep-alive", "upgrade"})
# Headers in which nginx sends the service facts about the client.
_PLAIN_HEADERS = re.compile(
    r"(?i)connection|host|upgrade|x-real-ip|x-forwarded-\w+|x-request-id|accept-encoding|accept|content-type"
)
# Variables that `if` compares with a word of a fixed set, with a user agent, or with a name such as server_name has.
_PLAIN_VARIABLES = frozenset(
    {
        "$host",
        "$http_host",
        "$http_user_agent",
        "$request_method",
        "$scheme",
        "$server_name",
        "$server_port",
        "$server_protocol",
        "$ssl_client_verify",
        "$ssl_protocol",
        "$https",
    }
)
_SWITCH = re.compile(r"on|off|[\d.]{1,6}(?:[kKmMgGsShdwy]|ms)?|\d{3}")
# A pattern of punctuation alone, as of two dots in a path.
_MARKS = re.compile(r"[^\w\s]{1,20}")
_VARIABLES = re.compile(r"\$\{?(\w+)")
_QUERY_VALUE = re.compile(r"(?<==)[^&#\s]+")
_PLAIN_QUERY_VALUE = re.compile(r"[a-z]{0,5}|\$\{?\w+\}?|\d{1,5}")


def redacted_nginx(config: NginxConfig) -> NginxConfig:
    """Return ``config`` with all arguments hidden that are not read."""
    followed = frozenset(_followed(config.directives))
    return msgspec.structs.replace(
        config, directives=tuple(_redacted(directive, followed) for directive in config.directives)
    )


def _followed(directives: tuple[Directive, ...]) -> Iterator[str]:
    """Yield the variables in proxy_pass, and in the Connection header for the service: their values are read."""
    for directive in directives:
        if directive.name == "proxy_pass":
            yield from _VARIABLES.findall(" ".join(directive.args))
        elif directive.name == "proxy_set_header" and directive.args[:1] and _is_connection(directive):
            yield from _VARIABLES.findall(" ".join(directive.args[1:]))
        yield from _followed(directive.block or ())


def _is_connection(directive: Directive) -> bool:
    return directive.args[0].lower() == "connection"


def _redacted(directive: Directive, followed: frozenset[str]) -> Directive:
    block = directive.block
    if block is not None and directive.name in _LOOKUP_BLOCKS:
        is_followed = bool(directive.args) and directive.args[-1].removeprefix("$") in followed
        block = tuple(_lookup_line(line, is_followed) for line in block)
        return msgspec.structs.replace(directive, args=directive.args, block=block)
    return msgspec.structs.replace(
        directive,
        args=_arguments(directive, followed),
        block=None if block is None else tuple(_redacted(inner, followed) for inner in block),
    )


def _lookup_line(line: Directive, is_followed: bool) -> Directive:
    """Redact one line of a `map`: its key is as private as its value."""
    name = line.name if line.name in _LOOKUP_WORDS else HIDDEN
    args = tuple(
        arg if is_followed and (arg.lower() in _CONNECTION_VALUES or arg.startswith("$")) else _hidden(arg)
        for arg in line.args
    )
    return msgspec.structs.replace(line, name=name, args=args)


def _arguments(directive: Directive, followed: frozenset[str]) -> tuple[str, ...]:
    name, args = directive.name, directive.args
    if name in JUDGED_DIRECTIVES:
        return args
    match name:
        case "if" if args[:1] and args[0].lstrip("(") not in _PLAIN_VARIABLES:
            return (
                args[0],
                *(arg if len(arg) <= 3 or _MARKS.fullmatch(arg) else _hidden(arg) for arg in args[1:]),
            )
        case "if":
            return args
        case "return" | "rewrite" | "error_page":
            return tuple(_without_query(arg) if _is_target(arg, name) else _hidden(arg) for arg in args)
        case "proxy_set_header" if len(args) == 2:
            is_plain = _PLAIN_HEADERS.fullmatch(args[0]) or _OF_VARIABLES.fullmatch(args[1])
            return (
                args if is_plain or is_harmless(args[1], Strength.PASSWORD) else (args[0], _hidden(args[1]))
            )
        case "add_header" if args[:1] and args[0].lower() in ("referrer-policy", HEADER):
            return args
        case "add_header" if len(args) > 1 and args[0].lower() == "cache-control":
            return args if _CACHE_CONTROL.fullmatch(args[1]) else (args[0], *map(_hidden, args[1:]))
        case "add_header" if args:
            return (args[0], *(arg if arg == "always" else _hidden(arg) for arg in args[1:]))
        case "proxy_cache_key" | "proxy_cache_bypass" | "proxy_no_cache" | "proxy_set_body":
            return tuple(arg if _OF_VARIABLES.fullmatch(arg) else _hidden(arg) for arg in args)
        case _ if _MEDIA_TYPE.fullmatch(name):
            return args  # a line of types
        case "set" if len(args) == 2:
            return args if args[0].removeprefix("$") in followed else (args[0], _hidden(args[1]))
    return tuple(map(_hidden, args))


def _is_target(argument: str, name: str) -> bool:
    """Whether an argument is a status, a URL or a path, or for `rewrite` the pattern or the flag."""
    return argument.startswith(("http://", "https://", "/", "$", "@", "=")) or (
        name == "rewrite" and (argument.startswith("^") or argument.isalpha())
    )


def _without_query(argument: str) -> str:
    path, mark, query = argument.partition("?")
    if not mark or argument.startswith("^"):
        return argument
    plain = _QUERY_VALUE.sub(lambda m: m[0] if _PLAIN_QUERY_VALUE.fullmatch(m[0]) else HIDDEN, query)
    return f"{path}?{plain}"


def _hidden(argument: str) -> str:
    """Hide an argument, except switches, sizes and times, which contain no secret."""
    return argument if _SWITCH.fullmatch(argument) or not argument else HIDDEN
