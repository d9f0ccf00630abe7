"""The file of nginx's upstream: what is written, what drain changes in it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.deployment.render import NginxSite, render_nginx
from ops.deployment.upstream import (
    UPSTREAM_FILE,
    BalancedServer,
    matching,
    present_servers,
    render_upstream,
    with_drained,
)
from ops.errors import SettingsError, UsageError
from ops.settings import load_settings

TWO = (
    BalancedServer(address="192.0.2.11:8000", weight=2, max_fails=3, fail_timeout=30),
    BalancedServer(address="[2001:db8::2]:8000", backup=True),
)
TEXT = render_upstream(TWO)


def test_each_server_has_its_parameters() -> None:
    assert TEXT.splitlines()[-2:] == [
        "server 192.0.2.11:8000 weight=2 max_fails=3 fail_timeout=30s;",
        "server [2001:db8::2]:8000 max_fails=1 fail_timeout=10s backup;",
    ]


def test_the_site_includes_the_file_and_repeats_only_what_may_be_repeated() -> None:
    texts = render_nginx(NginxSite(servers=TWO))
    site = texts["conf.d/gte-api.conf"]
    assert texts[UPSTREAM_FILE] == TEXT
    assert f"    include {UPSTREAM_FILE};\n" in site
    assert "    zone gte_backend 256k;" in site
    assert "server 127.0.0.1:8000" not in site
    assert "proxy_next_upstream error timeout invalid_header;" in site
    assert "keepalive 32;" in site
    (directive,) = [line for line in site.splitlines() if line.strip().startswith("proxy_next_upstream ")]
    assert "non_idempotent" not in directive
    assert "http_503" not in directive


def test_with_one_server_the_site_is_as_it_was() -> None:
    texts = render_nginx(NginxSite())
    assert UPSTREAM_FILE not in texts
    assert "    server 127.0.0.1:8000;\n" in texts["conf.d/gte-api.conf"]
    assert "proxy_connect_timeout 5s;" in texts["conf.d/gte-api.conf"]


@pytest.mark.parametrize(
    "address", ["a:1; } server {", "a", "", "a:1 down", "a:1\nb:2", "$host:80", "http://a:1"]
)
def test_an_address_that_nginx_would_not_read_as_one_word_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"nginx\.upstream"):
        render_upstream((BalancedServer(address=address),))


def test_drain_and_undrain_change_one_word() -> None:
    drained = with_drained(TEXT, "192.0.2.11:8000", drained=True)
    assert drained == TEXT.replace("fail_timeout=30s;", "fail_timeout=30s down;")
    assert with_drained(drained, "192.0.2.11:8000", drained=True) == drained
    assert with_drained(drained, "192.0.2.11:8000", drained=False) == TEXT


def test_a_file_written_by_hand_keeps_its_words() -> None:
    text = "# server 1.1.1.1:1;\n  server  a.example:80   weight=5 down  max_conns=3 ; # mine\nserver b:1;"
    changed = with_drained(text, "a.example:80", drained=False)
    assert (
        changed == "# server 1.1.1.1:1;\n  server  a.example:80   weight=5  max_conns=3 ; # mine\nserver b:1;"
    )
    assert [item.address for item in present_servers(text)] == ["a.example:80", "b:1"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("server a:1; server b:1;", "server a:1; server b:1 down;"),
        ("server a:1;\r\nserver b:1 weight=2;\r\n", "server a:1;\r\nserver b:1 weight=2 down;\r\n"),
        ("zone z 64k; # server b:1;\nserver b:1;", "zone z 64k; # server b:1;\nserver b:1 down;"),
        ("server\n  b:1 # second; one\n  backup;", "server\n  b:1 # second; one\n  backup down;"),
        ("server 'b:1' \"route=a;b\";", "server 'b:1' \"route=a;b\" down;"),
        ("server b:1 weight=5\n  down;", "server b:1 weight=5\n  down;"),
        (
            "server b:1; server c:1; server b:1 backup;",
            "server b:1 down; server c:1; server b:1 backup down;",
        ),
        ("server b:1; # down\n", "server b:1 down; # down\n"),
    ],
)
def test_a_server_is_found_wherever_nginx_reads_one(before: str, after: str) -> None:
    server = matching(present_servers(before), "b:1")
    assert with_drained(before, server.address, drained=True) == after
    back = with_drained(after, server.address, drained=False)
    assert not any(item.is_drained for item in present_servers(back))
    assert back == before or " down" in before.replace("# down", "").replace("\n", " ")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.11", "192.0.2.11:8000"),
        ("192.0.2.11:8000", "192.0.2.11:8000"),
        ("2001:db8::2", "[2001:db8::2]:8000"),
        ("[2001:DB8:0::2]", "[2001:db8::2]:8000"),
        ("[2001:db8::0:2]:8000", "[2001:db8::2]:8000"),
    ],
)
def test_a_host_is_named_by_address_or_alone(host: str, address: str) -> None:
    assert matching(present_servers(TEXT), host).address == address


@pytest.mark.parametrize(
    "host", ["A.example", "a.example:80", "::2", "[::2]:80", "unix:/run/c.sock", "/run/c.sock"]
)
def test_an_address_without_a_port_and_a_socket_have_names_too(host: str) -> None:
    servers = present_servers("server a.example; server [::2]; server unix:/run/c.sock;")
    assert matching(servers, host).address in ("a.example", "[::2]", "unix:/run/c.sock")


def test_a_host_that_is_not_there_or_is_there_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.99: not among"):
        matching(present_servers(TEXT), "192.0.2.99")
    twice = present_servers("server a:1;\nserver a:2;\n")
    with pytest.raises(UsageError, match="several servers"):
        matching(twice, "a")
    assert matching(twice, "a:2").address == "a:2"


def test_settings_name_the_servers(tmp_path: Path) -> None:
    file = tmp_path / "gte-ops.toml"
    file.write_text(
        '[[nginx.upstream]]\naddress = "a:1"\nfail_timeout = "30s"\n[[nginx.upstream]]\naddress = "b:1"\n'
    )
    first, second = load_settings(file).nginx.upstream
    assert (first.address, first.weight, first.fail_timeout, second.backup) == ("a:1", 1, 30.0, False)
    file.write_text('[[nginx.upstream]]\naddress = "a:1"\nslow_start = "30s"\n')
    with pytest.raises(SettingsError, match=r"nginx\.upstream\.slow_start"):
        load_settings(file)
    file.write_text('[[nginx.upstream]]\naddress = "a:1"\nweight = 0\n')
    with pytest.raises(SettingsError, match="weight"):
        load_settings(file)
