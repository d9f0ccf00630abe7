"""Find the WebSocket routes that the application's source declares, if clients are refused where such a route may be.

The source is searched, never run. Sources: documentation of FastAPI, Starlette, Quart, Sanic, flask-sock, Django
Channels, python-socketio."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import Answers, WebSocketRoute
from ops.files.bounded_read import read_regular_file
from ops.text.sanitize import safe_line

# What servers and frameworks answer to a handshake that came without Upgrade.
REFUSED = ("400", "404", "405", "426", "500")
MAX_FILES = 300
MAX_DIRECTORIES = 200
MAX_FILE_BYTES = 256 << 10
MAX_ROUTES = 20
_LIKELY = re.compile(
    r"(?:^|[/._-])(?:ws|wss|websockets?|sockets?|socket\.io|live|cable|chat|stream)(?:[/._-]|$)"
)
_NOT_SOURCE = frozenset(
    {
        "node_modules",
        "__pycache__",
        "venv",
        ".venv",
        "env",
        "site-packages",
        "static",
        "media",
        "tests",
        ".git",
    }
)
_DECLARED = re.compile(
    r"""(?:\.(?:websocket|websocket_route|add_websocket_route|add_api_websocket_route)|WebSocketRoute|\bsock\.route)"""
    r"""\(\s*["'](/[^"'\n]{0,200})["']"""
)
_CHANNELS = re.compile(r"""\b(?:re_)?path\(\s*r?["']([^"'\n]{1,200})["']\s*,\s*[\w.]+\.as_asgi\(""")
_SOCKET_IO = re.compile(r"\b(?:SocketIO|socketio\.(?:Async)?Server)\(")


def websocket_routes(app_dir: str, logs: tuple[AccessLog | NotSeen, ...]) -> tuple[WebSocketRoute, ...]:
    """Return the routes, if any of ``logs`` has refused GET requests for a path that may be a WebSocket's."""
    if not app_dir or not any(_is_likely(answers) for log in logs for answers in _refused(log)):
        return ()
    routes: list[WebSocketRoute] = []
    for path in sources(app_dir):
        routes += _routes_in(path)
        if len(routes) >= MAX_ROUTES:
            break
    return tuple(routes[:MAX_ROUTES])


def _refused(log: AccessLog | NotSeen) -> Iterator[Answers]:
    if isinstance(log, AccessLog) and log.traffic is not None:
        yield from (item for item in log.traffic.answers if item.method == "GET" and item.status in REFUSED)


def _is_likely(answers: Answers) -> bool:
    return _LIKELY.search(answers.path.lower()) is not None


def sources(app_dir: str) -> Iterator[Path]:
    """Yield the files of the application's own source, within bounds."""
    files = 0
    for directories, (directory, names, file_names) in enumerate(os.walk(app_dir), 1):
        names[:] = sorted(name for name in names if name not in _NOT_SOURCE)
        for name in sorted(file_names):
            if name.endswith(".py"):
                files += 1
                yield Path(directory) / name
        if files >= MAX_FILES or directories >= MAX_DIRECTORIES:
            return


def _routes_in(path: Path) -> Iterator[WebSocketRoute]:
    try:
        text = read_regular_file(str(path), MAX_FILE_BYTES).content.decode("utf-8", "replace")
    except (OSError, ValueError):
        return
    if "socket" not in text.lower() and ".as_asgi(" not in text and "sock." not in text:
        return
    for number, line in enumerate(text.splitlines(), 1):
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
            where=safe_line(f"{path}:{number}", 1000),
            written=safe_line(line.strip(), 200),
        )


def route_pattern(route: str) -> str:
    """A regular expression for the end of a path: parameters ({id}, <id>, a named group) match one part of it."""
    parts = re.split(r"\{[^}]*\}|<[^>]*>|\(\?P[^)]*\)+", route)
    return "[^/]+".join(map(re.escape, parts)).rstrip("/")
