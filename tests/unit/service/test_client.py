"""The client against a peer that answers as it is told, with time and chance in hand."""

import asyncio
import inspect
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client import (
    ApiError,
    AsyncGteClient,
    BadAnswerError,
    BadRequestError,
    Clock,
    GteClient,
    GteError,
    Limits,
    Patience,
    TooSlowError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
    batches,
    retry_after,
)
from tests.system.recording_proxy import NAMES, recording_proxy, set_proxies

NOW = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
# What the peer does with a request: status, headers, body; or bytes to send in place of HTTP; or nothing but closing.
Reply = tuple[int, dict[str, str], Any] | bytes | None


class Peer:
    """A server on loopback that gives the replies it was handed, the last one again and again."""

    def __init__(self, *replies: Reply | Callable[[Any], Reply]) -> None:
        self.replies = list(replies)
        self.requests: list[tuple[str, dict[str, str], Any]] = []

    def next(self, path: str, headers: dict[str, str], body: Any) -> Reply:
        self.requests.append((path, headers, body))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(body) if callable(reply) else reply


@contextmanager
def serving(peer: Peer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            reply = peer.next(self.path, dict(self.headers), body)
            if reply is None or isinstance(reply, bytes):
                self.wfile.write(reply or b"")
                self.close_connection = True
                return
            status, headers, members = reply
            content = members if isinstance(members, bytes) else json.dumps(members).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class Time:
    """A clock that moves when somebody sleeps, and chance that always takes the most."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []
        self.clock = Clock(
            monotonic=lambda: self.seconds,
            now=lambda: NOW + timedelta(seconds=self.seconds - 1000),
            sleep=self._sleep,
            uniform=lambda _low, high: high,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def problem(status: int, code: str = "overloaded", **headers: str) -> Reply:
    members = {"status": status, "code": code, "detail": "said so", "request_id": "r1"}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, members


def predicted(result: dict[str, Any]) -> Reply:
    members = {"task_type": "t", "model": "m", "version": "1", "timestamp": "now", "request_id": "r1"}
    return 200, {"X-Request-ID": "r1"}, {"result": result, **members}


SCORES = predicted({"scores": [0.5]})


def asked(peer: Peer, **patience: Any) -> tuple[list[float], Time]:
    """The answer to a similarity that the peer's replies lead to, and the time it took."""
    time = Time()
    with serving(peer) as url, GteClient(url, patience=Patience(**patience), clock=time.clock) as client:
        return client.similarity("a", ["b"]), time


def refused(peer: Peer, **patience: Any) -> tuple[GteError, Time]:
    time = Time()
    with (
        serving(peer) as url,
        GteClient(url, patience=Patience(**patience), clock=time.clock) as client,
        pytest.raises(GteError) as error,
    ):
        client.similarity("a", ["b"])
    return error.value, time


# --- repetitions ------------------------------------------------------------------------------------------


def test_seconds_in_retry_after_are_waited_and_more_so_that_not_all_come_back_together() -> None:
    scores, time = asked(Peer(problem(503, Retry_After="7"), problem(429, Retry_After="3"), SCORES))
    assert scores == [0.5]
    assert time.slept == [7 + 0.5, 3 + 1.0]


def test_a_date_in_retry_after_is_waited_for() -> None:
    _, time = asked(Peer(problem(503, Retry_After="Mon, 23 Nov 2026 09:00:20 GMT"), SCORES))
    assert time.slept == [20 + 0.5]


def test_without_retry_after_the_pauses_are_random_and_double() -> None:
    _, time = asked(Peer(*[problem(503)] * 4, SCORES), longest_pause=3.0)
    assert time.slept == [0.5, 1.0, 2.0, 3.0]


def test_a_service_that_asks_for_longer_than_anybody_waits_is_not_asked_again() -> None:
    error, time = refused(Peer(problem(503, Retry_After="60")))
    assert isinstance(error, UnavailableError)
    assert (error.retry_after, time.slept) == (60, [])


def test_after_the_last_repetition_the_refusal_is_told() -> None:
    peer = Peer(problem(503, Retry_After="1"))
    error, time = refused(peer, repetitions=2)
    assert isinstance(error, UnavailableError)
    assert (error.status, error.code, error.detail) == (503, "overloaded", "said so")
    assert (len(peer.requests), len(time.slept)) == (3, 2)
    assert len({headers["X-Request-ID"] for _, headers, _ in peer.requests}) == 1


def test_no_pause_outlasts_the_total_time() -> None:
    error, time = refused(Peer(problem(503, Retry_After="10")), total=15.0, repetitions=9)
    assert isinstance(error, UnavailableError)
    assert time.slept == [10.5]


def test_a_model_that_is_not_installed_is_not_asked_for_again_but_a_loading_one_is() -> None:
    lasting, time = refused(Peer(problem(503, "model_unavailable")))
    assert (isinstance(lasting, UnavailableError), time.slept) == (True, [])
    _, time = asked(Peer(problem(503, "model_unavailable", Retry_After="2"), SCORES))
    assert time.slept == [2.5]


BROKEN: dict[str, Reply] = {
    "closed at once": None,
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_connection_that_breaks_is_tried_again(name: str) -> None:
    scores, time = asked(Peer(BROKEN[name], SCORES))
    assert (scores, time.slept) == ([0.5], [0.5])
    error, _ = refused(Peer(BROKEN[name]), repetitions=1)
    assert isinstance(error, UnreachableError)


def test_a_port_where_nobody_listens_is_tried_again_and_then_told() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        time = Time()
        client = GteClient(f"http://127.0.0.1:{nobody.getsockname()[1]}", clock=time.clock)
        with pytest.raises(UnreachableError, match="refused"):
            client.ner("a")
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (413, BadRequestError),
        (401, UnauthorizedError),
        (403, UnauthorizedError),
        (500, ApiError),
        (504, TooSlowError),
    ],
)
def test_what_a_repetition_would_not_mend_is_told_at_once(status: int, kind: type[GteError]) -> None:
    error, time = refused(Peer(problem(status, "x")))
    assert isinstance(error, kind)
    assert (time.slept, error.request_id in str(error)) == ([], True)


