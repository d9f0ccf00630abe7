"""Find the location for a path: exact, longest prefix (final with ^~), first regular expression, then nested ones.

Sources: nginx documentation, ngx_http_core_module (location); ngx_http_core_find_location.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ops.interpret.nginx import Location, Scope, child_locations
from ops.interpret.routing.model import as_bytes
from ops.interpret.routing.patterns import PatternMatch

# Directives that send requests on; the last one in a block applies.
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
    """The type of `Variables.search`, which keeps the captures of a match as variables."""

    def __call__(self, pattern: str, subject: str, *, ignore_case: bool, where: str) -> PatternMatch | None:
        """Return the captures of ``pattern`` in ``subject``; None if it does not match."""


class Match(msgspec.Struct, frozen=True):
    """The location of a path; None if the server block itself handles it. ``is_redirect``: the path lacks the
    location's last slash, and nginx redirects to the location; ``is_final``: nginx tries no further regular
    expression of the outer levels."""

    location: Location | None
    is_redirect: bool = False
    is_final: bool = False


def find_location(scope: Scope, uri: str, search: Search) -> Match:
    """Return the location inside ``scope`` for the decoded path ``uri`` (bytes). Raises UndeterminedError."""
    return _find(scope, uri, search) or Match(None)


def _find(scope: Scope, uri: str, search: Search) -> Match | None:
    children = child_locations(scope)
    match = _static(children, uri)
    is_no_regex = False
    if match is not None and match.location is not None and not match.is_final:
        is_no_regex = match.location.modifier == "^~"
        match = _find(match.location, uri, search) or match
    if match is not None and match.is_final:
        return match
    for location in () if is_no_regex else children:
        if location.modifier in ("~", "~*"):
            ignore_case = location.modifier == "~*"
            if search(location.pattern, uri, ignore_case=ignore_case, where=location.where) is not None:
                inner = _find(location, uri, search) or Match(location)
                return Match(inner.location, inner.is_redirect, is_final=True)
    return match


def _static(children: tuple[Location, ...], uri: str) -> Match | None:
    """Return the exact location, the longest prefix location, or one that sends requests on and equals the path plus
    a slash."""
    exact = next((x for x in children if x.modifier == "=" and as_bytes(x.pattern) == uri), None)
    if exact is not None:
        return Match(exact, is_final=True)
    prefixes = [x for x in children if x.modifier in ("", "^~") and not x.pattern.startswith("@")]
    whole = next((x for x in prefixes if as_bytes(x.pattern) == uri), None)
    if whole is not None:
        return Match(whole)
    behind = [x for x in children if x.modifier in ("=", "", "^~") and as_bytes(x.pattern) == f"{uri}/"]
    if any(_sends_on(x) for x in behind):
        exact_first = sorted(behind, key=lambda x: x.modifier != "=")
        return Match(exact_first[0], is_redirect=True, is_final=True)
    longest = max(
        (x for x in prefixes if uri.startswith(as_bytes(x.pattern))),
        key=lambda x: len(as_bytes(x.pattern)),
        default=None,
    )
    return None if longest is None else Match(longest)


def _sends_on(location: Location) -> bool:
    return any(d.name in HANDLERS for d in location.blocks[0].block or ())


def named_location(server: Scope, name: str) -> Location | None:
    """Return the location ``@name`` of a server block."""
    return next((x for x in child_locations(server) if not x.modifier and x.pattern == name), None)
