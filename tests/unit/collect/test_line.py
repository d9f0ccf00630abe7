"""Single log lines, in every form the field writes them."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ops.collect.logs import line as log_line
from ops.collect.logs.line import Access, LogLine, access_line, gunicorn_line, local_time, nginx_line

NEWEST = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
NINE = datetime(2026, 11, 22, 1, 0, tzinfo=UTC).timestamp()  # 09:00 in China


def zone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", name)
    time.tzset()
    log_line._local_readings.cache_clear()


@pytest.fixture(autouse=True)
def in_china(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    zone("Asia/Shanghai", monkeypatch)
    yield
    monkeypatch.undo()
    time.tzset()
    log_line._local_readings.cache_clear()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"2026/11/22 09:00:00 [error] 12#12: *3 connect() failed", ("error", 12, b"*3 connect() failed")),
        (b"2026/11/22 09:00:00 [emerg] 1#1: bind() to 0.0.0.0:443", ("emerg", 1, b"bind() to 0.0.0.0:443")),
        (b"2026/11/22 09:00:00 [notice] 7#0: \x1b[31m\xff", ("notice", 7, b"\x1b[31m\xff")),
    ],
)
def test_nginx(line: bytes, expected: tuple[str, int, bytes]) -> None:
    assert nginx_line(line, NEWEST) == LogLine(NINE, *expected)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nginx: [emerg] unknown directive",
        b"2026/13/45 99:00:00 [error] 1#1: x",
        b" 2026/11/22 09:00:00 [error] 1#1: x",
        b"2026/11/22 09:00:00 error",
        b"\x00" * 200,
    ],
)
def test_what_begins_no_nginx_entry(line: bytes) -> None:
    assert nginx_line(line, NEWEST) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b"[2026-11-22 09:00:00 +0800] [41] [CRITICAL] WORKER TIMEOUT (pid:42)",
            ("critical", 41, b"WORKER TIMEOUT (pid:42)"),
        ),
        (b"[2026-11-22 01:00:00 +0000] [41] [INFO] Booting", ("info", 41, b"Booting")),
        (
            b"[2026-11-22 09:00:00,123] ERROR in app: Exception on /predict [POST]",
            ("error", None, b"in app: Exception on /predict [POST]"),
        ),
        (b"2026-11-22 09:00:00,123 - gte - WARNING - slow", ("warning", None, b"gte - WARNING - slow")),
        (b"2026-11-22 09:00:00,123 ERROR root: boom", ("error", None, b"root: boom")),
        (b"2026-11-22T09:00:00.123+08:00 [info] ready", ("info", None, b"ready")),
        (b"2026-11-22T01:00:00Z started", ("", None, b"started")),
        (
            b'{"time": "2026-11-22T01:00:00Z", "level": "ERROR", "pid": 9, "message": "m", "exc_info": "T\\nE"}',
            ("error", 9, b"m\nT\nE"),
        ),
        (b'{"ts": 1795309200.5, "levelname": "INFO", "msg": "m"}', ("info", None, b"m")),
        (b'{"timestamp": 1795309200500, "msg": "m"}', ("", None, b"m")),
    ],
)
def test_gunicorn_and_what_writes_beside_it(line: bytes, expected: tuple[str, int | None, bytes]) -> None:
    read = gunicorn_line(line, NEWEST)
    assert read is not None
    assert abs(read.time - NINE) < 1
    assert read[1:] == expected


@pytest.mark.parametrize(
    "line",
    [
        b"Traceback (most recent call last):",
        b'  File "app.py", line 3, in predict',
        b"KeyError: 'x'",
        b"",
        b"{",
        b"{}",
        b'{"time": "soon"}',
        b'{"time": true}',
        b'{"time": 1e400}',
        b"[" * 5000,
        b'{"a":' * 5000,
        b"[2026-99-22 09:00:00 +0800] [1] [INFO] x",
        b"[2026-11-22 09:00:00 +9999] [1] [INFO] x",
    ],
)
def test_what_begins_no_gunicorn_entry(line: bytes) -> None:
    assert gunicorn_line(line, NEWEST) is None


COMBINED = b'1.2.3.4 - - [22/Nov/2026:09:00:00 +0800] "POST /predict HTTP/1.1" 502 150 "-" "curl/8.0"'


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (COMBINED, "502"),
        (COMBINED.replace(b"502 150", b"200 5 0.123 up=0.1"), "200"),
        (COMBINED.replace(b'"POST /predict HTTP/1.1"', b'""'), "502"),
        (COMBINED.replace(b"1.2.3.4 - -", b"2001:db8::1 - bob"), "502"),
        (COMBINED.replace(b'"curl/8.0"', b'"curl \\" 200 "'), "502"),
        # A request that looks like a status: escaped by nginx (\x22) or gunicorn (\").
        (COMBINED.replace(b"/predict", b'/\\x22 200 \\" 200 '), "502"),
        (b'"22/Nov/2026:09:00:00 +0800" "a" "b" 503 ', "503"),
        (b"22/Nov/2026:09:00:00 +0800|status=429|x", "429"),
        (b'{"time_local": "22/Nov/2026:09:00:00 +0800", "request": "GET /\\" 200 ", "status": 504}', "504"),
        (b'{"time": "2026-11-22T09:00:00+08:00", "status": "500"}', "500"),
        (b'{"msec": "1795309200.123", "status": 201}', "201"),
        (b"22/Nov/2026:09:00:00 +0800 no status here", None),
    ],
)
def test_access(line: bytes, status: str | None) -> None:
    read = access_line(line)
    assert read is not None
    assert (int(read.time), read.status) == (int(NINE), status)


@pytest.mark.parametrize(
    "line", [b"", b"hello", b'[22/Foo/2026:09:00:00 +0800] "x" 200 ', b"[99/Nov/2026:09:00:00 +0800] 200 "]
)
def test_what_is_no_access(line: bytes) -> None:
    assert access_line(line) is None


def test_a_hostile_request_takes_no_longer_than_another() -> None:
    line = b'1.2.3.4 - - [22/Nov/2026:09:00:00 +0800] "GET /' + b'\\"' * 4000
    started = time.perf_counter()
    for _ in range(50):
        assert access_line(line) == Access(NINE, None)
    # Quadratic work over 8000 quotes would take seconds.
    assert time.perf_counter() - started < 1


def test_the_hour_that_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    zone("Europe/Berlin", monkeypatch)
    twice = (2026, 10, 25, 2, 30, 0)
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    assert local_time(twice, NEWEST) == first + 3600
    assert local_time(twice, first + 1800) == first
    assert local_time((2026, 10, 25, 12, 0, 0), NEWEST) == datetime(2026, 10, 25, 11, tzinfo=UTC).timestamp()


def test_the_hour_that_never_was(monkeypatch: pytest.MonkeyPatch) -> None:
    zone("Europe/Berlin", monkeypatch)
    assert local_time((2026, 3, 29, 2, 30, 0), NEWEST) is None
