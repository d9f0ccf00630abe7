"""Certificates as people have them: by variable, several pairs, behind a balancer, IPv6 alone, of other ACME clients
than certbot; each found, judged and backed up. The cases are of public reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.authority import Authority
from tests.system.peer import free_port
from tests.system.test_cert_check import block, by_name, lay
from tests.system.tls_host import TlsHost


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def served(document: Any) -> dict[str, tuple[str, bool | None]]:
    return {
        one["name"]: (one["status"], one["matches_disk"])
        for one in document["certificates"]
        if one["source"] == "served"
    }


def backed_up(host: TlsHost) -> set[str]:
    """What a backup of the host would hold."""
    done = host.gte_ops("backup", "create", "--dry-run", "--config", str(host.config), "--format", "json")
    return {entry["path"] for entry in json.loads(done.stdout)["entries"]}


def listening(address: str, names: str, files: tuple[Path, Path], more: str = "") -> str:
    return (
        f"server {{ listen {address} ssl {more}; server_name {names};\n"
        f"ssl_certificate {files[0]}; ssl_certificate_key {files[1]}; }}\n"
    )


def test_a_certificate_by_a_map_is_found_judged_and_saved(tmp_path: Path, authority: Authority) -> None:
    """acme.sh#4305: `ssl_certificate $c` was unknown for ever, and the backup held neither file."""
    (tmp_path / "ca.pem").write_bytes(authority.root.pem)
    one, other = (lay(tmp_path, name, authority.issue([f"{name}.example"])) for name in ("one", "other"))
    by_name_directory = tmp_path / "named"
    by_name_directory.mkdir()
    lay(by_name_directory, "third.example", authority.issue(["third.example"]))
    port = free_port()
    maps = (
        f"map $ssl_server_name $c {{ one.example {one[0]}; default {other[0]}; }}\n"
        f"map $ssl_server_name $k {{ one.example {one[1]}; default {other[1]}; }}\n"
    )
    sites = f"""{maps}
server {{ listen 127.0.0.1:{port} ssl; server_name one.example other.example;
  ssl_certificate $c; ssl_certificate_key $k; }}
server {{ listen 127.0.0.1:{port} ssl; server_name third.example;
  ssl_certificate {by_name_directory}/$ssl_server_name.pem;
  ssl_certificate_key {by_name_directory}/$ssl_server_name.key; }}
"""
    with TlsHost(tmp_path, sites) as host:
        ran = host.check()
        saved = backed_up(host)
    assert served(ran.json) == {
        "one.example": ("ok", True),
        "other.example": ("ok", True),
        "third.example": ("ok", True),
    }
    assert ran.exit_code == 0, ran
    named = by_name_directory / "third.example.pem", by_name_directory / "third.example.key"
    assert {str(path) for path in (*one, *other, *named)} <= saved


def test_behind_a_balancer_and_with_client_certificates_a_healthy_host_is_fine(
    tmp_path: Path, authority: Authority
) -> None:
    """`listen 443 ssl proxy_protocol`; `ssl_verify_client on`; `listen [::]:443` alone."""
    (tmp_path / "ca.pem").write_bytes(authority.root.pem)
    roots = f"ssl_client_certificate {tmp_path}/ca.pem; ssl_verify_client on; ssl_verify_depth 3;\n"
    files = {
        name: lay(tmp_path, name, authority.issue([f"{name}.example"]))
        for name in ("proxied", "client", "six")
    }
    sites = [
        listening(f"127.0.0.1:{free_port()}", "proxied.example", files["proxied"], "proxy_protocol"),
        listening(f"127.0.0.1:{free_port()}", "client.example", files["client"]).replace(
            "{ ", f"{{ {roots}", 1
        ),
        listening(f"[::]:{free_port()}", "six.example", files["six"]),
    ]
    with TlsHost(tmp_path, "".join(sites)) as host:
        ran = host.check()
    assert served(ran.json) == {
        "proxied.example": ("ok", True),
        "client.example": ("ok", True),
        "six.example": ("ok", True),
    }
    assert ran.exit_code == 0, ran


