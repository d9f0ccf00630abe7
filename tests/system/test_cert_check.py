"""`gte-ops cert check` on real servers: what it finds by itself, mail protocols, and endpoints that behave badly."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.lab.authority import Authority, Issued, self_signed, write_lineage
from tests.system.peer import free_port, peer, silent
from tests.system.tls_host import TlsHost

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def lay(directory: Path, stem: str, issued: Issued) -> tuple[Path, Path]:
    certificate, key = directory / f"{stem}.pem", directory / f"{stem}.key"
    certificate.write_bytes(issued.fullchain_pem)
    key.touch(mode=0o600)
    key.write_bytes(issued.key_pem)
    return certificate, key


def block(port: int, names: str, files: tuple[Path, Path], more: str = "") -> str:
    return (
        f"server {{ listen 127.0.0.1:{port} ssl {more}; server_name {names};\n"
        f"ssl_certificate {files[0]}; ssl_certificate_key {files[1]}; }}\n"
    )


def by_name(document: Any) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["name"], one["source"]): one for one in document["certificates"]}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[TlsHost]:
    """Six server blocks on one port, a lineage that nginx does not use, and a private authority."""
    directory = tmp_path_factory.mktemp("host")
    port = free_port()
    (directory / "ca.pem").write_bytes(authority.root.pem)
    good = authority.issue(["*.good.example", "good.example"])
    soon = authority.issue(
        ["soon.example"], not_before=NOW - timedelta(days=70), not_after=NOW + timedelta(days=20)
    )
    gone = authority.issue(
        ["gone.example"], not_before=NOW - timedelta(days=91), not_after=NOW - timedelta(days=1)
    )
    sites = [
        block(port, "_", lay(directory, "catchall", self_signed(["nobody.example"])), "default_server"),
        block(port, "good.example www.good.example", lay(directory, "good", good)),
        block(port, "*.wild.example", lay(directory, "wild", authority.issue(["*.wild.example"]))),
        block(port, "soon.example", lay(directory, "soon", soon)),
        block(port, "gone.example", lay(directory, "gone", gone)),
        block(port, "wrong.example", lay(directory, "wrong", authority.issue(["other.example"]))),
        f"server {{ listen 127.0.0.1:{free_port()}; server_name plain.example; }}\n",
    ]  # fmt: skip
    with TlsHost(directory, "".join(sites)) as made:
        write_lineage(made.letsencrypt, "unused.example", authority.issue(["unused.example"]))
        (made.letsencrypt / "archive" / "unused.example" / "privkey1.pem").chmod(0o644)
        made.more = '[[tls.thresholds]]\nnames = ["good.example"]\nwarn = "95d"\n'
        made.write_config()
        yield made


def test_everything_is_found_and_judged(host: TlsHost) -> None:
    ran = host.check()
    assert ran.exit_code == 2, ran
    found = by_name(ran.json)
    assert {
        name: (one["status"], one["reasons"]) for (name, source), one in found.items() if source == "served"
    } == {
        next(name for name, source in found if name.startswith("127.0.0.1")): ("ok", []),
        "good.example": ("warn", ["TLS002"]),
        "www.good.example": ("warn", ["TLS002"]),
        "www.wild.example": ("ok", []),
        "soon.example": ("warn", ["TLS002"]),
        "gone.example": ("fail", ["TLS001"]),
        "wrong.example": ("fail", ["TLS004"]),
    }
    lineage = found[("unused.example", "file")]
    assert lineage["reasons"] == ["TLS010", "TLS011"]
    assert all(one["matches_disk"] for (name, source), one in found.items() if source == "served")
    assert ran.json["certificates"][0]["status"] == "fail"


def test_a_server_for_unknown_names_is_no_fault(tmp_path: Path, authority: Authority) -> None:
    """Ours for nginx before 1.19.4, which has to show the site's certificate; and one that rejects every handshake,
    whatever certificate stands at the http level."""
    files = lay(tmp_path, "site", authority.issue(["site.example"]))
    port, other = free_port(), free_port()
    sites = [
        block(port, "unknown-name.invalid", files),
        block(port, "site.example", files),
        f"ssl_certificate {files[0]}; ssl_certificate_key {files[1]};\n",
        f"server {{ listen 127.0.0.1:{other} ssl; server_name _; ssl_reject_handshake on; }}\n",
        f"server {{ listen 127.0.0.1:{other} ssl; server_name other.example; ssl_reject_handshake on; }}\n",
    ]
    (tmp_path / "ca.pem").write_bytes(authority.root.pem)
    with TlsHost(tmp_path, "".join(sites)) as made:
        ran = made.check()
    served = {one["name"]: one["reasons"] for one in ran.json["certificates"] if one["source"] == "served"}
    assert served == {"site.example": [], f"127.0.0.1:{port}": []}


def test_the_other_formats_say_the_same(host: TlsHost, tmp_path: Path) -> None:
    nagios = host.check(form="nagios")
    assert nagios.exit_code == 2
    assert nagios.stdout.startswith("CERTS CRITICAL - gone.example")
    output = tmp_path / "certs.prom"
    written = host.check("--output", str(output), form="prometheus")
    assert (written.exit_code, written.stdout) == (2, "")
    assert 'gte_ops_certificate_not_after_timestamp_seconds{name="gone.example"' in output.read_text()
    assert list(tmp_path.iterdir()) == [output]
    assert output.stat().st_mode & 0o777 == 0o644
    chinese = host.gte_ops("cert", "check", "--config", str(host.config), "--lang", "zh")
    assert "故障  gone.example" in chinese.stdout
    nowhere = host.check("--output", "/proc/none/certs.prom", form="prometheus")
    assert (nowhere.exit_code, len(nowhere.stderr.splitlines())) == (3, 1)


# --- other hosts' endpoints ---

GREETINGS = {
    "smtp": b"220 mail ESMTP\r\n",
    "imap": b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n",
    "pop3": b"+OK hi\r\n",
}
ANSWERS = {
    b"EHLO": b"250-mail\r\n250 STARTTLS\r\n",
    b"CAPA": b"+OK\r\nSTLS\r\n.\r\n",
    b"STLS": b"+OK\r\n",
}


def answer(protocol: str, line: bytes) -> bytes:
    words = line.split()
    if protocol != "imap":
        return (
            b"220 go\r\n"
            if words[0].upper() == b"STARTTLS"
            else ANSWERS.get(words[0].upper(), b"500 what\r\n")
        )
    told = b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" if words[1] == b"CAPABILITY" else b""
    return told + words[0] + b" OK done\r\n"


def mail_server(protocol: str, context: ssl.SSLContext) -> Any:
    """Just enough of a mail server to begin TLS."""

    def manners(sock: socket.socket) -> None:
        sock.sendall(GREETINGS[protocol])
        link = sock
        while line := link.makefile("rb", buffering=0).readline():
            link.sendall(answer(protocol, line))
            if b"STARTTLS" in line.upper() or line.startswith(b"STLS"):
                link = context.wrap_socket(sock, server_side=True)

    return manners


@pytest.mark.parametrize("protocol", ["smtp", "imap", "pop3"])
def test_tls_inside_a_mail_protocol(
    host: TlsHost, authority: Authority, tmp_path: Path, protocol: str
) -> None:
    certificate, key = lay(tmp_path, "mail", authority.issue(["127.0.0.1"]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with peer(mail_server(protocol, context)) as address:
        ran = host.check("--starttls", protocol, address)
    (one,) = ran.json["certificates"]
    assert (ran.exit_code, one["status"], one["where"]) == (0, "ok", f"{protocol}://{address}"), ran
    assert (one["names"], one["chain_complete"]) == (["127.0.0.1"], True)


def says(words: bytes) -> Any:
    def manners(sock: socket.socket) -> None:
        sock.sendall(words)
        silent(sock)

    return manners


def test_endpoints_that_behave_badly_get_a_line_each_and_cost_no_time(host: TlsHost) -> None:
    with contextlib.ExitStack() as peers:
        silent_one = peers.enter_context(peer(silent))
        rude = peers.enter_context(peer(says(b"\x1b[2J220 not TLS at all \xff\x00\r\n" * 100)))
        closed = f"127.0.0.1:{free_port()}"
        started = time.monotonic()
        ran = host.check("--timeout", "1s", silent_one, rude, closed, "nowhere.invalid")
        seconds = time.monotonic() - started
    assert ran.exit_code == 3
    assert ran.stderr == ""
    assert len(ran.json["certificates"]) == 4
    for one in ran.json["certificates"]:
        assert (one["status"], one["names"], len(one["remarks"])) == ("unknown", [], 1)
        assert "\x1b" not in one["remarks"][0]["text"]
    assert seconds < 15  # four endpoints side by side, a second each, on a busy machine


@pytest.mark.parametrize(("protocol", "words"), [("smtp", b"554 \x1b[31mgo away\r\n"), ("imap", b"* BYE no\r\n"), ("pop3", b"-ERR\r\n"), ("smtp", b"")])  # fmt: skip  # noqa: E501
def test_a_mail_server_that_refuses(host: TlsHost, protocol: str, words: bytes) -> None:
    with peer(says(words)) as address:
        ran = host.check("--timeout", "1s", "--starttls", protocol, address)
    assert (ran.exit_code, ran.stderr) == (3, "")
    (one,) = ran.json["certificates"]
    assert one["status"] == "unknown"
    assert "\x1b" not in ran.stdout
    assert "\\u001b" not in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--starttls", "xmpp", "a.example"), "supported: smtp, imap, pop3"),
        (("--starttls", "smtp"), "needs an endpoint"),
        (("a.example:http",), "HOST:PORT"),
        (("--timeout", "1d", "a.example"), "between 0.1s and 2m"),
    ],
)
def test_misuse_is_one_line_and_exit_code_3(host: TlsHost, arguments: tuple[str, ...], says: str) -> None:
    ran = host.check(*arguments)
    assert (ran.exit_code, len(ran.stderr.splitlines())) == (3, 1)
    assert says in ran.stderr
    # Asked for JSON, it answers in JSON whatever happens.
    assert says in json.loads(ran.stdout)["error"]["message"]


def test_hostile_files_of_certbots_get_a_line_each(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.root.pem)
    with TlsHost(tmp_path, f"server {{ listen 127.0.0.1:{free_port()}; }}") as made:
        names = ("broken", "outside", "huge", "esc\x1b[2Jape")
        for name in names:
            write_lineage(made.letsencrypt, name, authority.issue(["x.example"]))
        renewal = made.letsencrypt / "renewal"
        (renewal / "broken.conf").write_bytes(b"\x00\x1b]0;gotcha\x07[[[[\n")
        outside = renewal / "outside.conf"
        outside.write_text(outside.read_text().replace(f"{made.letsencrypt}/archive/outside", "/etc"))
        (renewal / "huge.conf").write_bytes(b"# " + b"x" * (1 << 20))
        (made.directory / "logs").mkdir()
        (made.directory / "logs" / "letsencrypt.log").write_bytes(b"\xff\x1b[2J\n" * 200_000)
        (made.cron / "certbot").write_text("@daily root certbot renew\n")
        ran = made.check()
    assert ran.exit_code == 1, ran
    assert ran.stderr == ""
    assert "\x1b" not in ran.stdout
    assert "\\u001b" not in ran.stdout
    told = {
        one["name"]: " ".join(remark["text"] for remark in one["remarks"]) for one in ran.json["certificates"]
    }
    assert "line 1" in told["broken"]
    assert "/etc lies outside" in told["outside"]
    assert "larger than" in told["huge"]
