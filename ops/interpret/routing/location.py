"""Which location handles a path: exact, longest prefix (final with ^~), first regular expression, nested ones inside.

Sources: nginx documentation, ngx_http_core_module (location); ngx_http_core_find_location.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ops.interpret.nginx import Location, Scope, child_locations
from ops.interpret.routing.model import as_bytes
from ops.interpret.routing.patterns import Found

# Directives that make a location of its own kind of handler: the last one in a block counts.
HANDLERS = (
    "proxy_pass",
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "grpc_pass",
    "memcached_pass",
)
OTHER_HANDLERS = (
    "stub_status",
    "empty_gif",
    "flv",
    "mp4",
    "hls",
    "api",
    "perl",
    "js_content",
    "content_by_lua",
    "content_by_lua_block",
    "content_by_lua_file",
    "passenger_enabled",
    "return_by_lua",
    "tunnel_pass",
)


class Search(Protocol):
    """`Variables.search`: what a pattern captures stays captured."""

    def __call__(self, pattern: str, subject: str, *, ignore_case: bool, where: str) -> Found | None:
        """What ``pattern`` captures in ``subject``; None where it does not match."""


class Match(msgspec.Struct, frozen=True):
    """The location of a path; None where the server's own level handles it. ``is_redirect``: nginx answers the path
    without its last slash with a redirect to the location."""

    location: Location | None
    is_redirect: bool = False


def find_location(scope: Scope, uri: str, search: Search) -> Match:
    """The location inside ``scope`` for the decoded path ``uri`` (bytes). Raises UndeterminedError."""
    return _find(scope, uri, search) or Match(None)


def _find(scope: Scope, uri: str, search: Search) -> Match | None:
    children = child_locations(scope)
    static = _static(children, uri)
    if static is not None and (static.is_redirect or (static.location and static.location.modifier == "=")):
        return static
    final = False
    if static is not None and static.location is not None:
        final = static.location.modifier == "^~"
        inner = _find(static.location, uri, search)
        if inner is not None and (inner.is_redirect or (inner.location and inner.location.modifier == "=")):
            return inner
        static = inner or static
    if not final:
        for location in children:
            if location.modifier in ("~", "~*"):
                ignore_case = location.modifier == "~*"
                found = search(location.pattern, uri, ignore_case=ignore_case, where=location.where)
                if found is not None:
                    inner = _find(location, uri, search)
                    return Match(inner.location if inner else location, bool(inner and inner.is_redirect))
    return static


def _static(children: tuple[Location, ...], uri: str) -> Match | None:
    """The exact location, the prefix location, or the one that is the path with a slash behind it and sends requests
    on."""
    exact = next((x for x in children if x.modifier == "=" and as_bytes(x.pattern) == uri), None)
    if exact is not None:
        return Match(exact)
    prefixes = [x for x in children if x.modifier in ("", "^~") and not x.pattern.startswith("@")]
    whole = next((x for x in prefixes if as_bytes(x.pattern) == uri), None)
    if whole is not None:
        return Match(whole)
    behind = [x for x in children if x.modifier in ("=", "", "^~") and as_bytes(x.pattern) == f"{uri}/"]
    if any(_sends_on(x) for x in behind):
        exact_first = sorted(behind, key=lambda x: x.modifier != "=")
        return Match(exact_first[0], is_redirect=True)
    longest = max(
        (x for x in prefixes if uri.startswith(as_bytes(x.pattern))),
        key=lambda x: len(as_bytes(x.pattern)),
        default=None,
    )
    return None if longest is None else Match(longest)


def _sends_on(location: Location) -> bool:
    return any(d.name in HANDLERS for d in location.blocks[0].block or ())


def named_location(server: Scope, name: str) -> Location | None:
    """The location ``@name`` of a server block."""
    return next((x for x in child_locations(server) if not x.modifier and x.pattern == name), None)
