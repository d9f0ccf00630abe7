"""Reaching the front door, and doors that should not be open."""

from __future__ import annotations

import contextlib
import socket

from tests.lab.faults.case import fault, meets
from tests.lab.stack import Stack


@fault("NET001", sees=meets("refused"))
def nginx_listens_on_another_port(stack: Stack) -> None:
    elsewhere = stack.free_port()
    stack.edit(stack.site_file, f"{stack.address}:{stack.ports['https']}", f"{stack.address}:{elsewhere}")


@fault("NET002", sees=meets("timeout", timeout=0.5))
def connections_are_dropped(stack: Stack) -> None:
    # A packet filter is not to be had on every machine. A listening socket whose accept queue is full makes the
    # kernel drop the SYN just the same (tcp(7), listen(2)): the client hears nothing.
    full = socket.socket()
    full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stack.edit(
        stack.site_file,
        f"{stack.address}:{stack.ports['https']}",
        f"{stack.address}:{stack.free_port()}",
    )
    full.bind(stack.https)
    full.listen(0)
    stack.hold(full)
    for _ in range(4):
        waiting = socket.socket()
        waiting.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            waiting.connect(stack.https)
        stack.hold(waiting)


def reaches_the_backend(stack: Stack) -> bool:
    """A client from another address gets an answer without nginx."""
    answer = stack.client.request(("127.0.0.1", stack.ports["backend"]), "GET", "/health", tls=False)
    return answer.status == 200


@fault("NET003", sees=reaches_the_backend, severity="warn")
def backend_listens_everywhere(stack: Stack) -> None:
    stack.edit(stack.gunicorn_conf, f"bind = '{stack.address}:", "bind = '0.0.0.0:")


def serves_plain_http(stack: Stack) -> bool:
    """Plain HTTP answers with the service."""
    return stack.request(door="http").status == 200


@fault("NET004", sees=serves_plain_http, severity="warn", layout="guide")
def plain_http_is_served(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        f"return 301 {stack.url}$request_uri;",
        "location / { proxy_pass http://gte_backend; proxy_set_header Host $host; }",
    )
