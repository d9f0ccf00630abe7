"""The watchdog's events in systemd's journal: what arrives at the socket, and when it is used."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.supervision.alerts import WatchdogJournal
from ops.supervision.journald import JournalSocket, datagram, journal_behind
from ops.supervision.state import Fault


@pytest.fixture
def journal() -> Iterator[tuple[socket.socket, str]]:
    """A datagram socket in the journal's place; its path must be short."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = str(Path(directory, "socket"))
        sock.bind(path)
        sock.settimeout(5)
        yield sock, path


def fields(content: bytes) -> list[tuple[str, str]]:
    """A datagram read as the journal does."""
    result = []
    while content:
        line, _, rest = content.partition(b"\n")
        name, is_plain, value = line.partition(b"=")
        if not is_plain:
            (length,) = struct.unpack("<Q", rest[:8])
            value, content = rest[8 : 8 + length], rest[9 + length :]
        else:
            content = rest
        result.append((name.decode(), value.decode()))
    return result


def test_an_event_has_its_priority_fault_and_codes(journal: tuple[socket.socket, str]) -> None:
    sock, path = journal
    out = io.StringIO()
    WatchdogJournal(out, JournalSocket(path)).note(
        "act", rung="restart", fault=Fault.OVERLOAD, causes=("GUN001", "NGX005"), detail="line\nbreak"
    )
    arrived = fields(sock.recv(65536))
    assert ("PRIORITY", "4") in arrived
    assert ("FAULT", str(Fault.OVERLOAD)) in arrived
    assert ("RUNG", "restart") in arrived
    assert [value for name, value in arrived if name == "CODE"] == ["GUN001", "NGX005"]
    message = json.loads(dict(arrived)["MESSAGE"])
    assert (message["event"], message["detail"]) == ("act", "line break")
    assert out.getvalue() == ""


@pytest.mark.parametrize(("event", "priority"), [("round_failed", "3"), ("recovered", "5"), ("started", "6")])
def test_events_differ_in_priority(event: str, priority: str, journal: tuple[socket.socket, str]) -> None:
    sock, path = journal
    WatchdogJournal(io.StringIO(), JournalSocket(path)).note(event)
    assert ("PRIORITY", priority) in fields(sock.recv(65536))


def test_what_the_journal_does_not_take_is_printed(tmp_path: Path) -> None:
    out = io.StringIO()
    WatchdogJournal(out, JournalSocket(str(tmp_path / "nobody"))).note("started")
    assert json.loads(out.getvalue())["event"] == "started"


def test_a_value_with_line_breaks_and_an_equals_sign_arrives_whole() -> None:
    sent = [("MESSAGE", "a\nPRIORITY=0\nb=c"), ("CODE", "x=y"), ("CODE", "")]
    assert fields(datagram(sent)) == sent


def test_the_journal_is_used_only_for_the_stream_that_leads_to_it(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        status = os.fstat(out.fileno())
        there = f"{status.st_dev}:{status.st_ino}"
        assert journal_behind(out, {"JOURNAL_STREAM": there}) is not None
        for other in ({}, {"JOURNAL_STREAM": ""}, {"JOURNAL_STREAM": "8:1"}):
            assert journal_behind(out, other) is None
    assert journal_behind(io.StringIO(), {"JOURNAL_STREAM": there}) is None
