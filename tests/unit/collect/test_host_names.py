"""Each address that nginx would connect to is dialled, of whatever family."""

from __future__ import annotations

import socket
import time

import pytest

from ops.collect.net import host_names
from ops.collect.net.connection import Deadline


def test_every_address_of_a_name_is_dialled_at_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of this machine are no test's to change: what the resolver says is made up, the sockets are real."""

    def resolved(_name: str, *_arguments: object, **_options: object) -> list[object]:
        kinds = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
        return [(family, socket.SOCK_STREAM, 6, "", (address, 0)) for address, family in kinds.items()]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        names = host_names.resolved_and_dialled(
            ["backend", f"backend:{port}"], Deadline(time.monotonic() + 5)
        )
    assert names.addresses == {"backend": ("127.0.0.1", "::1")}
    assert [(one.address, one.failure) for one in names.dialled] == [
        (f"127.0.0.1:{port}", None),
        (f"[::1]:{port}", "refused"),
    ]


def test_a_name_without_a_port_is_resolved_and_not_dialled() -> None:
    names = host_names.resolved_and_dialled(["localhost"], Deadline(time.monotonic() + 5))
    assert names.addresses["localhost"]
    assert names.dialled == ()
