"""Other applications, other workers, other servers."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys

from tests.lab.applications import FASTAPI, UVICORN_WORKER, Application, write_minimal_config
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers
from tests.lab.reported.case import Kind, report
from tests.lab.stack import Stack

SLASHED_APP = FASTAPI.replace('@app.post("/predict")', '@app.post("/predict/")')

LIMITED_APP = (
    FASTAPI
    + """

from uvicorn.workers import UvicornWorker


class LimitedWorker(UvicornWorker):
    CONFIG_KWARGS = {"limit_concurrency": 1}
"""
)

SOCKET_APP = (
    FASTAPI
    + """

from fastapi import WebSocket


@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    await socket.close()
"""
)

REMOTE_USER_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.before_request
def user():
    if request.path != "/health" and "HTTP_REMOTE_USER" not in request.environ:
        return jsonify(detail="no user"), 403
"""
)


def _is_sent_to_http(stack: Stack) -> bool:
    answer = stack.predict()
    return answer.status == 307 and str(answer.headers["Location"]).startswith("http://")


@report(
    Kind.APPLICATION,
    "eneo-ai/eneo#871",
    sees=_is_sent_to_http,
    repair=lambda stack: stack.edit(
        stack.app_file, '@app.post("/predict/")', '@app.post("/predict")\n@app.post("/predict/")'
    ),
    codes=("NGX014", "NGX013", "APP007", "APP003"),
    says=("http://", "/predict/", "forwarded_allow_ips"),
    app=SLASHED_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
    gunicorn_extra='forwarded_allow_ips = "10.0.0.1"\n',
)
def redirect_to_the_slash_leaves_https(_stack: Stack) -> None:
    """fastapi#4990, project-zeno#333: uvicorn does not believe this proxy's X-Forwarded-Proto, and sends to http://."""


def _no_limit(stack: Stack) -> None:
    stack.edit(stack.app_file, '"limit_concurrency": 1', '"limit_concurrency": 100')


@report(
    Kind.APPLICATION,
    "scaleapi/llm-engine#249",
    sees=answers(503),
    repair=_no_limit,
    codes=(),
    says=("Exceeded concurrency limit", "limit_concurrency"),
    app=LIMITED_APP,
    worker_class="app.LimitedWorker",
    layout="guide",
)
def server_limits_its_own_concurrency(_stack: Stack) -> None:
    """technocore-chat#95: uvicorn itself answers 503; the connection that asks is counted too."""


def _start_uvicorn(stack: Stack) -> None:
    stack.spawn(sys.executable, "-m", *_uvicorn(stack), cwd=stack.app_dir)
    stack.wait_until_listening(stack.bind)


def _uvicorn(stack: Stack) -> tuple[str, ...]:
    return ("uvicorn", "app:app", "--host", stack.address, "--port", str(stack.ports["backend"]))


@report(
    Kind.APPLICATION,
    "Kludex/uvicorn#678",
    sees=answers(502),
    repair=_start_uvicorn,
    codes=(),
    says=("uvicorn", "shop.service", "systemctl"),
    app=FASTAPI,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def uvicorn_by_itself_is_down(stack: Stack) -> None:
    """tensorflow-lite-rest-server#28: no gunicorn was ever here; its unit says what to start."""
    stack.stop_gunicorn()
    stack.gunicorn_conf.unlink()
    write_minimal_config(stack, Application("uvicorn", FASTAPI, UVICORN_WORKER))
    del stack.config["gunicorn"]
    stack.write_config()
    (stack.systemd / "shop.service").write_text(
        "[Unit]\nDescription=Shop\n[Service]\n"
        f"ExecStart={sys.executable} -m {' '.join(_uvicorn(stack))}\nWorkingDirectory={stack.app_dir}\n"
        "Restart=always\n[Install]\nWantedBy=multi-user.target\n"
    )


def _upgrade_status(stack: Stack) -> int:
    """What a websocket's handshake is answered."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    with (
        contextlib.closing(socket.create_connection(stack.https, 5)) as raw,
        context.wrap_socket(raw, server_hostname=stack.domain) as client,
    ):
        client.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {stack.domain}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: bGFiIGxhYiBsYWIgbGFiLg==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        return int(client.recv(4096).split()[1])


EMPTY = '        proxy_set_header Connection "";\n'
UPGRADE = "        proxy_set_header Upgrade $http_upgrade;\n        proxy_set_header Connection $connection_upgrade;\n"


@report(
    Kind.APPLICATION,
    "Kludex/uvicorn#948",
    sees=lambda stack: {_upgrade_status(stack) for _ in range(5)} == {404},
    repair=lambda stack: stack.edit(stack.site_file, EMPTY, UPGRADE),
    codes=(),
    says=("/ws", "Upgrade", "gte-api.conf:"),
    app=SOCKET_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
    nginx_extra="    map $http_upgrade $connection_upgrade {\n        default upgrade;\n        '' '';\n    }",
)
def websocket_is_not_upgraded(_stack: Stack) -> None:
    """pyxle#3, python-socketio#686: nginx asks without Upgrade, and there is no such page."""


REMOTE_USER = "        proxy_set_header REMOTE_USER alice;\n"


@report(
    Kind.APPLICATION,
    "pulp/pulpcore#5478",
    sees=lambda stack: {stack.predict().status for _ in range(5)} == {403},
    repair=lambda stack: stack.edit(stack.site_file, REMOTE_USER, REMOTE_USER.replace("_USER", "-USER")),
    codes=(),
    says=("REMOTE_USER", "header_map", "gte-api.conf:"),
    app=REMOTE_USER_APP,
    layout="guide",
)
def gunicorn_drops_a_header_that_nginx_sets(stack: Stack) -> None:
    """puppet-foreman#1214, gunicorn#3200: since version 22 gunicorn drops headers with an underscore."""
    stack.edit(
        stack.site_file,
        "        proxy_set_header X-Real-IP",
        f"{REMOTE_USER}        proxy_set_header X-Real-IP",
    )
