"""hosts(5) and resolv.conf(5)."""

import pytest

from ops.collect.net.dns import in_hosts_file, parse_resolv_conf


def test_hosts() -> None:
    content = (
        "# gte.example\n127.0.0.1 localhost\n10.0.0.1\tGTE.example gte # gte2\nbroken gte.example\n"
        "fe80::1%eth0 gte.example\n10.0.0.1 gte.example\n10.0.0.2 gte.example.\n9.9.9.9\n"
    )
    assert in_hosts_file(content, "gte.example") == ("10.0.0.1", "fe80::1%eth0", "10.0.0.2")
    assert in_hosts_file(content, "gte2") == ()
    assert in_hosts_file("", "gte.example") == ()


def test_resolv_conf() -> None:
    read = parse_resolv_conf(
        "; comment\n# nameserver 1.1.1.1\nnameserver 10.0.0.53\nnameserver fd00::53\nnameserver 10.0.0.54\n"
        "nameserver 10.0.0.55\nsearch old.example\nsearch corp.example. lab.example\noptions ndots:2 rotate\n"
    )
    assert read.servers == ["10.0.0.53", "fd00::53", "10.0.0.54"]
    assert read.searched("gte") == ("corp.example", "lab.example")
    assert read.searched("gte.example") == ("corp.example", "lab.example")
    assert read.searched("api.gte.example") == ()


@pytest.mark.parametrize("content", ["", "nameserver\n", "garbage\n\n\0\n", "options ndots:x\n"])
def test_without_a_server_it_is_this_host(content: str) -> None:
    assert parse_resolv_conf(content).servers == ["127.0.0.1"]