def test_a_service_that_does_not_answer_is_not_asked_twice() -> None:
    held = threading.Event()

    def wait(_body: Any) -> Reply:
        held.wait(20)
        return SCORES

    peer = Peer(wait)
    time = Time()
    with serving(peer) as url, GteClient(url, patience=Patience(read=0.2), clock=time.clock) as client:
        with pytest.raises(TooSlowError):
            client.similarity("a", ["b"])
        held.set()
    assert (len(peer.requests), time.slept) == (1, [])


def test_an_answer_that_drips_is_given_up_when_the_total_is_over() -> None:
    time = Time()

    def drip(_body: Any) -> Reply:
        time.seconds += 200
        return SCORES

    with serving(Peer(drip)) as url, GteClient(url, clock=time.clock) as client, pytest.raises(TooSlowError):
        client.similarity("a", ["b"])


@pytest.mark.parametrize(
    "reply",
    [
        (200, {"Content-Type": "text/html"}, b"<html>"),
        (200, {}, []),
        (200, {}, {"result": 1}),
        (302, {"Location": "https://elsewhere.example/"}, b""),
        predicted({}),
        predicted({"scores": 1}),
        predicted({"scores": [1, 2]}),
    ],
)
def test_an_answer_of_another_kind_is_said_to_be_so(reply: Reply) -> None:
    error, time = refused(Peer(reply))
    assert isinstance(error, BadAnswerError)
    assert time.slept == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        (" 12 ", 12),
        ("-1", None),
        ("1.5", None),
        ("９", None),
        ("soon", None),
        ("9" * 400, float("inf")),
        ("Mon, 23 Nov 2026 09:01:00 GMT", 60),
        ("Mon, 23 Nov 2026 08:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 17:01:00 +0800", 60),
        ("Mon, 23 Nov 2026 09:01:00 -0000", 60),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_makes_it_fail(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0


# --- long lists -------------------------------------------------------------------------------------------


@given(
    st.lists(st.text(max_size=30), max_size=40), st.integers(1, 9), st.integers(1, 60), st.integers(1, 200)
)
def test_batches_keep_the_order_and_the_limits(
    texts: list[str], most: int, characters: int, size: int
) -> None:
    limits = Limits(most, characters, 4096 + size)
    cut = list(batches(texts, limits))
    assert [text for batch in cut for text in batch] == texts
    for batch in cut:
        assert len(batch) >= 1
        if len(batch) > 1:
            assert len(batch) <= most
            assert sum(map(len, batch)) <= characters
            sent = json.dumps(list(batch), ensure_ascii=False)
            assert len(sent.encode("utf-8", "surrogatepass")) <= size + 2


def test_a_batch_stays_small_where_the_service_would_take_more() -> None:
    assert [len(batch) for batch in batches(["a"] * 600, Limits())] == [256, 256, 88]
    assert [len(batch) for batch in batches(["字" * 4000] * 5, Limits())] == [2, 2, 1]


def test_a_long_list_goes_in_several_requests_by_the_services_own_limits() -> None:
    def vectors(body: Any) -> Reply:
        return predicted({"embeddings": [[float(text)] for text in body["input_text"]], "dimension": 1})

    peer = Peer(
        (200, {}, {"tasks": [], "limits": {"max_batch": 3, "max_batch_chars": 100, "other": 1}}), vectors
    )
    with serving(peer) as url, GteClient(url) as client:
        assert client.embed([str(n) for n in range(8)]) == [[float(n)] for n in range(8)]
        assert client.embed("1") == [[1.0]]
        assert client.embed([]) == []
    assert [path for path, _, _ in peer.requests] == ["/tasks"] + ["/predict"] * 4


def vectors_of(body: Any) -> Reply:
    return predicted({"embeddings": [[float(text)] for text in body["input_text"]], "dimension": 1})


def test_a_stream_is_read_no_further_than_one_request_ahead_of_its_vectors() -> None:
    peer = Peer((200, {}, {"limits": {"max_batch": 4}}), vectors_of)
    taken = 0

    def texts() -> Iterator[str]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield str(number)

    with serving(peer) as url, GteClient(url) as client:
        for number, vector in enumerate(client.embed_stream(texts())):
            assert vector == [float(number)]
            # The first text of the next batch shows that this one is full.
            assert taken <= number + 4 + 1
            if number == 20:
                break
    assert taken < 30


def test_an_error_in_a_stream_names_the_text_by_its_place_in_the_whole_stream() -> None:
    def refuse_9(body: Any) -> Reply:
        if "9" not in body["input_text"]:
            return vectors_of(body)
        place = body["input_text"].index("9")
        return 400, {}, {"code": "text_too_long", "detail": "", "field": f"input_text.{place}"}

    limits: Reply = (200, {}, {"limits": {"max_batch": 4}})
    given: list[list[float]] = []
    with serving(Peer(limits, refuse_9)) as url, GteClient(url) as client:
        with pytest.raises(BadRequestError) as error:
            given.extend(client.embed_stream(str(number) for number in range(12)))
        assert error.value.field == "input_text.9"

    async def ask(url: str) -> int:
        async def texts() -> AsyncIterator[str]:
            for number in range(9):
                yield str(number)

        async with AsyncGteClient(url) as client:
            return len([vector async for vector in client.embed_stream(texts())])

    with serving(Peer(limits, refuse_9)) as url:
        assert asyncio.run(ask(url)) == 9


def test_limits_that_have_become_narrower_are_asked_for_again() -> None:
    """The service was started anew under a client that lives long."""
    narrow, wide = {"max_batch": 2}, {"max_batch": 4}
    refusal: tuple[int, dict[str, str], dict[str, str]] = (
        400,
        {},
        {"code": "batch_too_large", "detail": "", "field": "input_text"},
    )
    two = predicted({"embeddings": [[1.0]] * 2, "dimension": 1})
    peer = Peer((200, {}, {"limits": wide}), refusal, (200, {}, {"limits": narrow}), two)
    with serving(peer) as url, GteClient(url) as client:
        with pytest.raises(BadRequestError):
            client.embed(["a"] * 4)
        assert client.embed(["a"] * 4) == [[1.0]] * 4


# --- asyncio ----------------------------------------------------------------------------------------------


def test_the_asynchronous_client_has_the_calls_of_the_other_one() -> None:
    def calls(kind: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(member)).replace("'", "")
            for name, member in vars(kind).items()
            if not name.startswith("_")
        }

    ours, theirs = calls(AsyncGteClient), calls(GteClient)
    # Besides what GteClient's takes, the texts may be asynchronous, and so are the vectors.
    assert ours.pop("embed_stream") == theirs.pop("embed_stream").replace(
        "texts: collections.abc.Iterable[str]",
        "texts: collections.abc.AsyncIterable[str] | collections.abc.Iterable[str]",
    ).replace("collections.abc.Iterator", "collections.abc.AsyncIterator")
    assert ours == theirs


