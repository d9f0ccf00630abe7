"""Access log formats as they are configured, and the lines that nginx and gunicorn write with them."""

from __future__ import annotations

import pytest

from ops.interpret.log_format import (
    COMBINED,
    FIELDS,
    GUNICORN_DEFAULT,
    LogFormat,
    gunicorn_format,
    nginx_format,
)

# The format of deploy/nginx.
DEPLOYED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" '
    "host=$host request_id=$gte_request_id request_time=$request_time upstream=$upstream_addr "
    "upstream_status=$upstream_status upstream_connect_time=$upstream_connect_time"
)
JSON = (
    '{"t":"$time_iso8601","r":"$request","s":$status,"rt":"$request_time","u":"$upstream_addr",'
    '"us":"$upstream_status","len":$request_length}'
)


def read(log_format: LogFormat | None, line: bytes) -> dict[str, str]:
    """The values that a line has, by field."""
    assert log_format is not None
    values = log_format.values(line)
    assert values is not None, line
    return {field: value.decode() for field, value in zip(FIELDS, values, strict=True) if value}


def test_combined() -> None:
    line = b'10.0.0.7 - a b [22/Nov/2026:01:00:00 +0000] "GET /x?y=\\x22 HTTP/1.1" 200 312 "-" "curl/8 (x; \\x22)"'
    assert nginx_format(COMBINED) is not None
    # A user's name with a blank in it: the format does not read it, and says so.
    assert nginx_format(COMBINED).values(line) is None
    assert read(nginx_format(COMBINED), line.replace(b"a b", b"ab")) == {
        "client": "10.0.0.7",
        "time": "22/Nov/2026:01:00:00 +0000",
        "request": "GET /x?y=\\x22 HTTP/1.1",
        "status": "200",
        "sent": "312",
        "agent": "curl/8 (x; \\x22)",
    }


def test_several_upstreams_of_one_request() -> None:
    line = (
        b'127.0.0.1 - - [30/Nov/2026:06:20:00 +0000] "POST /predict HTTP/1.1" 200 5 "-" "curl" host=h request_id=1 '
        b"request_time=0.012 upstream=127.0.0.1:1, unix:/run/x.sock : 127.0.0.1:3 upstream_status=502, 502 : 200 "
        b"upstream_connect_time=-, - : 0.000"
    )
    values = read(nginx_format(DEPLOYED), line)
    assert values["upstream"] == "127.0.0.1:1, unix:/run/x.sock : 127.0.0.1:3"
    assert values["upstream_status"] == "502, 502 : 200"
    assert values["seconds"] == "0.012"


def test_json_with_values_that_are_empty_or_escaped() -> None:
    line = b'{"t":"2026-11-22T01:00:00+08:00","r":"POST /a\\"b HTTP/1.1","s":400,"rt":"0.001","u":"","us":"","len":12}'
    assert read(nginx_format(JSON, "json"), line) == {
        "time": "2026-11-22T01:00:00+08:00",
        "request": 'POST /a\\"b HTTP/1.1',
        "status": "400",
        "seconds": "0.001",
        "length": "12",
    }


def test_braces_around_variables_and_the_most_exact_time() -> None:
    values = read(
        nginx_format("${time_local}|${msec}|${request_method}|${request_uri}|${status}"),
        b"22/Nov/2026:01:00:00 +0000|1795309200.123|PUT|/a?b|204",
    )
    assert values == {"time": "1795309200.123", "method": "PUT", "path": "/a?b", "status": "204"}


def test_gunicorn_default() -> None:
    line = b'127.0.0.1 - - [30/Nov/2026:06:20:00 +0000] "GET /health HTTP/1.1" 200 25 "-" "a \\"b\\""'
    assert read(gunicorn_format(GUNICORN_DEFAULT), line)["agent"] == 'a \\"b\\"'


@pytest.mark.parametrize(
    ("text", "line", "seconds", "divisor"),
    [
        ("%(t)s %(s)s %(D)s", b"[30/Nov/2026:06:20:00 +0000] 200 1500", "1500", 1e6),
        ("%(t)s %(s)s %(M)sms", b"[30/Nov/2026:06:20:00 +0000] 200 15ms", "15", 1e3),
        ("%(t)s %(s)s %(T)s/%(L)s 100%%", b"[30/Nov/2026:06:20:00 +0000] 200 1/1.500000 100%", "1.500000", 1),
    ],
)
def test_gunicorn_durations(text: str, line: bytes, seconds: str, divisor: float) -> None:
    log_format = gunicorn_format(text)
    assert read(log_format, line)["seconds"] == seconds
    assert log_format is not None
    assert log_format.divisor == divisor


def test_gunicorn_json_and_headers() -> None:
    log_format = gunicorn_format(
        '{"time":"%(t)s","status":"%(s)s","path":"%(U)s","method":"%(m)s","id":"%({X-Request-Id}i)s"}'
    )
    line = b'{"time":"[30/Nov/2026:06:20:00 +0000]","status":"500","path":"/p","method":"POST","id":"abc"}'
    assert read(log_format, line) == {
        "time": "[30/Nov/2026:06:20:00 +0000]",
        "status": "500",
        "path": "/p",
        "method": "POST",
        "request_id": "abc",
    }


@pytest.mark.parametrize("text", ["", "hello", "$request", "$time_local $request", "$status $request"])
def test_a_format_that_does_not_tell_time_and_status_is_none(text: str) -> None:
    assert nginx_format(text) is None


@pytest.mark.parametrize("escape", ["default", "json", "none"])
def test_no_line_takes_long(escape: str) -> None:
    """Each value is read in one way only, whatever a client writes."""
    log_format = nginx_format(" ".join(['$a "$b"'] * 20) + " $time_local $status", escape)
    assert log_format is not None
    assert log_format.values(b'x "y\\" ' * 1200) is None
    assert log_format.values(b'"' * 8192) is None
    assert log_format.values(b", " * 4096) is None
