"""Resolve the service's name.

A given resolver is asked directly; otherwise look in /etc/hosts, then ask the servers of /etc/resolv.conf.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import time
from collections.abc import Iterable

import msgspec

from ops.collect.net.dns_message import (
    AAAA,
    NOERROR,
    NXDOMAIN,
    REFUSED,
    A,
    DnsAnswer,
    Question,
    name_of,
    rcode_words,
    read_answer,
)
from ops.facts.base import NotSeen
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Resolution
from ops.interpret.address import split_address
from ops.text.sanitize import safe_line

# Time limit for all tries and servers together, in seconds; after it the resolver counts as dead.
PATIENCE = 1.8
# After this silence, ask the next server in parallel, or repeat the question if none is left, in seconds.
PATIENCE_PER_TRY = 0.6
# Once one address family has answered, wait this long for the other, in seconds.
PATIENCE_FOR_OTHER_FAMILY = 0.5
MAX_SERVERS = 3
MAX_ADDRESSES = 64
DNS_PORT = 53
MAX_FILE_BYTES = 1 << 20
HOSTS_FILE = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"


def resolve(name: str, resolver: str | None, deadline: float) -> Resolution | NotSeen:
    """Return the addresses of ``name``; ``resolver`` is ``ip[:port]``, or None for the host's own configuration.

    Returns by ``deadline`` (time.monotonic) or after `PATIENCE`, whichever comes first; NotSeen if the question timed
    out and the deadline left less time than one try takes."""
    plain_name = name.strip().rstrip(".").lower()
    literal = _literal(plain_name)
    display_name = safe_line(name)
    if literal is not None:
        return Resolution(name=display_name, resolver="", addresses=(literal,), is_literal=True)
    if resolver is not None:
        return _ask_servers(display_name, plain_name, [resolver], (), deadline)
    addresses = in_hosts_file(_read(HOSTS_FILE), plain_name)
    if not addresses and (plain_name == "localhost" or plain_name.endswith(".localhost")):
        addresses = ("127.0.0.1", "::1")  # RFC 6761, 6.3
        return Resolution(name=display_name, resolver="localhost", addresses=addresses)
    if addresses:
        return Resolution(name=display_name, resolver=HOSTS_FILE, addresses=addresses)
    configured = parse_resolv_conf(_read(RESOLV_CONF))
    return _ask_servers(
        display_name, plain_name, configured.servers, configured.searched(plain_name), deadline
    )


def _literal(name: str) -> str | None:
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return None


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  bounded read of a system file
            return file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


# --- the host's own files ---


def in_hosts_file(content: str, name: str) -> tuple[str, ...]:
    """Return the addresses that the lines of a hosts(5) file give ``name`` (lower case, no final dot)."""
    addresses: dict[str, None] = {}
    for row in content.splitlines():
        words = row.partition("#")[0].split()
        if len(words) < 2 or name not in (word.lower().rstrip(".") for word in words[1:]):
            continue
        address = _literal(words[0])
        if address is not None:
            addresses[address] = None
    return tuple(addresses)


class ResolvConf(msgspec.Struct, frozen=True):
    """The contents of resolv.conf(5): servers in order, search domains, the number of dots in an absolute name."""

    servers: list[str]
    search: tuple[str, ...] = ()
    ndots: int = 1

    def searched(self, name: str) -> tuple[str, ...]:
        """Return the domains to append: none if ``name`` has enough dots to be absolute."""
        return self.search if name.count(".") < self.ndots else ()


def parse_resolv_conf(content: str) -> ResolvConf:
    """Return the servers, search list and ndots of a resolv.conf. Without a server, use 127.0.0.1, as libc does."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for row in content.splitlines():
        words = row.split()
        if len(words) < 2 or row[0] in "#;":
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(word.strip(".").lower() for word in words[1:7])
        elif words[0] == "options":
            for word in words[1:]:
                if word.startswith("ndots:") and word[6:].isdigit():
                    ndots = min(int(word[6:]), 15)
    return ResolvConf(servers[:MAX_SERVERS] or ["127.0.0.1"], search, ndots)


# --- asking ---


