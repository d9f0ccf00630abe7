"""Whose address counts behind a proxy."""

import pytest

from service.http.forwarded import Proxies


@pytest.mark.parametrize(
    ("allowed", "peer", "header", "client"),
    [
        ("127.0.0.1,::1", "127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("127.0.0.1,::1", "127.0.0.1", "1.2.3.4, 192.0.2.7", "192.0.2.7"),
        ("127.0.0.1,::1", "127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1,::1", "127.0.0.1", " ", "127.0.0.1"),
        ("127.0.0.1,::1", "192.0.2.9", "192.0.2.7", "192.0.2.9"),
        ("10.0.0.0/8", "10.1.2.3", "192.0.2.7", "192.0.2.7"),
        ("*", "192.0.2.9", "192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "", "192.0.2.7", "192.0.2.7"),  # a Unix socket
        ("nonsense", "192.0.2.9", "192.0.2.7", "192.0.2.9"),
    ],
)
def test_only_a_proxy_of_ours_says_who_asks(allowed: str, peer: str, header: str | None, client: str) -> None:
    assert Proxies(allowed).client_of(peer, header) == client
