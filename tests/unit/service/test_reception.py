"""Connections that the main loop of a worker closes to make room, in a small real gunicorn."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PATIENCE = 30.0
CONNECTIONS = 20
WAITING_BYTES = 100_000
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CONFIGURATION = f"""
from types import SimpleNamespace
from service import gunicorn_patches

gunicorn_patches._MOST_WAITING_BYTES = {WAITING_BYTES}
worker_class, threads, worker_connections = "gthread", 4, {CONNECTIONS}
keepalive, control_socket_disable = 60, True
record = SimpleNamespace(begin=lambda *_: None, end=lambda *_: None)

def post_worker_init(worker):
    gunicorn_patches.receive_aside(worker, 1_000_000, record)
"""
APPLICATION = """
import os

def application(environ, start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class Gunicorn:
    """With one worker, whose process identifier is the body of each answer."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "s"

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(self._socket))
        connection.sendall(sent)
        return connection

    def worker(self) -> int:
        with self.connect(GET) as connection:
            return int(body_of(connection))


def body_of(connection: socket.socket) -> bytes:
    """Of the answer; empty if the connection is closed instead."""
    data = b""
    while b"\r\n\r\n" not in data or data.endswith(b"\r\n\r\n"):
        try:
            part = connection.recv(4096)
        except ConnectionResetError:
            part = b""
        if not part:
            break
        data += part
    return data.partition(b"\r\n\r\n")[2]


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Gunicorn]:
    (tmp_path / "conf.py").write_text(CONFIGURATION)
    (tmp_path / "small.py").write_text(APPLICATION)
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "conf.py",
        "-b",
        f"unix:{tmp_path / 's'}",
        "small:application",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=log)
    try:
        until = time.monotonic() + PATIENCE
        while "Booting worker" not in (tmp_path / "log").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        yield Gunicorn(tmp_path)
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert "Exception in worker process" not in (tmp_path / "log").read_text()


def test_who_asks_while_room_is_made_is_answered_and_the_worker_lives(gunicorn: Gunicorn) -> None:
    """All that are idle ask in the moment in which as many more come than there may be connections."""
    worker = gunicorn.worker()
    idle = [gunicorn.connect(GET) for _ in range(CONNECTIONS - 2)]
    assert {int(body_of(one)) for one in idle} == {worker}
    time.sleep(0.5)  # until the main loop waits for the next of the last one too
    os.kill(worker, signal.SIGSTOP)
    try:
        more = [gunicorn.connect() for _ in range(CONNECTIONS)]
        for one in idle:
            one.sendall(GET)
    finally:
        os.kill(worker, signal.SIGCONT)
    answers = [body_of(one) for one in idle]
    assert gunicorn.worker() == worker
    assert {*answers} == {b"%d" % worker}
    for one in (*idle, *more):
        one.close()


def test_where_too_much_waits_those_who_sent_it_are_closed_and_the_worker_lives(gunicorn: Gunicorn) -> None:
    worker = gunicorn.worker()
    idle = gunicorn.connect(GET)
    assert int(body_of(idle)) == worker
    time.sleep(0.5)
    begun = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
    slow = [gunicorn.connect(begun) for _ in range(5)]
    assert gunicorn.worker() == worker  # all have arrived
    os.kill(worker, signal.SIGSTOP)
    try:
        for one in reversed(slow):
            one.sendall(b"a" * (WAITING_BYTES // 3))
    finally:
        os.kill(worker, signal.SIGCONT)
    assert gunicorn.worker() == worker
    assert body_of(slow[0]) == b""
    idle.sendall(GET)
    assert int(body_of(idle)) == worker
    for one in (idle, *slow):
        one.close()


def test_what_is_taken_out_of_a_request_does_not_count_as_waiting_ever_after(gunicorn: Gunicorn) -> None:
    expects = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect:%s100-continue\r\n\r\na" % (
        b" " * 8000
    )
    worker = gunicorn.worker()
    for _ in range(WAITING_BYTES // 8000 + 1):
        with gunicorn.connect(expects) as one:
            assert b"%d" % worker in body_of(one)
    with gunicorn.connect(b"POST / HTTP/1.1\r\nHost: a\r\n") as slow:
        assert gunicorn.worker() == worker
        slow.sendall(b"Content-Length: 1\r\n\r\na")
        assert int(body_of(slow)) == worker