def _ask_servers(
    display_name: str, name: str, servers: list[str], search: Iterable[str], deadline: float
) -> Resolution | NotSeen:
    resolver = ", ".join(safe_line(server, 80) for server in servers)
    started = time.monotonic()
    until = min(deadline, started + PATIENCE)
    outcome = _Outcome(ProbeFailure.NXDOMAIN, f"{display_name!r} is not a name that can be asked for")
    # With search domains the bare name comes last (resolv.conf(5), ndots).
    for candidate in (*(f"{name}.{domain}" for domain in search if domain), name):
        questions = _questions(candidate)
        if questions is None:
            continue
        outcome = _Asking(questions, servers, until).outcome()
        if outcome.failure not in (ProbeFailure.NXDOMAIN, ProbeFailure.NO_ADDRESS):
            break
    if outcome.failure is ProbeFailure.TIMEOUT and deadline - started < min(PATIENCE, PATIENCE_PER_TRY):
        return NotSeen(reason="no time was left for the resolver to answer")
    return Resolution(
        name=display_name,
        resolver=resolver,
        addresses=outcome.addresses,
        failure=outcome.failure,
        detail=safe_line(f"{resolver}: {outcome.detail}") if outcome.failure else "",
        alias=safe_line(outcome.alias, 300),
    )


class _Outcome(msgspec.Struct, frozen=True):
    failure: ProbeFailure | None
    detail: str = ""
    addresses: tuple[str, ...] = ()
    alias: str = ""


def _questions(name: str) -> dict[int, Question] | None:
    """Return an A and an AAAA question by message id, None for an invalid name."""
    try:
        labels = name_of(name)
    except ValueError:
        return None
    number = int.from_bytes(os.urandom(2), "big")
    kinds = {number: A, (number + 1) % 65536: AAAA}
    return {key: Question(key, labels, kind) for key, kind in kinds.items()}


class _Server(msgspec.Struct):
    """One server being asked: its socket, and its answers so far by question id."""

    address: str
    sock: socket.socket | None = None
    answers: dict[int, DnsAnswer] = msgspec.field(default_factory=dict)
    trouble: _Outcome | None = None


