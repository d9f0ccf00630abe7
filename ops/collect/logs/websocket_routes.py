"""Find the WebSocket routes that the application's source declares, if clients are refused where such a route may be.

The source is searched, never run. Sources: documentation of FastAPI, Starlette, Quart, Sanic, flask-sock, Django
Channels, python-socketio."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.collect.logs.application_source import MAX_ROUTES, ApplicationSource, SourceFile
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import Answers, WebSocketRoute
from ops.interpret.traffic import answers_in
from ops.text.sanitize import safe_line

# What servers and frameworks answer to a handshake that came without Upgrade.
REFUSED = ("400", "404", "405", "426", "500")
_LIKELY = re.compile(
    r"(?:^|[/._-])(?:ws|wss|websockets?|sockets?|socket\.io|live|cable|chat|stream)(?:[/._-]|$)"
)
_DECLARED = re.compile(
    r"""(?:\.(?:websocket|websocket_route|add_websocket_route|add_api_websocket_route)|WebSocketRoute|\bsock\.route)"""
    r"""\(\s*["'](/[^"'\n]{0,200})["']"""
)
_CHANNELS = re.compile(r"""\b(?:re_)?path\(\s*r?["']([^"'\n]{1,200})["']\s*,\s*[\w.]+\.as_asgi\(""")
_SOCKET_IO = re.compile(r"\b(?:SocketIO|socketio\.(?:Async)?Server)\(")

_PARAMETER = re.compile(r"\{[^}]{0,200}\}|<[^>]{0,200}>|\(\?P[^)]{0,200}\){1,9}")


def websocket_routes(
    source: ApplicationSource, logs: tuple[AccessLog | NotSeen, ...]
) -> tuple[WebSocketRoute, ...]:
    """Return the routes, if any of ``logs`` has refused GET requests for a path that may be a WebSocket's."""
    if not any(_is_refused(answers) and _is_likely(answers) for answers in answers_in(logs)):
        return ()
    routes: list[WebSocketRoute] = []
    for file in source.files:
        routes += _routes_in(file)
        if len(routes) >= MAX_ROUTES:
            break
    return tuple(routes[:MAX_ROUTES])


def _is_refused(answers: Answers) -> bool:
    return answers.method == "GET" and answers.status in REFUSED


def _is_likely(answers: Answers) -> bool:
    return _LIKELY.search(answers.path.lower()) is not None


def _routes_in(file: SourceFile) -> Iterator[WebSocketRoute]:
    text = file.text
    if "socket" not in text.lower() and ".as_asgi(" not in text and "sock." not in text:
        return
    for number, line in file.lines:
        declaration = _DECLARED.search(line)
        channel = None if declaration else _CHANNELS.search(line)
        if declaration:
            pattern = route_pattern(declaration[1])
        elif channel:
            pattern = route_pattern(channel[1].strip("^$"))
        elif _SOCKET_IO.search(line):
            pattern = "/socket\\.io"
        else:
            continue
        yield WebSocketRoute(
            pattern=safe_line(pattern, 400),
            where=safe_line(file.place(number), 1000),
            written=safe_line(line.strip(), 200),
        )


def route_pattern(route: str) -> str:
    """A regular expression for the end of a path: parameters ({id}, <id>, a named group) match one part of it. A part
    of several parameters is known by what stands before the first and behind the last: that takes one try a place."""
    patterns = []
    for part in _PARAMETER.sub("\0", route).split("/"):
        first, *others = part.split("\0")
        patterns.append(f"{re.escape(first)}[^/]+{re.escape(others[-1])}" if others else re.escape(first))
    return "/".join(patterns).rstrip("/")
