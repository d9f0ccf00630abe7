"""The journal and syslog's file: what real hosts wrote, read as if it stood in a log of its own.

``recorded/`` was written on a Debian 12 host with systemd, rsyslog, nginx and gunicorn 20, by
``journalctl --output=json --reverse --unit=...``: no journal runs where these tests do, so what prints it here is a
stand-in, which takes the same arguments."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from ops.collect.logs import journal
from ops.collect.logs.journal import JournalTail, journal_lines, parsed_records
from ops.collect.logs.line import Program
from ops.collect.logs.lines import JournalError
from ops.collect.logs.service_logs import LogPlaces, read_logs
from ops.collect.logs.syslog import syslog_line
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Log, Logs
from ops.facts.target import Target
from ops.interpret.log_format import COMBINED, GUNICORN_DEFAULT
from ops.interpret.log_place import LogLocation, LogPlaceKind
from ops.interpret.traffic import AccessLogSource

RECORDED = Path(__file__).with_name("recorded")
# 2026-11-30 07:02:41 UTC, the beginning of what was recorded.
BEGINNING = 1_796_022_161.0
NOW = BEGINNING + 10


def recorded(name: str, program: Program) -> list[str]:
    """The lines of a recorded unit, oldest first."""
    content = (RECORDED / f"journal-{name}.jsonl").read_bytes()
    records = list(parsed_records(content))
    records.reverse()
    return [line.decode() for line in reversed(journal_lines(records, program))]


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journalctl that prints a recorded unit: no journal runs beside the unit tests."""
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/asked\n'
        f'for word; do case $word in --unit=*) cat "{RECORDED}/journal-${{word#--unit=}}.jsonl";; esac; done\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "asked"


def read(**places: object) -> Logs:
    values: dict[str, object] = dict.fromkeys(Target.__struct_fields__, None)
    values |= {"nginx_error_logs": (), "origin": {}, "predict_path": "/predict", "gunicorn_workers": ()}
    return read_logs(Target(**values), BEGINNING, NOW, LogPlaces(**places))  # type: ignore[arg-type]


def test_a_traceback_of_many_entries_is_one(journalctl: Path) -> None:
    log = read(gunicorn_error=LogLocation(LogPlaceKind.JOURNAL, "shop")).gunicorn_error
    assert isinstance(log, Log)
    assert log.path == "journalctl -u shop"
    raised = next(entry for entry in log.entries if "Exception on /predict" in entry.text)
    assert raised.level == "error"
    assert raised.text.splitlines()[1] == "Traceback (most recent call last):"
    assert raised.text.endswith("IndexError: list index out of range")
    assert not any('"POST /predict HTTP/1.0" 500' in entry.text for entry in log.entries), (
        "requests are no entries"
    )
    assert "--unit=shop" in journalctl.read_text()
    assert f"--since=@{BEGINNING:.0f}" in journalctl.read_text()
    assert "--lines=" in journalctl.read_text()


@pytest.mark.usefixtures("journalctl")
def test_requests_among_other_lines() -> None:
    place = LogLocation(LogPlaceKind.JOURNAL, "shop")
    log = read(gunicorn=AccessLogSource("shop", GUNICORN_DEFAULT, place=place)).gunicorn_access
    assert isinstance(log, AccessLog)
    assert log.statuses == {"200": 1, "500": 1}
    assert log.requests == 2
    assert log.traffic is not None
    assert [(item.path, item.status) for item in log.traffic.answers] == [
        ("/predict", "500"),
        ("/health", "200"),
    ]


@pytest.mark.usefixtures("journalctl")
def test_nginx_sends_both_logs_to_syslog_with_its_host_and_tag() -> None:
    place = LogLocation(LogPlaceKind.JOURNAL, "nginx")
    logs = read(nginx_streams=(place,), nginx=AccessLogSource("syslog:", COMBINED, place=place))
    error, access = logs.nginx_errors["journalctl -u nginx"], logs.nginx_access
    assert isinstance(error, Log)
    failed = [entry for entry in error.entries if "connect() failed" in entry.text]
    assert len(failed) == 2
    assert failed[0].level == "error"
    assert failed[0].pid == 120
    assert isinstance(access, AccessLog)
    assert access.statuses == {"200": 1, "500": 1, "502": 1}


@pytest.mark.usefixtures("journalctl")
def test_a_start_that_failed_with_systemds_own_words() -> None:
    log = read(gunicorn_error=LogLocation(LogPlaceKind.JOURNAL, "broken")).gunicorn_error
    assert isinstance(log, Log)
    texts = [entry.text for entry in log.entries]
    assert any(text.startswith("Exception in worker process") and "named 'none'" in text for text in texts)
    ended = next(entry for entry in log.entries if "Main process exited" in entry.text)
    assert ended.time == pytest.approx(1_796_022_162, abs=1)
    assert (ended.pid, ended.level) == (1, "info")


