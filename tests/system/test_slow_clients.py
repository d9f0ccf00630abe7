"""Clients that send slowly, or nothing, straight at gunicorn: they hold no thread, and nobody waits for them."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Gunicorn, eventually, gunicorn
from tests.system.hasty_service import PATIENCE

APP = "tests.system.hasty_service:create()"
POST = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
NOTHING = b"POST /nothing HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
WHOLE = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
# How many connections, what each sends at first, and what it sends now and then.
SLOW = {
    "silent": (200, b"", b""),
    "half a request line": (60, b"GET /hea", b""),
    "headers bit by bit": (60, b"GET /health HTTP/1.1\r\nHost: a\r\n", b"X"),
    "a body bit by bit": (60, POST + b"Content-Length: 100000\r\n\r\n{", b" "),
    "a body that was announced and never comes": (
        60,
        POST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        b"",
    ),
    "chunks bit by bit": (60, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n \r\n"),
    "half a chunk's line": (60, POST + b"Transfer-Encoding: chunked\r\n\r\n1", b""),
    "half a trailer": (60, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: ", b"b"),
    "a body too long": (60, NOTHING + b"Content-Length: 9999999999\r\n\r\n{", b" "),
    "a length of too many digits": (60, NOTHING + b"Content-Length: 0%030d\r\n\r\n{" % 5, b""),
    "a chunk too long": (60, NOTHING + CHUNKED + b"\r\nfffffff\r\n{", b" "),
    "a chunk's line without an end": (60, NOTHING + CHUNKED + b"\r\n1;" + b"a" * 9000, b"a"),
    "a trailer without an end": (60, NOTHING + CHUNKED + b"\r\n0\r\nA: " + b"b" * 70_000, b"b"),
    "another coding": (60, NOTHING + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\n{", b" "),
    "two codings": (60, NOTHING + b"Transfer-Encoding: identity\r\n" + CHUNKED + b"\r\n5\r\n{", b" "),
    "half a request after a whole one": (60, WHOLE, b"GET /"),
    "bare line feeds": (60, b"GET /health HTTP/1.0\n\n", b"\n"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    directory = tmp_path_factory.mktemp("service")
    with gunicorn(directory, APP, wait_for="/health", GTE_THREADS="8") as started:
        yield started


@contextlib.contextmanager
def connections(service: Gunicorn, count: int, first: bytes) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        links = []
        for _ in range(count):
            link = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=10))
            link.sendall(first)
            links.append(link)
        yield links


@pytest.mark.parametrize("name", SLOW)
def test_everything_answers_beside_slow_clients(service: Gunicorn, name: str) -> None:
    count, first, more = SLOW[name]
    with connections(service, count, first) as links:
        slowest = 0.0
        for _ in range(5):
            for link in links if more else ():
                with contextlib.suppress(OSError):  # closed, for its time is over
                    link.sendall(more)
            # The second needs a thread.
            for path in ("/health", "/tasks"):
                began = time.monotonic()
                assert service.get(path).status == 200
                slowest = max(slowest, time.monotonic() - began)
        # Behind gunicorn's threads it is five seconds and more.
        assert slowest < 2


def test_a_request_that_does_not_arrive_in_time_is_told_so(service: Gunicorn) -> None:
    with connections(service, 1, SLOW["a body bit by bit"][1]) as (link,):
        began = time.monotonic()
        received = b""
        while part := link.recv(65536):
            received += part
        assert PATIENCE - 0.1 <= time.monotonic() - began < PATIENCE + 5
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"status": 408' in received
    assert b"Connection: close" in received


def test_more_connections_than_gunicorn_takes_push_out_the_idle_ones(service: Gunicorn) -> None:
    with connections(service, 1020, b""):
        for _ in range(3):
            assert service.get("/health").status == 200


def test_a_connection_that_is_used_is_not_the_longest_idle(service: Gunicorn) -> None:
    with contextlib.ExitStack() as idle, connections(service, 1, b"") as (monitor,):
        for _ in range(2):
            idle.enter_context(connections(service, 600, b""))
            # Connections are accepted in turn: once this is answered, all of them were.
            assert service.get("/health").status == 200
            monitor.sendall(WHOLE)
            assert b'"status":"ok"' in monitor.recv(65536)


def test_a_stop_does_not_wait_for_silent_clients(tmp_path: Path) -> None:
    with gunicorn(tmp_path, APP, wait_for="/health") as started, connections(started, 3, b""):
        began = time.monotonic()
        started.process.terminate()
        eventually(lambda: started.process.poll() is not None, 20)
        assert time.monotonic() - began < 15


def received_until(link: socket.socket, is_enough: Callable[[bytes], bool]) -> bytes:
    """What arrives until it is enough. Fails if the connection ends before."""
    received = b""
    while not is_enough(received):
        piece = link.recv(65536)
        assert piece, received
        received += piece
    return received


def test_a_kept_connection_serves_one_request_after_the_other_in_any_pieces(service: Gunicorn) -> None:
    body = b'{"task_type": "invented", "input_text": "a"}'
    pieces = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connections(service, 1, b"") as (link,):
        for size in (1, 7, 1000):
            for start in range(0, len(pieces), size):
                link.sendall(pieces[start : start + size])
            received = received_until(link, lambda received: b"unknown_task" in received)
            assert received.startswith(b"HTTP/1.1 400 ")
        # Two in one piece.
        link.sendall(WHOLE + WHOLE)
        received_until(link, lambda received: received.count(b'"status":"ok"') == 2)
        link.sendall(WHOLE)
        received_until(link, lambda received: b'"status":"ok"' in received)


def test_under_overload_the_refusal_comes_without_a_thread_and_the_connection_stays(tmp_path: Path) -> None:
    """Whose threads are all held by predictions answers on, also on the connection that was refused."""
    with gunicorn(
        tmp_path, "faulty_service:create()", GTE_THREADS="4", GTE_MAX_CONCURRENT="1", GTE_MAX_QUEUE="0"
    ) as busy:
        gate = tmp_path / "gate"
        held = json.dumps(
            {"task_type": "similarity", "input_text": str(gate), "parameters": {"candidates": ["a"]}}
        )
        with connections(busy, 1, POST + b"Content-Length: %d\r\n\r\n" % len(held) + held.encode()):
            eventually(lambda: busy.records()[0]["in_flight"])
            with connections(busy, 1, b"") as (link,):
                for _ in range(3):
                    link.sendall(POST + b"Content-Length: 2\r\n\r\n{}")
                    answer = link.recv(65536)
                    assert answer.startswith(b"HTTP/1.1 503 ")
                    assert b"Retry-After: " in answer
                    assert answer.count(b"Connection: keep-alive") == 1
                    assert b'"code": "overloaded"' in answer
                link.sendall(WHOLE)
                assert link.recv(65536).startswith(b"HTTP/1.1 200 ")
            counted = 'gte_requests_total{outcome="overloaded",route="/predict",task=""} 3.0'
            assert counted in busy.get("/metrics").body.decode()
            gate.touch()
            eventually(lambda: not busy.records()[0]["in_flight"])
