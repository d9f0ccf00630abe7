"""What TLS servers present: real handshakes with certificates made for the purpose."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.collect.net.tls import NO_ROOTS, served_certificate
from ops.facts.base import NotSeen
from ops.facts.certificates import Served
from tests.lab.authority import Authority, Issued, self_signed
from tests.system.peer import free_port, peer, repeats, silent

NAME = "gte.example"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def root_file(authority: Authority, tmp_path: Path) -> str:
    path = tmp_path / "root.pem"
    path.write_bytes(authority.root.pem)
    return str(path)


def server_context(issued: Issued, chain: bytes, directory: Path) -> ssl.SSLContext:
    (directory / "pair.pem").write_bytes(chain + issued.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "pair.pem")
    return context


def look(address: str, ca_file: str | None, name: str = NAME, seconds: float = 5) -> Served | NotSeen:
    return served_certificate(address, name, ca_file, time.monotonic() + seconds)


def served(issued: Issued, chain: bytes, directory: Path, ca_file: str | None) -> Served:
    with peer(lambda _sock: None, tls=server_context(issued, chain, directory)) as address:
        seen = look(address, ca_file)
    assert isinstance(seen, Served), seen
    return seen


def test_a_trusted_chain(authority: Authority, root_file: str, tmp_path: Path) -> None:
    issued = authority.issue([NAME, "*.gte.example", "127.0.0.1"])
    seen = served(issued, issued.fullchain_pem, tmp_path, root_file)
    assert (seen.trust_code, seen.trust_error) == (0, None)
    assert seen.server_name == NAME
    assert seen.protocol.startswith("TLSv1.")
    leaf, intermediate = seen.chain
    assert leaf.names == (NAME, "*.gte.example", "127.0.0.1")
    assert (leaf.is_authority, leaf.self_signed, leaf.key_type) == (False, False, "EC secp256r1")
    assert intermediate.is_authority
    assert leaf.issuer == intermediate.subject


@pytest.mark.parametrize(
    ("start", "days"),
    [(NOW - timedelta(days=100), 90), (NOW + timedelta(days=10), 90)],
    ids=["expired", "early"],
)
def test_dates_are_seen_and_leave_the_trust_alone(
    authority: Authority, root_file: str, tmp_path: Path, start: datetime, days: int
) -> None:
    end = start + timedelta(days=days)
    issued = authority.issue([NAME], not_before=start, not_after=end)
    seen = served(issued, issued.fullchain_pem, tmp_path, root_file)
    assert (seen.trust_code, seen.trust_error) == (0, None)
    assert abs(seen.chain[0].not_after - end.timestamp()) < 1
    assert abs(seen.chain[0].not_before - start.timestamp()) < 1


def test_another_name_leaves_the_trust_alone(authority: Authority, root_file: str, tmp_path: Path) -> None:
    issued = authority.issue(["other.example"])
    seen = served(issued, issued.fullchain_pem, tmp_path, root_file)
    assert seen.trust_code == 0
    assert seen.chain[0].names == ("other.example",)


def test_a_missing_intermediate(authority: Authority, root_file: str, tmp_path: Path) -> None:
    issued = authority.issue([NAME])
    seen = served(issued, issued.pem, tmp_path, root_file)
    # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    assert seen.trust_code == 20
    assert "issuer" in (seen.trust_error or "")
    assert len(seen.chain) == 1


def test_a_self_signed_certificate(root_file: str, tmp_path: Path) -> None:
    issued = self_signed([NAME])
    seen = served(issued, issued.pem, tmp_path, root_file)
    # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    assert seen.trust_code == 18
    assert seen.chain[0].self_signed


def test_a_root_nobody_trusts(authority: Authority, root_file: str, tmp_path: Path) -> None:
    stranger = Authority("Stranger").issue([NAME])
    seen = served(stranger, stranger.fullchain_pem, tmp_path, root_file)
    assert seen.trust_code == 20
    assert len(seen.chain) == 2
    whole = authority.issue([NAME])
    seen = served(whole, whole.fullchain_pem + authority.root.pem, tmp_path, None)
    # X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    assert seen.trust_code in (19, NO_ROOTS)
    assert len(seen.chain) == 3


@pytest.mark.parametrize("content", [None, b"", b"no certificate in here\n"])
def test_a_ca_file_that_is_of_no_use_is_said(
    authority: Authority, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    issued = authority.issue([NAME])
    seen = served(issued, issued.fullchain_pem, tmp_path, str(path))
    assert seen.trust_code != 0
    assert f"{path} is of no use" in (seen.trust_error or "")


def test_a_host_without_roots_does_not_call_everything_untrusted(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    issued = authority.issue([NAME])
    seen = served(issued, issued.fullchain_pem, tmp_path, None)
    assert seen.trust_code == NO_ROOTS
    assert "no root certificates" in (seen.trust_error or "")


def test_a_huge_chain_is_bounded(authority: Authority, root_file: str, tmp_path: Path) -> None:
    issued = authority.issue([NAME])
    padding = b"".join(Authority(f"Padding {number}").root.pem for number in range(30))
    seen = served(issued, issued.fullchain_pem + padding, tmp_path, root_file)
    assert seen.trust_code == 0
    assert len(seen.chain) == 16


def test_an_outdated_protocol_is_told_in_openssls_words(
    authority: Authority, root_file: str, tmp_path: Path
) -> None:
    issued = authority.issue([NAME])
    context = server_context(issued, issued.fullchain_pem, tmp_path)
    context.set_ciphers("NULL-SHA256:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with peer(lambda _sock: None, tls=context) as address:
        seen = look(address, root_file)
    assert isinstance(seen, NotSeen)
    assert "handshake" in seen.reason


def resets(sock: socket.socket) -> None:
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def plain_http(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_plain_http_on_the_port_is_said() -> None:
    with peer(plain_http) as address:
        seen = look(address, None)
    assert seen == NotSeen(reason=f"{address} speaks plain HTTP, not TLS")


def test_another_protocol_on_the_port_is_said() -> None:
    with peer(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as address:
        seen = look(address, None)
    assert seen == NotSeen(reason=f"what answers at {address} is not TLS")


@pytest.mark.parametrize(
    ("manners", "words"),
    [
        (silent, "in time"),
        (repeats(b"\x16", every=0.02), "in time"),
        (lambda sock: sock.recv(65536), "closed"),
        (resets, "reset the connection"),
    ],
    ids=["silent", "dripping", "closes", "resets"],
)
def test_no_handshake_ends_at_the_deadline(manners: Callable[[socket.socket], None], words: str) -> None:
    with peer(manners) as address:
        started = time.monotonic()
        seen = look(address, None, seconds=0.4)
    assert time.monotonic() - started < 5
    assert isinstance(seen, NotSeen)
    assert words in seen.reason


def test_nobody_listens() -> None:
    address = f"127.0.0.1:{free_port()}"
    assert look(address, None) == NotSeen(reason=f"no TLS connection to {address}: connection refused")


@pytest.mark.parametrize("name", ["127.0.0.1", "gte.example.", "服务.example", "a..b", "", "x" * 300])
def test_any_name_may_be_asked_for(authority: Authority, tmp_path: Path, name: str) -> None:
    issued = authority.issue([NAME])
    with peer(lambda _sock: None, tls=server_context(issued, issued.pem, tmp_path)) as address:
        assert isinstance(look(address, None, name=name), Served | NotSeen)