def test_calls_that_are_awaited_together_are_under_way_together_and_hold_up_nobody() -> None:
    all_there = threading.Barrier(4, timeout=10)

    def answer(_body: Any) -> Reply:
        all_there.wait()
        return SCORES

    async def ask(url: str) -> tuple[list[list[float]], int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with AsyncGteClient(url, most=4) as client:
            counting = asyncio.create_task(count())
            scores = await asyncio.gather(*[client.similarity("a", ["b"]) for _ in range(4)])
            counting.cancel()
        return scores, turns

    with serving(Peer(answer)) as url:
        scores, turns = asyncio.run(ask(url))
    assert scores == [[0.5]] * 4
    assert turns > 1, "the event loop stood still"


def test_an_error_of_an_awaited_call_is_the_same_error() -> None:
    async def ask(url: str) -> None:
        async with AsyncGteClient(url, patience=Patience(repetitions=0)) as client:
            await client.ner("a")

    with serving(Peer(problem(503, Retry_After="7"))) as url, pytest.raises(UnavailableError) as error:
        asyncio.run(ask(url))
    assert error.value.retry_after == 7


def test_an_error_in_a_later_batch_names_the_text_by_its_place_in_the_list() -> None:
    def refuse_c(body: Any) -> Reply:
        texts = body["input_text"]
        if "c" not in texts:
            return predicted({"embeddings": [[1.0]] * len(texts), "dimension": 1})
        members = {"code": "text_too_long", "detail": "", "field": f"input_text.{texts.index('c')}"}
        return 400, {}, members if len(texts) > 1 else {**members, "field": "input_text"}

    for texts, place in ((["a", "b", "x", "c"], 3), (["a", "b", "c"], 2)):
        peer = Peer((200, {}, {"tasks": [], "limits": {"max_batch": 2}}), refuse_c)
        with serving(peer) as url, GteClient(url) as client, pytest.raises(BadRequestError) as error:
            client.embed(texts)
        assert error.value.field == f"input_text.{place}"


def test_a_text_in_place_of_a_list_of_candidates_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="a list"):
        GteClient("http://127.0.0.1:1").similarity("a", "bcd")


