"""The connection under every exchange."""

import socket
import time
from collections.abc import Iterator

import pytest

from ops.collect.net.connection import Deadline, DialledConnection, OutOfTimeError


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_a_peer_that_always_has_more_does_not_hide_the_deadline(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    wire = DialledConnection(ends[0], Deadline(time.monotonic() + 60), limit=1000)
    ends[1].sendall(b"x" * 100)
    assert wire.receive(10) == b"x" * 10
    wire.deadline = time.monotonic() - 1
    with pytest.raises(OutOfTimeError, match="deadline passed"):
        wire.receive(10)


def test_a_cut_is_noticed_though_bytes_are_there(ends: tuple[socket.socket, socket.socket]) -> None:
    patience = Deadline(time.monotonic() + 60)
    wire = DialledConnection(ends[0], patience, limit=1000)
    ends[1].sendall(b"x" * 100)
    patience.cut("first")
    patience.cut("second")
    with pytest.raises(OutOfTimeError, match="wait ended early: first"):
        wire.receive(10)


def test_no_more_is_read_than_allowed(ends: tuple[socket.socket, socket.socket]) -> None:
    wire = DialledConnection(ends[0], Deadline(time.monotonic() + 60), limit=15)
    ends[1].sendall(b"x" * 100)
    with wire.makefile() as stream:
        assert stream.read() == b"x" * 15
    assert (wire.is_cut_off, wire.is_ended, wire.received) == (True, False, 15)


def test_a_peer_that_reads_nothing_does_not_hold_the_sender(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    wire = DialledConnection(ends[0], Deadline(time.monotonic() + 0.2), limit=0)
    started = time.monotonic()
    with pytest.raises(OutOfTimeError):
        wire.sendall(b"x" * 50_000_000)
    assert time.monotonic() - started < 5
