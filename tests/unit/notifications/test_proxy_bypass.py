"""What is this host and what is another: the same for messages and for the client of the service."""

import socket
import threading
from typing import Any

import psutil
import pytest

from ops.notifications import proxy_bypass
from service.client import this_host

RULES = [proxy_bypass, this_host]

HERE = [
    "127.0.0.1",
    "127.9.8.7",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "::",
    "::1",
    "[::1]",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:0.0.0.0",
    "localhost",
    "LocalHost",
    "localhost.",
    "127.0.0.1.",
    "relay.localhost",
    "%6cocalhost",
    "%31%32%37.0.0.1",
]

ELSEWHERE = [
    "",
    "126.255.255.255",
    "128.0.0.1",
    "8.8.8.8",
    "134744072",
    "::2",
    "2001:db8::1",
    "::ffff:8.8.8.8",
    "224.0.0.1",
    "ff02::1",
    "localhost.example.invalid",
    "notlocalhost",
    "127.0.0.1.example.invalid",
    "robot.example.invalid",
    "a" * 300,
    "a\0b",
    "-",
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("host", HERE)
def test_loopback_is_this_host_however_it_is_written(rule: Any, host: str) -> None:
    assert rule.is_this_host(host)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("host", ELSEWHERE)
def test_everything_else_is_another_host(rule: Any, host: str) -> None:
    assert not rule.is_this_host(host)


@pytest.mark.parametrize("rule", RULES)
def test_every_address_of_an_interface_is_this_host(rule: Any) -> None:
    families = (socket.AF_INET, socket.AF_INET6)
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family in families:
                assert rule.is_this_host(address.address), address


@pytest.mark.parametrize("rule", RULES)
def test_a_name_is_this_host_where_it_resolves_to_one_of_its_addresses(
    rule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "relay": "127.0.1.1",
        "mapped": "::ffff:127.0.0.1",
        "both": "203.0.113.7",
        "other": "203.0.113.7",
    }
    real = socket.getaddrinfo

    def getaddrinfo(name: str, port: int, **options: Any) -> Any:
        if options.get("flags") or name not in answers:
            return real(name, port, **options)
        addresses = real(answers[name], port, **options)
        return addresses + real("127.0.0.1", port, **options) if name == "both" else addresses

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert [rule.is_this_host(name) for name in ("relay", "mapped", "both", "other")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(("rule", "limit"), [(proxy_bypass, "RESOLVE_S"), (this_host, "_RESOLVE_SECONDS")])
def test_a_resolver_that_does_not_answer_is_not_waited_for(
    rule: Any, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(name: str, port: int, **options: Any) -> Any:
        if not options.get("flags"):
            over.wait(60)
        return real(name, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(rule, limit, 0.05)
    try:
        assert not rule.is_this_host("robot.example.invalid")
    finally:
        over.set()


@pytest.mark.parametrize("rule", RULES)
def test_a_host_that_may_bind_to_any_address_still_knows_its_own(
    rule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux, sysctl net.ipv4.ip_nonlocal_bind=1, as hosts that share an address (VRRP) have it."""
    monkeypatch.setattr(rule, "_can_bind", lambda _family, _place: True)
    assert not rule.is_this_host("8.8.8.8")
    own = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses[:1]
        if address.family == socket.AF_INET
    ]
    assert own
    assert all(rule.is_this_host(address) for address in own)