# --- keys and threads -------------------------------------------------------------------------------------


def test_the_key_goes_with_each_request_and_stands_in_no_error(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    peer = Peer(problem(401, "unauthorized"))
    with serving(peer) as url:
        for key in ("gte_key", None):
            with GteClient(url, api_key=key) as client, pytest.raises(UnauthorizedError) as error:
                client.ner("a")
            assert "gte_key" not in str(error.value)
    assert [headers.get("Authorization") for _, headers, _ in peer.requests] == ["Bearer gte_key", None]


def test_threads_share_a_client_and_not_a_connection() -> None:
    def echo(body: Any) -> Reply:
        return predicted({"scores": [float(body["input_text"])]})

    with serving(Peer(echo)) as url, GteClient(url) as client:
        scores: dict[int, list[float]] = {}

        def ask(number: int) -> None:
            for _ in range(5):
                scores[number] = client.similarity(str(number), ["b"])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert scores == {number: [float(number)] for number in range(8)}


def test_not_ready_is_an_answer_and_no_error() -> None:
    peer = Peer((503, {}, {"status": "not_ready", "ready": False, "reason": "loading", "detail": "soon"}))
    with serving(peer) as url, GteClient(url) as client:
        state = client.ready()
    assert (state.ok, state.reason, state.detail) == (False, "loading", "soon")


@pytest.mark.parametrize("url", ["gte-api.example.com", "ftp://a", ""])
def test_an_address_without_a_scheme_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https://"):
        GteClient(url)


def test_it_needs_nothing_of_the_service() -> None:
    heavy = ("flask", "torch", "pydantic", "numpy", "ops")
    code = f"import sys, service.client; print(*(m for m in sys.modules if m.split('.')[0] in {heavy}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


# --- proxies ----------------------------------------------------------------------------------------------


def scores_of(url: str, *, awaited: bool) -> list[float]:
    """A similarity by the client, or the one for asyncio."""
    patience = Patience(repetitions=0)
    if not awaited:
        with GteClient(url, api_key="gte_k", patience=patience) as client:
            return client.similarity("a", ["b"])

    async def ask() -> list[float]:
        async with AsyncGteClient(url, api_key="gte_k", patience=patience) as client:
            return await client.similarity("a", ["b"])

    return asyncio.run(ask())


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("names", [NAMES, tuple(name.upper() for name in NAMES), ("all_proxy",)])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_a_service_on_this_host_is_never_reached_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str, names: tuple[str, ...], awaited: bool
) -> None:
    with recording_proxy() as proxy, serving(Peer(SCORES)) as url:
        set_proxies(monkeypatch, names, proxy.url, "example.com")
        if host.startswith("["):  # the peer listens on IPv4 alone, as does loopback in some containers
            with suppress(UnreachableError):
                scores_of(url.replace("127.0.0.1", host), awaited=awaited)
        else:
            assert scores_of(url.replace("127.0.0.1", host), awaited=awaited) == [0.5]
        assert proxy.requests == []


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("names", [NAMES, tuple(name.upper() for name in NAMES), ("all_proxy",)])
def test_a_service_elsewhere_is_reached_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], awaited: bool
) -> None:
    with recording_proxy() as proxy:
        set_proxies(monkeypatch, names, proxy.url, None)
        with pytest.raises(GteError):
            scores_of("http://gte-api.example.invalid", awaited=awaited)
        with pytest.raises(GteError):
            scores_of("https://gte-api.example.invalid", awaited=awaited)
        assert [line.rpartition(" ")[0] for line in proxy.lines] == [
            "POST http://gte-api.example.invalid/predict",
            "CONNECT gte-api.example.invalid:443",
        ]
        monkeypatch.setenv("no_proxy", "example.invalid")
        with pytest.raises(UnreachableError):
            scores_of("http://gte-api.example.invalid", awaited=awaited)
        assert len(proxy.requests) == 2