def test_a_line_without_a_time_gets_the_journals() -> None:
    content = b"\n".join(
        json.dumps(
            {"__REALTIME_TIMESTAMP": str(int(at * 1e6)), "_PID": "7", "PRIORITY": "3", "MESSAGE": text}
        ).encode()
        for at, text in (
            (NOW, 'INFO:     10.0.0.7:5 - "POST /predict HTTP/1.1" 500 Internal Server Error'),
            (NOW - 0.1, 'INFO:     10.0.0.7:5 - "GET /health HTTP/1.1" 200 OK'),
            (NOW - 60, "/opt/app/venv/bin/gunicorn: not found"),
        )
    )
    records = list(parsed_records(content))
    records.reverse()
    stamp = time.strftime("[%Y-%m-%d %H:%M:%S +0000]", time.gmtime(NOW))
    first, second, third = (line.decode() for line in journal_lines(records, "gunicorn"))
    assert first.startswith(f"{stamp} [7] [ERROR] INFO:     10.0.0.7:5 - ")
    assert "/health" in second
    assert third.endswith("[7] [ERROR] /opt/app/venv/bin/gunicorn: not found")


def test_nginxs_own_words_at_its_start_have_their_level() -> None:
    record = journal.JournalRecord(
        NOW, 9, 6, b"nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)"
    )
    (line,) = journal_lines([record], "nginx")
    assert b" [emerg] 9#0: bind() to 0.0.0.0:80 failed" in line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\n{",
        b"[]\n1\nnull",
        b'{"MESSAGE": "x"}',
        b'{"__REALTIME_TIMESTAMP": "x", "MESSAGE": 1}',
        b"[" * 5000,
    ],
)
def test_what_is_no_journal_is_nothing(content: bytes) -> None:
    assert list(parsed_records(content)) == []


def test_bytes_that_are_no_text_come_as_numbers() -> None:
    (record,) = parsed_records(
        b'{"__REALTIME_TIMESTAMP": "1796022161000000", "MESSAGE": [27, 91, 255, 999, "x"]}'
    )
    assert record.message == b"\x1b[\xff"


def test_a_journal_that_hangs_costs_its_deadline_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "journalctl"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(journal, "SECONDS", 0.2)
    started = time.monotonic()
    tail = JournalTail("shop.service", BEGINNING, "gunicorn")
    assert time.monotonic() - started < 5
    assert not tail.is_whole


def test_a_journal_without_end_is_read_to_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "journalctl"
    program.write_text(
        '#!/bin/sh\nexec yes \'{"__REALTIME_TIMESTAMP": "1796022161000000", "MESSAGE": "a", "_PID": "1"}\'\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(journal, "MAX_BYTES", 100_000)
    tail = JournalTail("shop.service", BEGINNING, "gunicorn")
    assert not tail.is_whole
    assert 0 < len(list(tail.lines())) < 5000


def test_no_journalctl_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    log = read(gunicorn_error=LogLocation(LogPlaceKind.JOURNAL, "shop.service")).gunicorn_error
    assert isinstance(log, NotSeen)
    assert log.reason == "journalctl is not installed"


@pytest.mark.parametrize("unit", ["--file=/etc/shadow", "-b", "", "a b", "x\ny"])
def test_what_is_no_unit_is_not_asked_for(journalctl: Path, unit: str) -> None:
    with pytest.raises(JournalError):
        JournalTail(unit, BEGINNING, "gunicorn")
    assert not journalctl.exists()


def test_the_lines_of_one_program_in_syslogs_file() -> None:
    place = LogLocation(LogPlaceKind.SYSLOG, str(RECORDED / "syslog"), tags=("nginx_access",))
    log = read(nginx=AccessLogSource("syslog:", COMBINED, place=place)).nginx_access
    assert isinstance(log, AccessLog)
    assert log.statuses["502"] == 1
    errors = read(
        nginx_streams=(LogLocation(LogPlaceKind.SYSLOG, str(RECORDED / "syslog"), tags=("nginx",)),)
    ).nginx_errors
    (error,) = errors.values()
    assert isinstance(error, Log)
    assert any("connect() failed" in entry.text for entry in error.entries)


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        (b"Nov 30 07:02:43 web1 gunicorn[126]: [2026-11-30] x", [b"[2026-11-30] x"]),
        (b"<30>Nov  3 07:02:43 web1 gunicorn.shop.error: a#012b#011c", [b"b\tc", b"a"]),
        (b"2026-11-30T07:02:43.1+00:00 web1 python3[77]: ours by its number", [b"ours by its number"]),
        (b"Nov 30 07:02:43 web1 gunicornx[126]: another", []),
        (b"Nov 30 07:02:43 web1 sshd[9]: Failed password gunicorn: x", []),
        (b"gunicorn: no time", []),
        (b"", []),
    ],
)
def test_syslog_lines(line: bytes, lines: list[bytes]) -> None:
    assert syslog_line(line, ("gunicorn",), (77,)) == lines


def test_recorded_lines_are_whole() -> None:
    assert recorded("shop", "gunicorn")[-1].endswith('"curl/7.88.1"')