class _Asking:
    """Put two questions to the servers: first to one alone, then in parallel to the next if it is silent or fails."""

    def __init__(self, questions: dict[int, Question], servers: list[str], until: float) -> None:
        self._questions = questions
        self._waiting = [_Server(server) for server in servers]
        self._asked: list[_Server] = []
        self._started = time.monotonic()
        self._until = until

    def outcome(self) -> _Outcome:
        """Return addresses, or the most informative failure, and close all sockets."""
        try:
            return self._run()
        finally:
            for server in self._asked:
                if server.sock is not None:
                    server.sock.close()

    def _run(self) -> _Outcome:
        self._ask_next()
        repeat = self._started + PATIENCE_PER_TRY
        until = self._until
        while (now := time.monotonic()) < until:
            decided = self._decided()
            if decided is not None:
                return decided
            if self._has_addresses():
                until = min(until, now + PATIENCE_FOR_OTHER_FAMILY)
            if now >= repeat:
                repeat = now + PATIENCE_PER_TRY
                if not self._ask_next():
                    for server in self._asked:
                        self._send(server)
            open_socks = {s.sock: s for s in self._asked if s.sock is not None and s.trouble is None}
            if not open_socks:
                if not self._ask_next():
                    break
                continue
            ready, _, _ = select.select(list(open_socks), [], [], max(0.0, min(until, repeat) - now))
            for sock in ready:
                self._receive(open_socks[sock])
        return self._decided() or self._exhausted()

    def _ask_next(self) -> bool:
        if not self._waiting:
            return False
        server = self._waiting.pop(0)
        self._asked.append(server)
        host, port = _place(server.address)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.inet_pton(family, host.partition("%")[0])
            server.sock = socket.socket(family, socket.SOCK_DGRAM)
            server.sock.setblocking(False)
            # Connect the socket: the kernel then drops datagrams from others and reports an ICMP refusal as an error.
            server.sock.connect((host, port))
        except (OSError, OverflowError, ValueError) as error:
            server.trouble = _Outcome(ProbeFailure.UNREACHABLE, _words(error))
            return True
        self._send(server)
        return True

    def _send(self, server: _Server) -> None:
        if server.sock is None or server.trouble is not None:
            return
        for number, question in self._questions.items():
            if number in server.answers:
                continue
            try:
                server.sock.send(question.wire)
            except OSError as error:
                server.trouble = _Outcome(ProbeFailure.UNREACHABLE, _words(error))

    def _receive(self, server: _Server) -> None:
        assert server.sock is not None  # noqa: S101  only open sockets are waited for
        try:
            wire = server.sock.recv(65535)
        except BlockingIOError:
            return
        except OSError as error:
            # ICMP reported that nothing listens there.
            server.trouble = _Outcome(ProbeFailure.UNREACHABLE, _words(error))
            return
        answer = read_answer(wire, self._questions)
        if answer is not None and answer.is_truncated:
            answer = self._over_tcp(server, self._questions[answer.id])
        if answer is not None:
            server.answers[answer.id] = answer

    def _over_tcp(self, server: _Server, question: Question) -> DnsAnswer | None:
        # RFC 7766: the same question over TCP, two octets of length before each message.
        wire = question.wire
        try:
            remaining = self._until - time.monotonic()
            with socket.create_connection(_place(server.address), timeout=max(0.01, remaining)) as sock:
                sock.sendall(len(wire).to_bytes(2, "big") + wire)
                length = int.from_bytes(self._exactly(sock, 2), "big")
                return read_answer(self._exactly(sock, length), self._questions)
        except (OSError, OverflowError):
            return None

    def _exactly(self, sock: socket.socket, count: int) -> bytes:
        received = b""
        while len(received) < count:
            remaining = self._until - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            sock.settimeout(remaining)
            piece = sock.recv(count - len(received))
            if not piece:
                raise ConnectionResetError
            received += piece
        return received

    # Evaluate the answers so far.

    def _has_addresses(self) -> bool:
        return any(answer.addresses for server in self._asked for answer in server.answers.values())

    def _decided(self) -> _Outcome | None:
        """Return the outcome once no pending answer could change it."""
        for server in self._asked:
            if len(server.answers) < len(self._questions):
                continue
            addresses = _addresses(server.answers.values())
            if addresses:
                return _Outcome(None, addresses=addresses)
            codes = {answer.rcode for answer in server.answers.values()}
            if codes <= {NOERROR, NXDOMAIN}:
                # A negative answer ends the search, as in libc.
                alias = next((a.alias for a in server.answers.values() if a.alias), "")
                return msgspec.structs.replace(_no(codes), alias=alias)
            server.trouble = server.trouble or _failed(codes)
        if not self._waiting and all(server.trouble is not None for server in self._asked):
            return self._exhausted()
        return None

    def _exhausted(self) -> _Outcome:
        for server in self._asked:
            addresses = _addresses(server.answers.values())
            if addresses:
                return _Outcome(None, addresses=addresses)
        troubles = [server.trouble for server in self._asked if server.trouble is not None]
        refusal = next(
            (t for t in troubles if t.failure in (ProbeFailure.SERVFAIL, ProbeFailure.REFUSED)), None
        )
        silent = [server for server in self._asked if server.trouble is None]
        if refusal is not None:
            return refusal
        if silent or not troubles:
            return _Outcome(
                ProbeFailure.TIMEOUT, f"no answer within {time.monotonic() - self._started:.1f} s"
            )
        return troubles[0]


def _words(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _place(server: str) -> tuple[str, int]:
    """Return host and port of a server written as ``ip``, ``ip:port``, ``[v6]:port`` or a bare IPv6 address."""
    if _literal(server) is not None:
        return server.strip("[]"), DNS_PORT
    host, port = split_address(server)
    return host, port or DNS_PORT


def _addresses(answers: Iterable[DnsAnswer]) -> tuple[str, ...]:
    addresses = [address for answer in answers for address in answer.addresses]
    return tuple(sorted(dict.fromkeys(addresses), key=lambda address: ":" in address))[:MAX_ADDRESSES]


def _no(codes: set[int]) -> _Outcome:
    if NXDOMAIN in codes:
        return _Outcome(ProbeFailure.NXDOMAIN, "the name does not exist (NXDOMAIN)")
    return _Outcome(ProbeFailure.NO_ADDRESS, "the name exists, but has no A or AAAA record")


def _failed(codes: set[int]) -> _Outcome:
    if REFUSED in codes:
        return _Outcome(ProbeFailure.REFUSED, "the resolver refuses to answer for this name (REFUSED)")
    words = ", ".join(sorted(rcode_words(code) for code in codes if code))
    return _Outcome(ProbeFailure.SERVFAIL, f"the resolver failed ({words})")
