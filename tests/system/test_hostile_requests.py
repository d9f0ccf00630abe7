"""The hostile set against the real stack, through nginx and straight at gunicorn.

Each request is answered as HTTP and the contract say or its connection is closed, no worker ends, ``/health`` answers
on, and no log holds what a terminal would obey.
"""

import contextlib
import io
import json
import re
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest

from tests.lab.stack import Stack
from tests.system.hostile_requests import Hostile, hostile

GUNICORN, NGINX = "gunicorn", "nginx"
# Tabs and line ends are the logs' own; C1 is two bytes in UTF-8, and one in what WSGI hands on.
CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = {"GTE_PREDICTION_TIMEOUT": "4"}
    with Stack(site={"rate": "60000r/m", "burst": "1000"}, service_environment=settings) as started:
        yield started


class _Received:
    """What arrived, as ``HTTPResponse`` wants it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)


def connected(stack: Stack, door: str, seconds: float) -> socket.socket:
    if door == GUNICORN:
        return socket.create_connection((stack.address, stack.ports["backend"]), seconds)
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    plain = socket.create_connection(stack.https, seconds)
    return context.wrap_socket(plain, server_hostname=stack.domain)


def received(stack: Stack, door: str, request: Hostile) -> bytes:
    """All that comes back until the connection ends or the time is over."""
    content = request.content.replace(b"Host: HOST", b"Host: " + stack.domain.encode())
    answer = b""
    with connected(stack, door, request.seconds) as link, contextlib.suppress(OSError):
        with contextlib.suppress(OSError):  # an answer may be there before all was sent
            link.sendall(content)
        while part := link.recv(65536):
            answer += part
    return answer


def complaint(request: Hostile, answer: bytes) -> str | None:
    """What is wrong with the answer."""
    if not answer.startswith(b"HTTP/1."):
        return None if 0 in request.status else f"no answer: {answer[:60]!r}"
    response = HTTPResponse(_Received(answer))  # type: ignore[arg-type]
    response.begin()
    body = response.read()
    if response.status not in request.status:
        return f"{response.status}: {body[:200]!r}"
    if response.status < 400:
        return None
    members = json.loads(body)
    is_problem = members.keys() >= {"type", "title", "status", "code", "request_id"}
    is_openai = members.get("error", {}).keys() >= {"message", "type", "code"}
    if not (is_problem and members["status"] == response.status) and not is_openai:
        return f"neither a problem nor OpenAI's error: {body[:200]!r}"
    if len(body) > 1000 or b"Traceback" in body or CONTROLS.search(body):
        return f"an answer of {len(body)} bytes: {body[:200]!r}"
    if response.status == 503 and not response.getheader("Retry-After"):
        return "503 without Retry-After"
    return None


@pytest.mark.long
@pytest.mark.parametrize("door", [GUNICORN, NGINX])
def test_the_hostile_set(stack: Stack, door: str) -> None:
    (worker,) = stack.gunicorn_workers
    complaints = []
    for request in hostile():
        wrong = complaint(request, received(stack, door, request))
        if wrong is not None:
            complaints.append(f"{request.name}: {wrong}")
        health = stack.request(path="/health", door="backend", timeout=5.0).status
        if health != 200:
            complaints.append(f"{request.name}: /health {health} after it")
    assert not complaints, "\n".join(complaints)
    assert [one.pid for one in stack.gunicorn_workers] == [worker.pid], "a request ended the worker"
    assert stack.predict().status == 200


@pytest.mark.long
@pytest.mark.parametrize("door", [GUNICORN, NGINX])
def test_requests_half_sent_and_silent_connections(stack: Stack, door: str) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n" % stack.domain.encode()
    pieces = (
        b"",
        b"GET /hea",
        head,
        head + b"Content-Length: 100\r\n\r\n{",
        head + b"Content-Length: 99999999\r\n\r\n",
    )
    with contextlib.ExitStack() as links:
        for number in range(200):
            link = links.enter_context(connected(stack, door, 10))
            with contextlib.suppress(OSError):
                link.sendall(pieces[number % len(pieces)])
        assert stack.request(path="/health", door="backend", timeout=5.0).status == 200
        assert stack.predict().status == 200


@pytest.mark.long
def test_nothing_of_it_is_raw_in_a_log(stack: Stack) -> None:
    """After the others of this module."""
    contents = {path.name: path.read_bytes() for path in stack.logs.iterdir()}
    assert len(contents["gte-gunicorn-access.log"].splitlines()) > 100
    for name, content in contents.items():
        content.decode("utf-8")
        match = CONTROLS.search(content)
        assert match is None, f"{name}: {content[max(0, match.start() - 100) : match.end() + 20]!r}"
        assert b"Traceback" not in content, name
