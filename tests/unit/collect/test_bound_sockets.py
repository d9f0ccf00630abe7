"""The sockets at which processes wait for clients, beside connections, of which there may be tens of thousands."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import psutil
import pytest

from ops.collect.process import bound_sockets as module
from ops.collect.process.bound_sockets import bound_sockets


def test_sockets_that_listen_are_found_with_their_process_and_connections_are_not(tmp_path: Path) -> None:
    path = f"{tmp_path}/a socket"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as server6,
        socket.socket(socket.AF_UNIX) as unix,
        socket.create_connection(server.getsockname()) as client,
    ):
        unix.bind(path)
        port, port6 = server.getsockname()[1], server6.getsockname()[1]
        mine = {address for address, pid in bound_sockets() if pid == os.getpid()}
        assert {f"127.0.0.1:{port}", f"[::1]:{port6}", f"unix:{path}"} <= mine
        assert not any(address.endswith(f":{client.getsockname()[1]}") for address in mine)


def test_they_are_those_that_psutil_lists() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        listed = {
            (connection.laddr.port, connection.pid)
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        }
        own = {(int(a.rpartition(":")[2]), pid) for a, pid in bound_sockets() if a.endswith(f":{port}")}
    assert own == listed == {(port, os.getpid())}


def test_a_socket_whose_process_may_not_be_read_is_listed_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(psutil, "pids", list)
        assert (f"127.0.0.1:{server.getsockname()[1]}", None) in set(bound_sockets())


@pytest.mark.parametrize(
    "name", [b"\xff.sock", b"line\nbreak.sock", b"\x1b[31mred.sock", "\u202etxt.sock".encode()]
)
def test_a_path_that_nobody_could_be_told_of_is_passed_over(tmp_path: Path, name: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.fsencode(tmp_path) + b"/" + name)
        addresses = [address for address, _ in bound_sockets()]
    assert not [address for address in addresses if str(tmp_path) in address and ".sock" in address]
    msgspec.json.encode(addresses)


def test_a_line_break_in_a_path_makes_no_socket_of_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a table holds if somebody binds a path with a whole row in it, or with part of one."""
    with socket.socket(socket.AF_UNIX) as unix:
        inode = os.fstat(unix.fileno()).st_ino
        row = f"0000000048509ffe: 00000002 00000000 00010000 0001 01 {inode} "
        rows = [f"{row}/tmp/q", f"{row}/run/gte.sock", f"a b c d e f {inode} /run/other.sock"]
        monkeypatch.setattr(module, "_rows", lambda table: rows if table == "unix" else [])
        found = set(bound_sockets())
        assert found == {("unix:/tmp/q", None), ("unix:/run/gte.sock", None)}
        del rows[1:]
        assert set(bound_sockets()) == {("unix:/tmp/q", os.getpid())}
