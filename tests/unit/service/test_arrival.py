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
    "a length with zeros": POST + b"Content-Length: " + b"0" * 40 + b"5\r\n\r\nabcde",
    "no bytes": POST + b"Content-Length: 0\r\n\r\n",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "a trailer": POST + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\n",
    "an end of headers in the body": POST + b"Content-Length: 9\r\n\r\na\r\n\r\nb\r\n\r",
}
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
# Nothing is waited for. None: gunicorn's parser refuses it without waiting for more.
HOPELESS = {
    "too long": (POST + b"Content-Length: 1001\r\n\r\n", 413),
    "too many digits": (POST + b"Content-Length: %s\r\n\r\n" % (b"9" * 5000), 413),
    "no number": (POST + b"Content-Length: many\r\n\r\n", None),
    "another coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "a coding around it": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "two codings": (CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", 501),
    "both": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "no chunk": (CHUNKED + b"zz\r\n", 400),
    "a negative chunk": (CHUNKED + b"-1\r\n", 400),
    "Python's number": (CHUNKED + b"1_0\r\n", 400),
    "too long a chunk": (CHUNKED + b"3e9\r\n", 413),
    "too long a chunk's line": (CHUNKED + b"1;" + b"a" * 9000, 400),
    "too long in chunks": (CHUNKED + b"64\r\n" + b"a" * 100 + (b"\r\n64\r\n" + b"a" * 100) * 10, 413),
    "lines that outweigh their chunks": (CHUNKED + (b"1;" + b"a" * 200 + b"\r\nb\r\n") * 400, 413),
    "an endless head": (b"A" * 70_000, None),
    "an endless trailer": (CHUNKED + b"0\r\n" + b"A" * 70_000, 400),
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
    assert arrival.refusal is None
    assert arrival.data == request
    # gunicorn refuses a blank before the colon.
    assert arrival.is_last == (name == "a length")


@pytest.mark.parametrize("name", HOPELESS)
@pytest.mark.parametrize("step", [1, 4096])
def test_nothing_is_waited_for_that_is_refused_anyway(name: str, step: int) -> None:
    request, status = HOPELESS[name]
    arrival = Arrival(MOST)
    for start in range(0, len(request), step):
        if arrival.add(request[start : start + step]):
            break
    assert arrival.is_whole
    assert arrival.refusal == status


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
        HOPELESS["too long"][0],
        # Others may find the body elsewhere: what follows would be answered as a request (request smuggling).
        POST + b"Content-Length: +34\r\n\r\n",
        POST + b"Content-Length: 34, 34\r\n\r\n",
        POST + b"Content-Length: 34\r\nContent-Length: 0\r\n\r\n",
        POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        POST + b"Content-Length:\r\n 34\r\n\r\n",
        POST + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n",
        POST + b"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n",
        POST + b"X-A: b\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"X-A: b\rContent-Length: 34\r\n\r\n",
        POST + b"Content-Length\0: 34\r\n\r\n",
        POST + b" Content-Length: 34\r\n\r\n",
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


@pytest.mark.parametrize(("count", "status"), [(8191, None), (8192, 413), (200_000, 413)])
def test_a_body_in_very_many_chunks_is_refused(count: int, status: int | None) -> None:
    arrival = Arrival(1 << 20)
    arrival.add(CHUNKED + b"1\r\na\r\n" * count + b"0\r\n\r\n")
    assert arrival.is_whole
    assert arrival.refusal == status
