"""When a request has arrived whole, however it was cut on its way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.arrival import Arrival

MOST = 1000
POST = b"POST /predict HTTP/1.1\r\nHost: a\r\n"
WHOLE = {
    "no body": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a length": POST + b"content-LENGTH : 5\r\n\r\nabcde",
    "no bytes": POST + b"Content-Length: 0\r\n\r\n",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "a trailer": POST + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\n",
    "an end of headers in the body": POST + b"Content-Length: 9\r\n\r\na\r\n\r\nb\r\n\r",
}
# Nothing is waited for: gunicorn's parser or the application refuses these.
HOPELESS = {
    "too long": POST + b"Content-Length: 1001\r\n\r\n",
    "no number": POST + b"Content-Length: many\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "both": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "no chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "too long a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n",
    "too long a chunk's line": POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 9000,
    "too long in chunks": POST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"64\r\n"
    + b"a" * 100
    + (b"\r\n64\r\n" + b"a" * 100) * 10,
    "an endless head": b"A" * 70_000,
    "an endless trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A" * 70_000,
}


@given(st.data())
@pytest.mark.parametrize("name", WHOLE)
def test_it_is_whole_with_its_last_byte_and_not_before(name: str, data: st.DataObject) -> None:
    request = WHOLE[name]
    arrival = Arrival(MOST)
    start = 0
    while start < len(request):
        assert not arrival.is_whole
        end = data.draw(st.integers(start + 1, len(request)))
        arrival.add(request[start:end])
        start = end
    assert arrival.is_whole
    assert arrival.data == request
    assert not arrival.is_last


@pytest.mark.parametrize("name", HOPELESS)
@pytest.mark.parametrize("step", [1, 4096])
def test_nothing_is_waited_for_that_is_refused_anyway(name: str, step: int) -> None:
    request = HOPELESS[name]
    arrival = Arrival(MOST)
    for start in range(0, len(request), step):
        arrival.add(request[start : start + step])
    assert arrival.is_whole


def test_who_waits_for_100_continue_is_told_once() -> None:
    arrival = Arrival(MOST)
    arrival.add(POST + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
    assert arrival.wants_continue
    assert not arrival.is_whole
    assert arrival.add(b"ab")
    assert arrival.data == POST + b"Content-Length: 2\r\n\r\nab"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n",
        WHOLE["no body"] + b"GET /",
        HOPELESS["too long"],
    ],
)
def test_after_some_requests_the_connection_is_not_kept(request_bytes: bytes) -> None:
    arrival = Arrival(MOST)
    arrival.add(request_bytes)
    assert arrival.is_whole
    assert arrival.is_last


def test_a_head_of_many_bytes_one_by_one_takes_linear_time() -> None:
    """A search from the beginning for each byte would take a minute."""
    arrival = Arrival(MOST)
    for _ in range(60_000):
        arrival.add(b"a")
    assert not arrival.is_whole
