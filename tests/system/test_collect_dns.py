"""The name, asked of a real dnsmasq and of servers that are dead, silent or lying."""

import contextlib
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset
import pytest

from ops.collect.net import dns as collect_dns
from ops.collect.net.dns import resolve
from ops.facts.base import NotSeen
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Resolution
from tests.system.peer import free_port

MANY = 120


@pytest.fixture(scope="module")
def dnsmasq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = shutil.which("dnsmasq") or shutil.which("dnsmasq", path="/usr/sbin:/sbin")
    if binary is None:
        pytest.skip("dnsmasq is not installed (Debian: dnsmasq-base)")
    port = free_port()
    many = [f"--host-record=many.test,10.9.0.{number}" for number in range(MANY)]
    server = subprocess.Popen(
        [
            binary,
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=",
            "--pid-file=",
            f"--port={port}",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--local=/test/",
            "--host-record=four.test,10.0.0.4",
            "--host-record=six.test,fd00::6",
            "--host-record=both.test,10.0.0.1,fd00::1",
            "--cname=alias.test,both.test",
            "--txt-record=text.test,words",
            *many,
        ],
        cwd=tmp_path_factory.mktemp("dnsmasq"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    resolver = f"127.0.0.1:{port}"
    deadline = time.monotonic() + 10
    while ask("four.test", resolver).failure is not None:
        assert time.monotonic() < deadline, "dnsmasq does not answer"
    yield resolver
    server.terminate()
    server.wait(5)


def ask(name: str, resolver: str | None, seconds: float = 10.0) -> Resolution:
    answer = resolve(name, resolver, time.monotonic() + seconds)
    assert isinstance(answer, Resolution)
    return answer


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("four.test", ("10.0.0.4",)),
        ("FOUR.test.", ("10.0.0.4",)),
        ("six.test", ("fd00::6",)),
        ("both.test", ("10.0.0.1", "fd00::1")),
        ("alias.test", ("10.0.0.1", "fd00::1")),
    ],
)
def test_addresses_of_both_families_behind_aliases(
    dnsmasq: str, name: str, addresses: tuple[str, ...]
) -> None:
    answer = ask(name, dnsmasq)
    assert (answer.failure, answer.addresses, answer.resolver) == (None, addresses, dnsmasq)


@pytest.mark.parametrize(
    ("name", "failure", "detail"),
    [
        ("nowhere.test", "nxdomain", "NXDOMAIN"),
        ("text.test", "no_address", "no A or AAAA"),
        ("gte.example.com", "refused", "REFUSED"),
        ("a..test", "nxdomain", "not a name"),
        ("x" * 64 + ".test", "nxdomain", "not a name"),
        (".".join(["long"] * 60), "nxdomain", "not a name"),
        ("", "nxdomain", "not a name"),
    ],
)
def test_each_no_is_told_apart(dnsmasq: str, name: str, failure: str, detail: str) -> None:
    answer = ask(name, dnsmasq)
    assert (answer.failure, answer.addresses) == (failure, ())
    assert detail in answer.detail
    assert dnsmasq in answer.detail