def test_each_of_several_certificates_is_asked_for(tmp_path: Path, authority: Authority) -> None:
    """The RSA one was renewed on disk and is served as it was: a client of today gets the ECDSA one."""
    (tmp_path / "ca.pem").write_bytes(authority.root.pem)
    port = free_port()
    rsa = lay(tmp_path, "rsa", authority.issue(["two.example"], kind="rsa"))
    ecdsa = lay(tmp_path, "ecdsa", authority.issue(["two.example"]))
    site = block(port, "two.example", ecdsa).replace(
        "ssl_certificate ", f"ssl_certificate {rsa[0]}; ssl_certificate_key {rsa[1]}; ssl_certificate ", 1
    )
    with TlsHost(tmp_path, site) as host:
        assert {(one["status"], one["matches_disk"]) for one in served_ones(host)} == {
            ("ok", None),
            ("ok", True),
        }
        for path in rsa:
            path.unlink()
        lay(tmp_path, "rsa", authority.issue(["two.example"], kind="rsa"))
        stale = [one for one in served_ones(host) if one["matches_disk"] is False]
        assert [one["key_type"] for one in stale] == ["RSA 2048"]


def served_ones(host: TlsHost) -> list[dict[str, Any]]:
    return [one for one in host.check().json["certificates"] if one["source"] == "served"]


@pytest.mark.parametrize(
    ("command", "directory"),
    [
        ('"{home}"/acme.sh --cron --home "{home}" > /dev/null', ".acme.sh/one.example_ecc"),
        ("/usr/local/bin/lego --path {home} --email a@b.example -d one.example renew", ".lego/certificates"),
        ("/usr/local/bin/dehydrated --cron -f {home}/config", "dehydrated/certs/one.example"),
        ("/usr/local/bin/getssl -u -a -q -w {home}", ".getssl/one.example"),
    ],
    ids=["acme.sh", "lego", "dehydrated", "getssl"],
)
def test_who_renews_is_named_and_saved_whole(
    tmp_path: Path, authority: Authority, command: str, directory: str
) -> None:
    """acme.sh#2035: the crontab was saved, the account's key and the DNS credentials were not."""
    (tmp_path / "ca.pem").write_bytes(authority.root.pem)
    place = tmp_path / "home" / directory
    place.mkdir(parents=True)
    home = tmp_path / "home" / directory.split("/", maxsplit=1)[0]
    files = lay(place, "one.example", authority.issue(["one.example"]))
    for name in ("account.conf", "ca/account.key"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text("SAVED_DNS_TOKEN='x'\n")
    with TlsHost(tmp_path, block(free_port(), "one.example", files)) as host:
        bare = host.check()
        (host.cron / "renewal").write_text(f"0 3 * * * root {command.format(home=home)}\n")
        renewed, saved = host.check(), backed_up(host)
    assert by_name(bare.json)["one.example", "file"]["renewal"] is None
    found = by_name(renewed.json)["one.example", "file"]
    assert (found["status"], found["renewal"]["by"]) == ("ok", [f"{host.cron}/renewal:1"])
    assert {str(home / "account.conf"), str(home / "ca" / "account.key")} <= saved


def test_where_acme_sh_installs_to_is_its_own_word(tmp_path: Path, authority: Authority) -> None:
    """`acme.sh --install-cert` copies elsewhere; its own record names the copy."""
    (tmp_path / "ca.pem").write_bytes(authority.root.pem)
    files = lay(tmp_path, "installed", authority.issue(["one.example"]))
    record = tmp_path / "home" / "one.example_ecc" / "one.example.conf"
    record.parent.mkdir(parents=True)
    record.write_text(f"Le_Domain='one.example'\nLe_RealFullChainPath='{files[0]}'\n")
    with TlsHost(tmp_path, block(free_port(), "one.example", files)) as host:
        entry = host.cron / "acme"
        entry.write_text(f"0 3 * * * root /usr/bin/acme.sh --cron --home {tmp_path}/home\n")
        found = by_name(host.check().json)["one.example", "file"]
        assert found["renewal"]["by"] == [f"{entry}:1"]
