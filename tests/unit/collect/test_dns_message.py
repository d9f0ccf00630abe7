"""DNS messages: dnspython writes what is read here, and reads what is written."""

import random
import time

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.collect.net.dns_message import AAAA, A, DnsAnswer, Question, name_of, read_answer

NUMBER = 7


def asked(name: str = "gte.example", kind: int = A) -> Question:
    return Question(NUMBER, name_of(name), kind)


def read(wire: bytes, question: Question | None = None) -> DnsAnswer | None:
    question = question or asked()
    return read_answer(wire, {question.id: question})


def answer(
    *records: str, head: str = "rcode NOERROR\nflags QR RD RA", kind: str = "A"
) -> dns.message.Message:
    text = f"id {NUMBER}\nopcode QUERY\n{head}\n;QUESTION\ngte.example. IN {kind}\n;ANSWER\n"
    return dns.message.from_text(text + "\n".join(records) + "\n")


@pytest.mark.parametrize(
    "name", ["gte.example", "GTE.Example.", "a", "_x.gte-1.example", "b\u00fccher.example"]
)
@pytest.mark.parametrize("kind", [A, AAAA])
def test_a_question_is_what_another_library_reads(name: str, kind: int) -> None:
    message = dns.message.from_wire(asked(name, kind).wire)
    assert message.id == NUMBER
    assert message.flags == dns.flags.RD
    assert [(q.name, int(q.rdtype), int(q.rdclass)) for q in message.question] == [
        (dns.name.from_text(name.lower()), kind, 1)
    ]
    assert (message.edns, message.payload) == (0, 1232)


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", ".a", "x" * 64, ".".join(["x" * 60] * 5), "\ud800.example"]
)
def test_what_is_no_name_is_not_asked_for(name: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        name_of(name)


@pytest.mark.parametrize(
    ("records", "addresses"),
    [
        (["gte.example. 1 IN A 10.0.0.1"], ("10.0.0.1",)),
        (["GTE.Example. 1 IN A 10.0.0.2", "gte.example. 1 IN A 10.0.0.1"], ("10.0.0.2", "10.0.0.1")),
        (["gte.example. 1 IN CNAME a.example.", "a.example. 1 IN A 10.0.0.1"], ("10.0.0.1",)),
        (["a.example. 1 IN A 10.0.0.1", "gte.example. 1 IN CNAME a.example."], ("10.0.0.1",)),
        (["gte.example. 1 IN CNAME a.example."], ()),
        (["other.example. 1 IN A 10.0.0.1"], ()),
        (["gte.example. 1 IN TXT words"], ()),
        (["gte.example. 1 IN CNAME a.example.", "a.example. 1 IN CNAME gte.example."], ()),
        ([], ()),
    ],
)
def test_aliases_are_followed_to_their_end(records: list[str], addresses: tuple[str, ...]) -> None:
    reply = read(answer(*records).to_wire())
    assert reply is not None
    # The other library writes records of one name in any order.
    assert sorted(reply.addresses) == sorted(addresses)


def test_addresses_of_the_other_family() -> None:
    wire = answer("gte.example. 1 IN AAAA fd00::1", kind="AAAA").to_wire()
    reply = read(wire, asked(kind=AAAA))
    assert reply is not None
    assert reply.addresses == ("fd00::1",)


@pytest.mark.parametrize(
    "code", [dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.BADVERS]
)
def test_the_code_is_the_whole_one(code: dns.rcode.Rcode) -> None:
    message = answer()
    message.use_edns(0)
    message.set_rcode(code)
    reply = read(message.to_wire())
    assert reply is not None
    assert reply.rcode == code


def test_a_bare_refusal_counts_and_a_bare_nothing_does_not() -> None:
    for code, counts in ((dns.rcode.REFUSED, True), (dns.rcode.NOERROR, False)):
        message = dns.message.Message(id=NUMBER)
        message.flags = dns.flags.QR
        message.set_rcode(code)
        assert (read(message.to_wire()) is not None) is counts


def test_a_truncated_one_says_only_that() -> None:
    message = answer("gte.example. 1 IN A 10.0.0.1")
    message.flags |= dns.flags.TC
    wire = message.to_wire()
    for cut in (wire, wire[:-3]):
        assert read(cut) == DnsAnswer(NUMBER, 0, is_truncated=True, addresses=())


def test_what_answers_another_question_is_no_answer() -> None:
    wire = answer("gte.example. 1 IN A 10.0.0.1").to_wire()
    assert read(wire, asked("other.example")) is None
    assert read(wire, asked(kind=AAAA)) is None
    assert read(wire, Question(NUMBER + 1, name_of("gte.example"), A)) is None
    assert read(asked().wire) is None, "a question is no answer"


def test_every_cut_of_an_answer_is_no_answer() -> None:
    wire = answer("gte.example. 1 IN CNAME a.example.", "a.example. 1 IN A 10.0.0.1").to_wire()
    assert read(wire) is not None
    assert all(read(wire[:length]) is None for length in range(len(wire)))


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(rest: bytes) -> None:
    read(NUMBER.to_bytes(2, "big") + rest)


@given(st.integers(0, 2**32))
def test_no_damaged_answer_breaks_the_reading(seed: int) -> None:
    chance = random.Random(seed)
    wire = bytearray(answer("gte.example. 1 IN CNAME a.example.", "a.example. 1 IN A 10.0.0.1").to_wire())
    for _ in range(chance.randint(1, 4)):
        wire[chance.randrange(len(wire))] = chance.randrange(256)
    read(bytes(wire))


def test_pointers_that_lead_nowhere_cost_little() -> None:
    question = b"\x03gte\x07example\0\0\x01\0\x01"
    # Pointers to pointers, and thousands of records whose names begin at the last of them.
    chain, first = b"", 12 + len(question) + 11
    for hop in range(8000):
        chain += (0xC000 | (first + 2 * hop - 2 if hop else 12)).to_bytes(2, "big")
    data = b"\0\0\x10\0\x01\0\0\0\0" + len(chain).to_bytes(2, "big") + chain
    record = (0xC000 | (first + 2 * 100)).to_bytes(2, "big") + b"\0\x10\0\x01\0\0\0\0\0\0"
    count = (65000 - 12 - len(question) - len(data)) // len(record)
    head = NUMBER.to_bytes(2, "big") + b"\x80\0\0\x01" + (count + 1).to_bytes(2, "big") + bytes(4)
    began = time.process_time()
    assert read(head + question + data + record * count) is not None
    assert time.process_time() - began < 20  # without a bound on them it takes minutes