def test_a_truncated_answer_is_asked_for_again_over_tcp(
    dnsmasq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So many addresses do not fit the 1232 bytes that the question allows.
    monkeypatch.setattr(collect_dns, "MAX_ADDRESSES", 1000)
    assert len(ask("many.test", dnsmasq).addresses) == MANY


def test_more_addresses_than_anyone_needs_are_bounded(dnsmasq: str) -> None:
    assert len(ask("many.test", dnsmasq).addresses) == collect_dns.MAX_ADDRESSES


def test_a_name_in_chinese(dnsmasq: str) -> None:
    assert ask("服务.test", dnsmasq).failure is ProbeFailure.NXDOMAIN


@contextlib.contextmanager
def server(reply: Callable[[bytes], bytes | None]) -> Iterator[str]:
    """A UDP server that answers each question with ``reply``'s bytes, or not at all."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                wire, client = sock.recvfrom(4096)
                if wire == b"stop":
                    return
                answer = reply(wire)
                if answer is not None:
                    sock.sendto(answer, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{sock.getsockname()[1]}"
        sock.sendto(b"stop", sock.getsockname())
        thread.join(5)


def failing(code: dns.rcode.Rcode) -> Callable[[bytes], bytes]:
    def reply(wire: bytes) -> bytes:
        answer = dns.message.make_response(dns.message.from_wire(wire))
        answer.set_rcode(code)
        return answer.to_wire()

    return reply


def test_a_silent_resolver_is_a_timeout_that_says_how_long_it_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_dns, "PATIENCE", 0.3)
    with server(lambda _wire: None) as silent:
        started = time.monotonic()
        answer = ask("four.test", silent)
    assert time.monotonic() - started < 5
    assert answer.failure is ProbeFailure.TIMEOUT
    assert re.fullmatch(rf"{re.escape(silent)}: no answer within [01]\.\d s", answer.detail)


def test_the_deadline_counts_even_when_it_is_sooner() -> None:
    with server(lambda _wire: None) as silent:
        started = time.monotonic()
        assert ask("four.test", silent, seconds=0.7).failure is ProbeFailure.TIMEOUT
    assert time.monotonic() - started < 5


def test_a_resolver_that_had_no_time_to_answer_is_not_accused() -> None:
    with server(lambda _wire: None) as silent:
        assert isinstance(resolve("four.test", silent, time.monotonic() + 0.1), NotSeen)
        assert isinstance(resolve("four.test", silent, time.monotonic() - 1), NotSeen)


def test_a_lost_question_is_asked_again(dnsmasq: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_dns, "PATIENCE_PER_TRY", 0.1)
    lost: set[bytes] = set()
    real = dnsmasq.rpartition(":")[2]

    def reply(wire: bytes) -> bytes | None:
        if wire not in lost:
            lost.add(wire)
            return None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(wire, ("127.0.0.1", int(real)))
            return sock.recv(4096)

    with server(reply) as lossy:
        assert ask("both.test", lossy).addresses == ("10.0.0.1", "fd00::1")


@pytest.mark.parametrize(
    ("code", "failure"),
    [(dns.rcode.SERVFAIL, "servfail"), (dns.rcode.REFUSED, "refused"), (dns.rcode.FORMERR, "servfail")],
)
def test_a_resolver_that_fails(code: dns.rcode.Rcode, failure: str) -> None:
    with server(failing(code)) as broken:
        started = time.monotonic()
        answer = ask("four.test", broken)
    assert answer.failure == failure
    assert time.monotonic() - started < 5


def test_forged_and_broken_answers_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_dns, "PATIENCE", 0.3)

    def another_question(wire: bytes) -> bytes:
        forged = dns.message.make_query("evil.test", "A", id=int.from_bytes(wire[:2], "big"))
        return dns.message.make_response(forged).to_wire()

    for reply in (lambda wire: wire[:7], lambda _wire: b"\xff" * 512, lambda wire: wire, another_question):
        with server(reply) as liar:
            assert ask("four.test", liar).failure is ProbeFailure.TIMEOUT


def test_one_family_is_enough_when_the_other_is_never_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_dns, "PATIENCE_FOR_OTHER_FAMILY", 0.1)

    def only_a(wire: bytes) -> bytes | None:
        question = dns.message.from_wire(wire)
        if question.question[0].rdtype != 1:
            return None
        answer = dns.message.make_response(question)
        answer.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", "10.0.0.4"))
        return answer.to_wire()

    with server(only_a) as half:
        started = time.monotonic()
        assert ask("four.test", half).addresses == ("10.0.0.4",)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("resolver", ["127.0.0.1:{port}", "not-an-address", "127.0.0.1:99999", "[::1", ""])
def test_a_resolver_that_cannot_be_reached(resolver: str) -> None:
    answer = ask("four.test", resolver.format(port=free_port()))
    assert answer.failure is ProbeFailure.UNREACHABLE
    assert answer.detail


# --- the host's own way ---


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def write(hosts: str, resolv_conf: str) -> None:
        (tmp_path / "hosts").write_text(hosts)
        (tmp_path / "resolv.conf").write_text(resolv_conf)

    monkeypatch.setattr(collect_dns, "HOSTS_FILE", str(tmp_path / "hosts"))
    monkeypatch.setattr(collect_dns, "RESOLV_CONF", str(tmp_path / "resolv.conf"))
    return write


def test_the_hosts_file_comes_first(own_files: Callable[[str, str], None]) -> None:
    own_files("10.1.1.1 gte.example\nfd00::1 other GTE.example # here\n", "nameserver 127.0.0.1\n")
    answer = ask("gte.example", None)
    assert (answer.failure, answer.addresses) == (None, ("10.1.1.1", "fd00::1"))


def test_a_dead_first_server_does_not_hide_a_live_second(
    dnsmasq: str, own_files: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_dns, "PATIENCE_PER_TRY", 0.1)
    with server(lambda _wire: None) as silent, server(failing(dns.rcode.SERVFAIL)) as broken:
        for dead in (silent, broken, f"127.0.0.1:{free_port()}", "999.1.1.1"):
            own_files("", f"nameserver {dead}\nnameserver {dnsmasq}\n")
            answer = ask("four.test", None)
            assert (answer.failure, answer.addresses) == (None, ("10.0.0.4",)), dead
            assert answer.resolver == f"{dead}, {dnsmasq}"


def test_search_domains_complete_a_short_name(dnsmasq: str, own_files: Callable[[str, str], None]) -> None:
    own_files("", f"search nowhere.test test\nnameserver {dnsmasq}\n")
    assert ask("four", None).addresses == ("10.0.0.4",)
    assert ask("nobody", None).failure is not None


@pytest.mark.parametrize("name", ["localhost", "api.localhost", "LOCALHOST."])
def test_localhost_needs_no_server(own_files: Callable[[str, str], None], name: str) -> None:
    own_files("", "nameserver 127.0.0.1\n")
    assert ask(name, None).addresses == ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("name", "address"), [("203.0.113.7", "203.0.113.7"), ("[2001:DB8::1]", "2001:db8::1")]
)
def test_a_literal_is_no_question(name: str, address: str) -> None:
    answer = ask(name, "127.0.0.1:1")
    assert (answer.is_literal, answer.addresses, answer.failure) == (True, (address,), None)
