"""Find the routes of the application's source whose answers it marks as one user's or not to be kept, if clients ask
for them.

The source is searched, never run. Sources: RFC 9111, 5.2.2 (private, no-store); documentation of Flask, Starlette,
Django."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.collect.logs.application_source import MAX_ROUTES, ApplicationSource, SourceFile
from ops.collect.logs.websocket_routes import route_pattern
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import PrivateRoute
from ops.text.sanitize import safe_line

_ROUTE = re.compile(r"""^(\s*)@[\w.]+\.(?:get|route|api_route)\(\s*["'](/[^"'\n]{0,200})["']""")
_DEFINITION = re.compile(r"\s*(?:async )?def ")
_MARKS = {
    "cache-control": re.compile(
        r"""(?i)cache[-_]control["'\]]*\s*[=:,(\]].{0,300}\b(?:private|no-store)\b|cache_control\.(?:private|no_store)\s*=\s*True"""
        r"""|@cache_control\(.{0,300}\b(?:private|no_store)\s*=\s*True|@never_cache\b"""
    ),
    "set-cookie": re.compile(r"\.set_cookie\("),
}


def private_routes(source: ApplicationSource, log: AccessLog | NotSeen) -> tuple[PrivateRoute, ...]:
    """Return the marks of the routes for which the log has answers."""
    if isinstance(log, NotSeen) or log.traffic is None:
        return ()
    asked = {item.path for item in log.traffic.answers if item.method == "GET" and item.status == "200"}
    routes: list[PrivateRoute] = []
    for file in source.files if asked else ():
        routes += (
            route for route in _routes_in(file) if any(map(re.compile(f"{route.pattern}/?").fullmatch, asked))
        )
        if len(routes) >= MAX_ROUTES:
            break
    return tuple(routes[:MAX_ROUTES])


def _routes_in(file: SourceFile) -> Iterator[PrivateRoute]:
    for pattern, number, line in lines_of_routes(file):
        for mark, words in _MARKS.items():
            if words.search(line):
                yield PrivateRoute(
                    pattern=safe_line(pattern, 400),
                    mark=mark,
                    where=safe_line(file.place(number), 1000),
                    written=safe_line(line.strip(), 200),
                )


def lines_of_routes(file: SourceFile) -> Iterator[tuple[str, int, str]]:
    """Yield the lines of the functions of routes, with the route's pattern and their numbers, without comments."""
    if "@" not in file.text:
        return
    pattern, depth, is_inside = "", 0, False
    for number, line in file.lines:
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if match := _ROUTE.match(line):
            pattern, depth, is_inside = route_pattern(match[2]), len(match[1]), False
        elif pattern and len(line) - len(line.lstrip()) <= depth:
            if is_inside and not words.startswith((")", "]", "}")):
                pattern = ""  # the function has ended
            is_inside = is_inside or _DEFINITION.match(line) is not None
        if pattern:
            yield pattern, number, words
