"""``recv`` and ``send`` that keep the interpreter lock do what Python's own do on a socket that does not block."""

import socket
from collections.abc import Iterator

import pytest

from service.http import socket_calls

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("is_blocking", [True, False])
def test_what_was_sent_arrives(pair: Pair, is_blocking: bool) -> None:
    ours, theirs = pair
    ours.setblocking(is_blocking)
    data = bytes(range(256)) * 8
    assert socket_calls.send(ours, data) == len(data)
    assert theirs.recv(65536) == data
    theirs.sendall(data)
    first = socket_calls.receive(ours)
    theirs.sendall(b"more")
    assert socket_calls.receive(ours) == b"more"
    assert first == data


def test_the_end_is_empty(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    assert socket_calls.receive(ours) == b""


def test_where_nothing_has_arrived_or_fits_nothing_blocks(pair: Pair) -> None:
    ours, _ = pair
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        socket_calls.receive(ours)
    much = b"a" * 10_000_000
    assert 0 < socket_calls.send(ours, much) < len(much)
    with pytest.raises(BlockingIOError):
        list(iter(lambda: socket_calls.send(ours, much), 0))


def test_a_broken_connection_is_an_error_and_no_signal(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(BrokenPipeError):
        socket_calls.send(ours, b"a")
    ours.close()
    for call in (lambda: socket_calls.receive(ours), lambda: socket_calls.send(ours, b"a")):
        with pytest.raises(OSError, match="descriptor"):
            call()
