"""The door: what gets a place or a refusal before it gets a thread."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from service.admission.client import Client
from service.admission.gate import OverloadedError
from service.api.entrance import Door, DoorAnswer
from service.app import create_app
from service.engines.interface import EngineKind, EngineUnavailableError
from service.engines.registry import EngineRegistry
from service.http.arrival import Arrival
from service.http.request_head import RequestHead
from service.keys import key_file
from service.prediction.context import Context, context_of
from service.settings import SettingsError, per_second, read_settings
from tests.unit.service.test_app import SETTINGS, NounLexical

PEER = ("192.0.2.1", 4711)


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


def service(**changes: Any) -> tuple[Door, Context]:
    settings = replace(SETTINGS, max_concurrent=1, max_queue=3, **changes)
    app = create_app(settings, EngineRegistry({}, load_wait=0))
    assert app.door is not None
    return app.door, context_of(app.extensions)


def head(path: str, *headers: str, method: str = "POST") -> RequestHead:
    return RequestHead("\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode())


def fill(here: Context) -> None:
    for number in range(4):
        here.places.take(Client(f"{number}"))


@pytest.mark.parametrize("path", ["/predict", "/predict?a=b", "/v1/embeddings", "/v1/rerank", "/rerank"])
def test_a_prediction_gets_a_place_and_gives_it_back(path: str, connection: socket.socket) -> None:
    door, here = service()
    entered, refusal = door(head(path), PEER, connection)
    assert refusal is None
    assert here.places.inside == 1
    with entered:
        assert here.places.inside == 1
    assert here.places.inside == 0


@pytest.mark.parametrize(
    "request_head",
    [
        head("/ready", method="GET"),
        head("/predict", method="GET"),
        head("/predict/x"),
        RequestHead(b"\x16\x03\x01"),
        RequestHead(b""),
    ],
)
def test_what_wants_no_prediction_is_never_refused(
    request_head: RequestHead, connection: socket.socket
) -> None:
    door, here = service()
    fill(here)
    entered, refusal = door(request_head, PEER, connection)
    assert refusal is None
    with entered:
        assert here.places.inside == 4


@pytest.mark.parametrize("line", ["/health", "/health?full=1"])
def test_health_is_answered_at_the_door_as_the_application_answers_it(
    line: str, connection: socket.socket
) -> None:
    app = create_app(SETTINGS, EngineRegistry({}, load_wait=0))
    assert app.door is not None
    entered, answer = app.door(head(line, "X-Request-ID: mine.1", method="GET"), PEER, connection)
    assert answer is not None
    lines, _, body = answer.encoded("keep-alive").partition(b"\r\n\r\n")
    status, *headers = lines.decode().split("\r\n")
    usual = app.test_client().get(line, headers={"X-Request-ID": "mine.1"})
    assert status == "HTTP/1.1 200 OK"
    fields = {name: value for name, value in (one.split(": ", 1) for one in headers) if name != "Connection"}
    # RFC 9110, 6.6.1; gunicorn adds it to what the application answers.
    assert abs(parsedate_to_datetime(fields.pop("Date")).timestamp() - time.time()) < 60
    assert fields == dict(usual.headers)
    assert body == usual.data
    assert answer.environ["gte.path"] == "/health"
    with entered:
        pass


@pytest.mark.parametrize(
    "request_head",
    [
        head("/health", "Origin: https://a.example", method="GET"),
        head("/health", "Content-Length: 3", method="GET"),
        head("/health", "Transfer-Encoding: chunked", method="GET"),
        head("/health", method="HEAD"),
        head("/healthy", method="GET"),
        head("/health", "Bad Header: x", method="GET"),
        head("/health", "A: b\x00", method="GET"),
        head("/health", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off", method="GET"),
        head("/health", "X-Forwarded-Protocol: ssl", method="GET"),
        head("/health", "X-Forwarded-Proto: https", "A: b", "x-forwarded-proto: http", method="GET"),
        head("/health", "host: b", method="GET"),
        head("/health", "Script_Name: /x", method="GET"),
        head("/health", *["A: b"] * 200, method="GET"),
    ],
)
def test_an_unusual_health_check_takes_the_usual_way(
    request_head: RequestHead, connection: socket.socket
) -> None:
    door, _ = service()
    assert door(request_head, PEER, connection)[1] is None


def test_a_health_check_with_another_request_in_one_piece_takes_the_usual_way(
    connection: socket.socket,
) -> None:
    door, _ = service()
    assert door(head("/health", method="GET"), PEER, connection, is_followed=True)[1] is None
    assert door(head("/health", method="GET"), PEER, connection)[1] is not None


def test_what_nginx_sends_of_itself_needs_no_thread(connection: socket.socket) -> None:
    door, _ = service()
    sent = ("X-Real-IP: 192.0.2.9", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Proto: https")
    assert door(head("/health", *sent, method="GET"), PEER, connection)[1] is not None


@pytest.mark.parametrize(("path", "member"), [("/predict", "code"), ("/v1/embeddings", "error")])
def test_when_all_places_are_taken_the_answer_is_whole(
    path: str, member: str, connection: socket.socket
) -> None:
    door, here = service()
    fill(here)
    _, refusal = door(head(path, "X-Request-ID: mine.1"), PEER, connection)
    assert refusal is not None
    lines, _, body = refusal.encoded("close").partition(b"\r\n\r\n")
    status, *headers = lines.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in headers)
    assert status == "HTTP/1.1 503 Service Unavailable"
    assert int(fields["Content-Length"]) == len(body)
    assert fields["Connection"] == "close"
    assert int(fields["Retry-After"]) >= 1
    assert fields["X-Request-ID"] == "mine.1"
    assert member in json.loads(body)


@pytest.mark.parametrize("is_by_door", [True, False])
def test_no_more_requests_compute_at_once_than_have_turns(
    is_by_door: bool, connection: socket.socket
) -> None:
    """Not even when the engine that they wait for has been loaded."""
    lock, inside, most = threading.Lock(), 0, 0

    class Counting(NounLexical):
        def __init__(self) -> None:
            time.sleep(0.5)

        def tokens(self, text: str) -> Any:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1
            return super().tokens(text)

    engines = EngineRegistry({EngineKind.LEXICAL: Counting}, load_wait=30)
    app = create_app(replace(SETTINGS, max_concurrent=2, max_queue=20), engines)
    door = app.door
    assert door is not None

    def ask(number: int) -> int:
        entered: AbstractContextManager[object] = nullcontext()
        if is_by_door:
            entered, _ = door(head("/predict"), (f"192.0.2.{number}", 1), connection)
        sent_by = {"X-Forwarded-For": f"192.0.2.{number}"}
        with entered:
            body = {"task_type": "ner", "input_text": "甲"}
            return app.test_client().post("/predict", json=body, headers=sent_by).status_code

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, range(24))) == [200] * 24
    assert 1 <= most <= 2


def test_one_client_does_not_get_every_place(connection: socket.socket) -> None:
    door, here = service()
    refusals = [door(head("/predict"), PEER, connection)[1] for _ in range(4)]
    assert [refusal is None for refusal in refusals] == [True, True, True, False]
    assert door(head("/predict"), ("192.0.2.2", 1), connection)[1] is None
    assert here.places.inside == 4


def test_behind_a_proxy_of_ours_the_header_says_who_asks(connection: socket.socket) -> None:
    door, here = service()
    for number in range(4):
        asked = head("/predict", f"X-Forwarded-For: 1.1.1.1, 192.0.2.{number}")
        assert door(asked, ("127.0.0.1", 1), connection)[1] is None
    assert here.places.inside == 4


def test_with_keys_the_key_says_who_asks_and_a_wrong_one_is_for_the_application(
    tmp_path: Path, connection: socket.socket
) -> None:
    path = tmp_path / "keys.json"
    keys = [key_file.add(path, name) for name in ("one", "two")]
    door, here = service(api_keys_file=path)
    for key in (keys[0], keys[0], keys[0], keys[1]):
        assert door(head("/predict", f"authorization: bearer {key}"), PEER, connection)[1] is None
    assert here.places.inside == 4
    for wrong in ("Authorization: Bearer nonsense", "A: b"):
        assert door(head("/predict", wrong), PEER, connection)[1] is None
    assert here.places.inside == 4


def test_a_browsers_page_is_refused_by_the_application_with_its_headers(connection: socket.socket) -> None:
    door, here = service(cors_origins=("*",))
    fill(here)
    assert door(head("/predict", "Origin: https://a.example"), PEER, connection)[1] is None


def status_of(answer: DoorAnswer | None) -> str:
    return "passed" if answer is None else answer.status[:3]


def test_above_its_rate_an_address_is_refused_with_the_time_to_come_again(connection: socket.socket) -> None:
    door, here = service(rate="6r/m", burst=1)
    answers = [door(head("/v1/embeddings"), PEER, connection) for _ in range(3)]
    refusal = answers[-1][1]
    assert [status_of(answer) for _, answer in answers] == ["passed", "passed", "429"]
    assert refusal is not None
    assert 1 <= int(refusal.headers["Retry-After"]) <= 10
    assert json.loads(refusal.body)["error"]["code"] == "rate_limited"
    assert here.places.inside == 2
    assert status_of(door(head("/predict"), ("192.0.2.2", 1), connection)[1]) == "passed"


def test_a_refusal_for_overload_uses_up_no_rate(connection: socket.socket) -> None:
    door, here = service(rate="6r/m", burst=1)
    held = [here.places.take(Client(f"{number}")) for number in range(4)]
    refused = [door(head("/predict"), PEER, connection)[1] for _ in range(5)]
    assert list(map(status_of, refused)) == ["503"] * 5
    for one in held:
        one.leave()
    answers = [door(head("/predict"), PEER, connection)[1] for _ in range(3)]
    assert list(map(status_of, answers)) == ["passed", "passed", "429"]


def test_nor_does_one_at_the_entrance_of_the_application() -> None:
    settings = replace(SETTINGS, max_concurrent=1, max_queue=3, rate="6r/m", burst=1)
    app = create_app(settings, EngineRegistry({}, load_wait=0))
    here, client = context_of(app.extensions), app.test_client()
    held = [here.places.take(Client(f"{number}")) for number in range(4)]
    assert [client.post("/predict", json={}).get_json()["code"] for _ in range(5)] == ["overloaded"] * 5
    for one in held:
        one.leave()
    statuses = [client.post("/predict", json={"task_type": "?"}).status_code for _ in range(3)]
    assert statuses == [400, 400, 429]


@pytest.mark.parametrize("path", ["/predict", "/v1/embeddings"])
@pytest.mark.parametrize("is_by_door", [True, False])
def test_nor_does_one_further_in_where_the_model_has_no_room(
    path: str, is_by_door: bool, connection: socket.socket
) -> None:
    settings = replace(SETTINGS, max_concurrent=1, max_queue=3, rate="6r/m", burst=1)
    engines = NoRoomFurtherIn()
    app = create_app(settings, engines)
    client = app.test_client()
    body = {"task_type": "embedding", "input_text": "a"} if path == "/predict" else {"input": "a"}

    def code() -> str:
        engines.found = 1 if path == "/v1/embeddings" else 0
        entered: AbstractContextManager[object] = nullcontext()
        refusal = None
        if is_by_door:
            assert app.door is not None
            entered, refusal = app.door(head(path), ("127.0.0.1", 1), connection)
        if refusal is not None:
            return "rate_limited"
        with entered:
            members = client.post(path, json=body).get_json()
        return str((members if path == "/predict" else members["error"])["code"])

    assert [code() for _ in range(5)] == ["overloaded"] * 5


class NoRoomFurtherIn(EngineRegistry):
    """The first looks find room; then others have taken it."""

    def __init__(self) -> None:
        super().__init__({}, load_wait=0)
        self.found = 0

    def failure(self, _kind: EngineKind) -> EngineUnavailableError | None:
        return None

    def require_room(self, _kind: EngineKind, _client: str) -> None:
        self.found -= 1
        if self.found < 0:
            raise OverloadedError("the encoder has enough to do", 2)


def test_a_key_has_a_rate_of_its_own_wherever_it_comes_from(
    tmp_path: Path, connection: socket.socket
) -> None:
    path = tmp_path / "keys.json"
    one, two = (f"Authorization: Bearer {key_file.add(path, name)}" for name in ("one", "two"))
    door, _ = service(api_keys_file=path, rate="6r/m", burst=0)
    peers = [("192.0.2.7", 1), ("192.0.2.8", 1)]
    answers = [door(head("/predict", one), peer, connection)[1] for peer in peers]
    assert list(map(status_of, answers)) == ["passed", "429"]
    assert answers[1] is not None
    assert answers[1].environ["gte.key"] == "one"
    assert status_of(door(head("/predict", two), peers[0], connection)[1]) == "passed"


def test_keys_that_are_made_up_share_the_rate_of_their_address(
    tmp_path: Path, connection: socket.socket
) -> None:
    path = tmp_path / "keys.json"
    key = key_file.add(path, "one")
    app = create_app(
        replace(SETTINGS, api_keys_file=path, rate="6r/m", burst=2), EngineRegistry({}, load_wait=0)
    )
    assert app.door is not None
    client = app.test_client()
    statuses = []
    for number in range(5):
        sent = f"Bearer made-up-{number}"
        answer = app.door(head("/predict", f"Authorization: {sent}"), ("127.0.0.1", 1), connection)[1]
        statuses.append(
            status_of(answer)
            if answer
            else str(client.post("/predict", json={}, headers={"Authorization": sent}).status_code)
        )
    assert statuses == ["401", "401", "401", "429", "429"]
    # Nor does the header of a browser's page, with which the application itself refuses, begin anew.
    page = {"Authorization": "Bearer another", "Origin": "https://a.example"}
    refused = client.post("/predict", json={}, headers=page)
    assert (refused.status_code, refused.get_json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) >= 1
    # Who has a key is not held back by them.
    accepted = app.door(head("/predict", f"Authorization: Bearer {key}"), ("127.0.0.1", 1), connection)
    assert accepted[1] is None
    # What needs no key, and what is no prediction, is not counted.
    assert [client.get("/health").status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(("text", "rate"), [("10r/s", 10.0), ("600r/m", 10.0), ("1r/m", 1 / 60)])
def test_a_rate_is_written_as_for_nginx(text: str, rate: float) -> None:
    assert per_second(read_settings({"GTE_RATE": text}).rate or "") == rate


@pytest.mark.parametrize("text", ["10", "0r/s", "10r/h", "10 r/s", "1.5r/s", "10r/s;"])
def test_what_is_no_rate_ends_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="GTE_RATE"):
        read_settings({"GTE_RATE": text})


def test_a_burst_without_a_rate_ends_the_start() -> None:
    with pytest.raises(SettingsError, match="GTE_BURST=200: set GTE_RATE"):
        read_settings({"GTE_BURST": "200"})
    assert read_settings({"GTE_BURST": "200", "GTE_RATE": "10r/s"}).burst == 200
    assert read_settings({"GTE_BURST": ""}).burst == 20


def test_a_request_that_came_by_no_door_is_counted_too() -> None:
    app = create_app(replace(SETTINGS, rate="6r/m", burst=1), EngineRegistry({}, load_wait=0))
    client = app.test_client()
    statuses = [client.post("/%70redict", json={"task_type": "?"}).status_code for _ in range(4)]
    assert statuses == [400, 400, 429, 429]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/predict?secret", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "payload_too_large"),
        ("/v1/embeddings", HTTPStatus.NOT_IMPLEMENTED, "bad_request"),
        ("/v1/x\x9b31m", HTTPStatus.BAD_REQUEST, "bad_request"),
    ],
)
def test_a_body_that_is_not_waited_for_is_refused_in_the_form_of_its_path(
    path: str, status: HTTPStatus, code: str
) -> None:
    door, here = service()
    request_head = f"POST {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: a\x9b\r\n\r\n".encode("latin-1")
    answer = door.refuse(status, RequestHead(request_head), PEER)
    assert answer.status == f"{status.value} {status.phrase}"
    members = json.loads(answer.body)
    assert (members["error"] if path.startswith("/v1/") else members)["code"] == code
    assert here.places.inside == 0
    logged = "".join(answer.environ.values())
    assert "\x9b" not in logged
    assert "secret" not in logged


def test_what_is_no_request_is_refused_too() -> None:
    door, _ = service()
    for request_head in (b"", b"\xff\r\n\r\n", b"A\r\n\r\n"):
        assert door.refuse(HTTPStatus.BAD_REQUEST, RequestHead(request_head), PEER).status.startswith("400 ")


def test_a_refusal_logs_no_more_of_a_request_than_gunicorn_takes() -> None:
    door, _ = service()
    long = b"a" * 60_000
    for request_head in (
        b"POST /" + long + b" HTTP/1.1\r\n\r\n",
        long + b" / HTTP/1.1\r\n\r\n",
        b"POST / " + long + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nUser-Agent: " + long + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nUser-Agent: " + b"\x9b" * 60_000 + b"\r\n\r\n",
    ):
        answer = door.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, RequestHead(request_head), PEER)
        assert max(map(len, answer.environ.values())) <= 4094


def test_the_refusal_of_head_has_the_length_and_no_body() -> None:
    door, _ = service()
    answer = door.refuse(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        RequestHead(b"HEAD /predict HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"),
        PEER,
    )
    encoded = answer.encoded("close")
    assert f"Content-Length: {len(answer.body)}\r\n".encode() in encoded
    assert encoded.endswith(b"\r\n\r\n")
    assert answer.size == 0


def test_a_refusal_says_of_chunks_that_they_are_too_many() -> None:
    door, _ = service()
    most = 1 << 10
    arrival = Arrival(most)
    arrival.add(b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(300):
        arrival.add((b"1;" + b"a" * 300 + b"\r\nb\r\n") if not arrival.is_whole else b"")
    assert arrival.refusal is HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    detail = json.loads(door.refuse(arrival.refusal, arrival.head, PEER, arrival.why).body)["detail"]
    assert "chunks" in detail
    assert "larger" not in detail
