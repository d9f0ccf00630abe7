"""DNS messages for address look-ups: write one question, read one answer (RFC 1035, 4; RFC 6891, 6.1).

All input is untrusted: every length is checked, and a malformed message counts as no answer.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

import msgspec

A, CNAME, AAAA, OPT = 1, 5, 28, 41
INTERNET = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
# The largest datagram that no usual path fragments (DNS flag day 2020).
PAYLOAD = 1232
MAX_NAME_BYTES = 255
MAX_LABEL_BYTES = 63
MAX_ALIASES = 16
# Pointers followed within one name: no name has more labels.
MAX_HOPS = 127
_RESPONSE, _TRUNCATED, _RECURSION = 0x8000, 0x0200, 0x0100
_OPCODE = 0x7800
_ADDRESSES = {A: (socket.AF_INET, 4), AAAA: (socket.AF_INET6, 16)}
_WORDS = {
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
}

Name = tuple[bytes, ...]


class MalformedMessageError(ValueError):
    """The bytes are not a DNS message."""


class Question(msgspec.Struct, frozen=True):
    """A question for the addresses of one family. ``name``: labels in lower case; ``kind``: `A` or `AAAA`."""

    id: int
    name: Name
    kind: int

    @property
    def wire(self) -> bytes:
        """The encoded message: recursion desired, EDNS announced with `PAYLOAD`."""
        counts = (self.id, _RECURSION, 1, 0, 0, 1)
        name = b"".join(bytes([len(label)]) + label for label in self.name) + b"\0"
        question = name + _octets(self.kind) + _octets(INTERNET)
        edns = b"\0" + _octets(OPT) + _octets(PAYLOAD) + bytes(6)
        return b"".join(map(_octets, counts)) + question + edns


class DnsAnswer(msgspec.Struct, frozen=True):
    """A server's answer: its code, the addresses at the end of the alias chain, in the answer's order, and the name at
    that end; empty if the name is no alias."""

    id: int
    rcode: int
    is_truncated: bool
    addresses: tuple[str, ...]
    alias: str = ""


def name_of(words: str) -> Name:
    """Return the labels of a name, IDNA-encoded (RFC 3490) if not ASCII. Raises ValueError for an invalid name (RFC
    1035, 2.3.4)."""
    text = words.rstrip(".").lower()
    labels = tuple((text if text.isascii() else text.encode("idna").decode()).encode().split(b"."))
    if not all(0 < len(label) <= MAX_LABEL_BYTES for label in labels):
        raise ValueError(f"a part of the name is empty or longer than {MAX_LABEL_BYTES} bytes")
    if sum(len(label) + 1 for label in labels) >= MAX_NAME_BYTES:
        raise ValueError(f"the name is longer than {MAX_NAME_BYTES} bytes")
    return labels


def rcode_words(code: int) -> str:
    """Return a response code's name (RFC 1035, 4.1.1), or its number."""
    return _WORDS.get(code, f"RCODE {code}")


def read_answer(wire: bytes, questions: Mapping[int, Question]) -> DnsAnswer | None:
    """Read the answer to one of ``questions`` (by id); return None for anything else, however broken.

    A truncated answer is returned without addresses: the caller asks again over TCP (RFC 2181, 9)."""
    try:
        return _answer(wire, questions)
    except MalformedMessageError:
        return None


def _answer(wire: bytes, questions: Mapping[int, Question]) -> DnsAnswer | None:
    number, flags, question_count, answers, authorities, others = (_number(wire, 2 * i) for i in range(6))
    question = questions.get(number)
    if question is None or not flags & _RESPONSE or flags & _OPCODE:
        return None
    rcode = flags & 15
    if question_count == 0:
        # A server that refuses may omit the question.
        return DnsAnswer(number, rcode, is_truncated=False, addresses=()) if rcode else None
    name, place = _name(wire, 12)
    is_ours = name == question.name and _number(wire, place) == question.kind
    if question_count != 1 or not is_ours or _number(wire, place + 2) != INTERNET:
        return None
    if flags & _TRUNCATED:
        return DnsAnswer(number, rcode, is_truncated=True, addresses=())
    records = list(_records(wire, place + 4, answers + authorities + others))
    for record in records[answers + authorities :]:
        if record.kind == OPT:
            rcode |= record.extended << 4
    addresses, end = _addresses(wire, records[:answers], question)
    alias = b".".join(end).decode("ascii", "replace") if end != question.name else ""
    return DnsAnswer(number, rcode, is_truncated=False, addresses=addresses, alias=alias)


class _DnsRecord(msgspec.Struct, frozen=True):
    """One record. ``place``, ``size``: its data's offset and length in the message; ``extended``: first octet of its
    TTL."""

    name: Name
    kind: int
    is_internet: bool
    extended: int
    place: int
    size: int


def _records(wire: bytes, place: int, count: int) -> Iterator[_DnsRecord]:
    for _ in range(count):
        name, place = _name(wire, place)
        kind, family, size = _number(wire, place), _number(wire, place + 2), _number(wire, place + 8)
        if place + 10 + size > len(wire):
            raise MalformedMessageError
        yield _DnsRecord(name, kind, family == INTERNET, wire[place + 4], place + 10, size)
        place += 10 + size


def _addresses(wire: bytes, records: list[_DnsRecord], question: Question) -> tuple[tuple[str, ...], Name]:
    """Return the addresses, and the name that has them: the last alias of the chain."""
    addresses: dict[Name, list[str]] = {}
    aliases: dict[Name, Name] = {}
    family, size = _ADDRESSES[question.kind]
    for record in records:
        if not record.is_internet:
            continue
        if record.kind == CNAME:
            target, end = _name(wire, record.place)
            if end != record.place + record.size:
                raise MalformedMessageError
            aliases.setdefault(record.name, target)
        elif record.kind == question.kind:
            if record.size != size:
                raise MalformedMessageError
            packed = wire[record.place : record.place + size]
            addresses.setdefault(record.name, []).append(socket.inet_ntop(family, packed))
    name = question.name
    for _ in range(MAX_ALIASES):
        if name in addresses or name not in aliases:
            break
        name = aliases[name]
    return tuple(addresses.get(name, ())), name


def _name(wire: bytes, place: int) -> tuple[Name, int]:
    """Return the name at ``place`` in lower case, and the offset behind it. A pointer may only point backwards."""
    labels: list[bytes] = []
    length = 1
    end: int | None = None
    earliest = place
    hops = 0
    while True:
        size = _octet(wire, place)
        if size >= 0xC0:
            end = place + 2 if end is None else end
            place = _number(wire, place) & 0x3FFF
            hops += 1
            if place >= earliest or hops > MAX_HOPS:
                raise MalformedMessageError
            earliest = place
        elif size > MAX_LABEL_BYTES:
            raise MalformedMessageError
        else:
            place += 1 + size
            if size == 0:
                return tuple(labels), place if end is None else end
            length += 1 + size
            if length > MAX_NAME_BYTES or place > len(wire):
                raise MalformedMessageError
            labels.append(wire[place - size : place].lower())


def _octet(wire: bytes, place: int) -> int:
    if place >= len(wire):
        raise MalformedMessageError
    return wire[place]


def _number(wire: bytes, place: int) -> int:
    if place + 2 > len(wire):
        raise MalformedMessageError
    return int.from_bytes(wire[place : place + 2], "big")


def _octets(number: int) -> bytes:
    return number.to_bytes(2, "big")
