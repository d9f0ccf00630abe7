"""WebSocket routes in the application's source, looked for only where clients were refused."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from ops.collect.logs.application_source import ApplicationSource
from ops.collect.logs.websocket_routes import websocket_routes
from ops.facts.logs import AccessLog
from ops.facts.traffic import WebSocketRoute
from tests.unit.made_snapshot import NGINX_ACCESS_LOG, access_log, answered, traffic


def refused_at(path: str, status: str = "404", method: str = "GET") -> AccessLog:
    requests = traffic(answered(status, 3, path=path, method=method))
    return msgspec.structs.replace(access_log(NGINX_ACCESS_LOG, {}), traffic=requests)


def routes(tmp_path: Path, source: str, path: str = "/ws") -> tuple[WebSocketRoute, ...]:
    (tmp_path / "app.py").write_text(source)
    return websocket_routes(ApplicationSource(str(tmp_path)), (refused_at(path),))


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ('# a websocket\n@app.websocket("/ws")', "/ws"),
        ('routes = [WebSocketRoute("/ws/{room}", chat)]', "/api/ws/*"),
        ("from flask_sock import Sock\n@sock.route('/echo/ws')", "/echo/ws"),
        ('re_path(r"^ws/chat/(?P<room>[^/]+)/$", ChatConsumer.as_asgi())', "/ws/chat/*/"),
        ("sio = socketio.AsyncServer(async_mode='asgi')", "/socket.io/"),
    ],
)
def test_a_route_of_any_framework_is_known(tmp_path: Path, source: str, path: str) -> None:
    (route,) = routes(tmp_path, source, path)
    assert re.search(rf"{route.pattern}/?$", path)
    assert route.where == f"{tmp_path}/app.py:{source.count(chr(10)) + 1}"


@pytest.mark.parametrize("source", ['@app.get("/ws")', "# no websocket here", 'path("ws", views.page)'])
def test_other_routes_are_not(tmp_path: Path, source: str) -> None:
    assert routes(tmp_path, source) == ()


@pytest.mark.parametrize(
    "log", [refused_at("/predict"), refused_at("/ws", "200"), refused_at("/ws", method="POST")]
)
def test_nothing_is_read_where_nobody_was_refused_at_such_a_path(tmp_path: Path, log: AccessLog) -> None:
    (tmp_path / "app.py").write_text('@app.websocket("/ws")')
    assert websocket_routes(ApplicationSource(str(tmp_path)), (log,)) == ()


def test_installed_packages_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "app.py").write_text('@app.websocket("/ws")')
    assert websocket_routes(ApplicationSource(str(tmp_path)), (refused_at("/ws"),)) == ()
