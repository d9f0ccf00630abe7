"""HTTP exchanges with peers that misbehave, over real sockets."""

import json
import resource
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.backups.nginx_probe import health_problem
from ops.collect.net.http_probe import MAX_KEPT_CHARS, connect, exchange
from ops.collect.net.service_probes import (
    DEBUGGER_KEEPS,
    MAX_HOPS,
    Deadline,
    probe_backend,
    probe_front,
    probe_upstreams,
)
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Exchange
from ops.facts.target import Target
from tests.lab.authority import Authority, self_signed
from tests.system.peer import Manners, free_port, peer, repeats, request_of, resets, says, silent

URL = "http://gte.example/health"
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'


def get(address: str, seconds: float = 5.0, url: str = URL, **options: Any) -> Exchange:
    return exchange("GET", url, address, Deadline(time.monotonic() + seconds), **options)


def test_a_good_answer_is_read_whole() -> None:
    with peer(says(OK)) as address:
        answer = get(address)
    assert (answer.failure, answer.detail, answer.status) == (None, "", 200)
    assert answer.json() == {"status": "ok"}
    assert answer.media_type == "application/json"
    assert 0 < answer.elapsed < 5


def test_what_is_sent_is_one_plain_request() -> None:
    received = []

    def manners(sock: socket.socket) -> None:
        received.append(request_of(sock).decode())
        sock.sendall(OK)

    with peer(manners) as address:
        exchange(
            "POST",
            "http://gte.example:8080/预测?q=1",
            address,
            Deadline(time.monotonic() + 5),
            body='{"a": "北京"}',
            headers={"Content-Type": "application/json", "accept": "application/json"},
        )
    head, _, body = received[0].partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0] == "POST /%E9%A2%84%E6%B5%8B?q=1 HTTP/1.1"
    assert "Host: gte.example:8080" in lines
    assert "accept: application/json" in lines
    assert "Accept: */*" not in lines
    assert "Accept-Encoding: identity" in lines
    assert any(line.startswith("User-Agent: gte-ops-doctor/") for line in lines)
    assert body == '{"a": "北京"}'


@pytest.mark.parametrize(
    ("manners", "failure", "detail"),
    [
        pytest.param(says(b""), "closed", "without an answer", id="closed"),
        pytest.param(says(b"HTTP/1.1 200 O"), "closed", "middle of the answer's head", id="half-status"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nA: b"), "closed", "middle", id="half-head"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nA: b\r\n"), "closed", "middle", id="no-blank-line"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.2\r\n"), "malformed", "SSH-2.0", id="another-protocol"),
        pytest.param(says(b"\x15\x03\x01\x00\x02\x02\x46"), "malformed", "", id="tls-alert"),
        pytest.param(says(bytes(range(256)) * 16), "malformed", "", id="noise"),
        pytest.param(says(b"HTTP/1.1 two OK\r\n\r\n"), "malformed", "", id="bad-status"),
        pytest.param(says(b"HTTP/1.1 200 " + b"x" * 90_000), "malformed", "", id="endless-line"),
        pytest.param(repeats(b"A: b\r\n" * 500, b"HTTP/1.1 200 OK\r\n"), "malformed", "headers", id="flood"),
        pytest.param(
            repeats(b"HTTP/1.1 100 Continue\r\n\r\n" * 500), "malformed", "", id="continue-for-ever"
        ),
        pytest.param(resets, "reset", "reset", id="reset"),
    ],
)
def test_a_broken_peer_is_named_at_once(manners: Manners, failure: str, detail: str) -> None:
    with peer(manners) as address:
        answer = get(address, seconds=20)
    assert answer.failure == failure, answer
    assert detail in answer.detail
    assert answer.status is None
    assert answer.elapsed < 10
    assert answer.detail.isprintable()


@pytest.mark.parametrize(
    "manners",
    [
        pytest.param(silent, id="silent"),
        pytest.param(repeats(b"x", b"HTTP/1.1 200 OK\r\nA: ", every=0.02), id="dripping-head"),
        pytest.param(repeats(b"HTTP/1.1 100 Continue\r\n\r\n", every=0.02), id="dripping-continue"),
    ],
)
def test_no_head_ends_at_the_deadline_and_says_how_long_it_waited(manners: Manners) -> None:
    with peer(manners) as address:
        started = time.monotonic()
        answer = get(address, seconds=0.4)
    assert time.monotonic() - started < 5
    assert (answer.failure, answer.detail) == ("timeout", "no answer within 0.4 s")


def test_an_endless_body_costs_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with peer(repeats(b"x" * 65536, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")) as address:
        answer = get(address, seconds=20)
    assert (answer.failure, answer.status) == (None, 200)
    assert len(answer.body) == MAX_KEPT_CHARS
    assert answer.elapsed < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_a_dripping_body_is_given_up_with_what_came() -> None:
    with peer(repeats(b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", every=0.02)) as address:
        started = time.monotonic()
        answer = get(address, seconds=0.5)
    assert time.monotonic() - started < 5
    assert (answer.failure, answer.status) == (None, 200)
    assert set(answer.body) == {"x"}
    assert "not complete after 0.5 s" in answer.detail


def test_a_dripping_body_does_not_use_up_a_long_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.collect.net.http_probe.BODY_SECONDS", 0.2)
    with peer(repeats(b"x", b"HTTP/1.1 200 OK\r\n\r\n", every=0.02)) as address:
        started = time.monotonic()
        answer = get(address, seconds=30)
    assert time.monotonic() - started < 10
    assert "not complete" in answer.detail


@pytest.mark.parametrize(
    ("answer", "body", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "hello", "5 of 10 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", "hello", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "hello", ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "", ""),
        (b"HTTP/1.0 200 OK\nServer: old\n\nhello", "hello", ""),
    ],
)
def test_a_body_that_breaks_off_is_told(answer: bytes, body: str, detail: str) -> None:
    with peer(says(answer)) as address:
        read = get(address)
    assert read.failure is None
    assert read.body == body
    assert detail in read.detail
    assert bool(detail) == bool(read.detail)


def test_an_answer_before_the_body_was_read_counts(tmp_path: Path) -> None:
    def manners(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    # Over a unix socket the rest of the body surely meets a closed end, and the answer surely waits.
    with peer(manners, path=str(tmp_path / "gte.sock")) as address:
        answer = exchange("POST", URL, address, Deadline(time.monotonic() + 5), body=b"x" * 2_000_000)
    assert (answer.failure, answer.status) == (None, 413)


def test_words_of_the_peer_are_made_harmless() -> None:
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=s3cr3t\r\nX-Note: \x1b[31mred\x07\r\n"
    with peer(says(head + b"\r\n\x1b]0;owned\x07 password=hunter2 \xe2\x80\xae")) as address:
        answer = get(address)
    shown = json.dumps(msgspec.to_builtins(answer))
    assert "\\u001b" not in shown
    assert "s3cr3t" not in shown
    assert "hunter2" not in shown
    assert "\\u202e" not in shown
    assert answer.header("x-note") == "red"


@pytest.mark.parametrize(
    ("address", "failure"),
    [
        ("127.0.0.1:{port}", "refused"),
        ("[::1]:{port}", "refused"),
        ("localhost:{port}", "refused"),
        ("unix:/nonexistent/gte.sock", "missing"),
        ("127.0.0.1", "other"),
        ("127.0.0.1:99999", "other"),
        ("unix:" + "x" * 200, "other"),
        ("unix:/a\0b", "missing"),
        ("", "other"),
    ],
)
def test_what_cannot_be_dialled(address: str, failure: str) -> None:
    address = address.format(port=free_port())
    connection = connect(address, time.monotonic() + 5)
    assert connection.failure == failure
    assert connection.detail
    answer = get(address)
    assert answer.failure == ("unreachable" if failure == "other" else failure)


def test_a_unix_socket_is_dialled_and_its_mode_respected(tmp_path: Path) -> None:
    path = str(tmp_path / "gte.sock")
    with peer(says(OK), path=path) as address:
        assert get(address).status == 200
        assert connect(address, time.monotonic() + 5).failure is None
    assert connect(f"unix:{path}", time.monotonic() + 5).failure is ProbeFailure.REFUSED


def test_a_full_backlog_is_a_timeout_not_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / "gte.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting: list[Any] = []
        while len(waiting) < 50:
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            waiting.append(sock)
            if sock.connect_ex(path):
                break
        connection = connect(f"unix:{path}", time.monotonic() + 0.3)
        for sock in waiting:
            sock.close()
    assert (connection.failure, connection.detail) == ("timeout", "no connection within 0.3 s")


def test_a_cut_ends_every_exchange_at_once() -> None:
    patience = Deadline(time.monotonic() + 60)
    arrived = threading.Semaphore(0)

    def manners(sock: socket.socket) -> None:
        request_of(sock)
        arrived.release()
        silent(sock)

    answers: list[Exchange] = []
    with peer(manners) as address:
        threads = [
            threading.Thread(target=lambda: answers.append(exchange("GET", URL, address, patience)))
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert arrived.acquire(timeout=10)
        patience.cut("every worker is stopped")
        for thread in threads:
            thread.join(5)
        later = exchange("GET", URL, address, patience)
    for answer in (*answers, later):
        assert answer.failure is ProbeFailure.TIMEOUT
        assert "every worker is stopped" in answer.detail
    assert len(answers) == 5


def test_patience_leaves_no_descriptor_behind() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with peer(says(OK)) as address:
        for _ in range(20):
            get(address)
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10


def tls_context(tmp_path: Path) -> ssl.SSLContext:
    issued = self_signed(["gte.example"])
    (tmp_path / "pair.pem").write_bytes(issued.pem + issued.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    return context


def test_tls_is_not_trusted_here_but_spoken_with_the_name(tmp_path: Path) -> None:
    asked: list[str | None] = []
    context = tls_context(tmp_path)
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    with peer(says(OK), tls=context) as address:
        answer = get(address, url="https://gte.example/health")
    assert answer.status == 200
    assert asked == ["gte.example"]


def test_a_failing_handshake_says_so() -> None:
    with peer(lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        answer = get(address, url="https://gte.example/")
        assert (answer.failure, answer.detail) == ("tls", "TLS handshake: wrong version number")
    with peer(silent) as address:
        answer = get(address, url="https://gte.example/", seconds=0.3)
        assert (answer.failure, answer.detail) == ("timeout", "no TLS handshake within 0.3 s")
    with peer(lambda _sock: None) as address:
        assert get(address, url="https://gte.example/").failure is ProbeFailure.TLS


# --- probes ---


def target(**known: Any) -> Target:
    # What has a default keeps it.
    values: dict[str, Any] = {field.name: None for field in msgspec.structs.fields(Target) if field.required}
    values |= {
        "domain": "gte.example",
        "url": "http://gte.example",
        "backend": "127.0.0.1:1",
        "health_path": "/health",
        "ready_path": "/ready",
        "predict_path": "/predict",
        "predict_body": "{}",
        "slow_after_s": 3.0,
        "upstreams": (),
    }
    return Target(**{**values, **known})


def site(answers: dict[str, bytes]) -> Manners:
    """Answers by request line, without the version; 404 for the rest."""

    def manners(sock: socket.socket) -> None:
        line = request_of(sock).split(b"\r\n")[0].decode().rpartition(" ")[0]
        sock.sendall(answers.get(line, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))

    return manners


def redirect(to: str, status: int = 301) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


def front(answers: dict[str, bytes], **known: Any) -> Any:
    with peer(site(answers)) as address:
        dialled = {"connect_to": address, "plain_connect_to": address, **known}
        return probe_front(target(**dialled), Deadline(time.monotonic() + 5))


OTHER = b"HTTP/1.1 %d Other\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(("status", "is_problem"), [(400, True), (502, True), (503, False), (404, False)])
def test_a_good_health_check_hides_no_request_that_nginx_does_not_hand_on(
    status: int, is_problem: bool
) -> None:
    """nginx may answer the health path itself; a busy service, or one without a ready path, is no fault of nginx's."""
    with peer(site({"GET /health": OK, "GET /ready": OTHER % status})) as address:
        problem = health_problem(target(connect_to=address), time.monotonic() + 0.5)
    assert problem == (f"http://gte.example/ready: answers {status}" if is_problem else None)


def test_a_healthy_front_door() -> None:
    seen = front({"GET /health": OK, "POST /predict": OK})
    assert seen.connection.failure is None
    assert (seen.plain.status, seen.health.status, seen.predict.status) == (200, 200, 200)
    assert seen.hops == ()


def test_a_redirect_is_followed_to_its_end() -> None:
    seen = front({"GET /health": redirect("/health/", 308), "GET /health/": OK})
    assert [(hop.url, hop.status) for hop in seen.hops] == [
        ("http://gte.example/health", 308),
        ("http://gte.example/health/", 200),
    ]


def test_a_loop_ends_with_the_url_that_came_back() -> None:
    seen = front({"GET /health": redirect("/a"), "GET /a": redirect("http://gte.example:80/health")})
    urls = [hop.url for hop in seen.hops]
    assert urls == ["http://gte.example/health", "http://gte.example/a", "http://gte.example/health"]


def test_an_endless_chain_stops() -> None:
    answers = {f"GET /{number}": redirect(f"/{number + 1}", 302) for number in range(50)}
    seen = front({"GET /health": redirect("/0"), **answers})
    assert len(seen.hops) == MAX_HOPS
    assert len({hop.url for hop in seen.hops}) == MAX_HOPS


def test_another_host_is_recorded_and_left_alone() -> None:
    dialled: list[socket.socket] = []
    with peer(dialled.append) as elsewhere:
        seen = front({"GET /health": redirect(f"http://{elsewhere}/health")})
    assert [hop.status for hop in seen.hops] == [301]
    assert seen.hops[0].header("location") == f"http://{elsewhere}/health"
    assert not dialled


@pytest.mark.parametrize(
    "location", ["javascript:alert(1)", "http://[", "http://gte.example:port/", "", "\x01"]
)
def test_a_nonsense_location_ends_the_chain(location: str) -> None:
    assert len(front({"GET /health": redirect(location)}).hops) <= 2


def test_plain_http_is_dialled_where_it_is_and_followed_to_https(tmp_path: Path) -> None:
    with (
        peer(site({"GET /health": redirect("https://gte.example/health")})) as plain,
        peer(site({"GET /health": OK, "POST /predict": OK}), tls=tls_context(tmp_path)) as secure,
    ):
        known = target(url="https://gte.example", connect_to=secure, plain_connect_to=plain)
        seen = probe_front(known, Deadline(time.monotonic() + 5))
    assert isinstance(seen.plain, Exchange)
    assert isinstance(seen.health, Exchange)
    assert (seen.plain.status, seen.health.status) == (301, 200)
    assert [hop.url for hop in seen.hops] == ["http://gte.example/health", "https://gte.example/health"]
    assert [hop.address for hop in seen.hops] == [plain, secure]


def test_https_and_http_that_send_to_each_other(tmp_path: Path) -> None:
    with (
        peer(site({"GET /health": redirect("https://gte.example/health")})) as plain,
        peer(
            site({"GET /health": redirect("http://gte.example/health")}), tls=tls_context(tmp_path)
        ) as secure,
    ):
        known = target(url="https://gte.example", connect_to=secure, plain_connect_to=plain)
        hops = probe_front(known, Deadline(time.monotonic() + 5)).hops
    assert [hop.url.partition(":")[0] for hop in hops] == ["https", "http", "https"]


def recording(received: list[str]) -> Manners:
    def manners(sock: socket.socket) -> None:
        received.append(request_of(sock).decode())
        sock.sendall(OK)

    return manners


@pytest.mark.parametrize(
    ("names", "is_trusted", "arrives"),
    [(["gte.example"], True, True), (["gte.example"], False, False), (["other.example"], True, False)],
    ids=["verified", "an authority that nobody knows", "another name"],
)
def test_private_headers_go_through_the_front_door_over_verified_tls_alone(
    names: list[str], is_trusted: bool, arrives: bool, tmp_path: Path
) -> None:
    authority = Authority()
    issued = authority.issue(names)
    (tmp_path / "pair.pem").write_bytes(issued.fullchain_pem + issued.key_pem)
    (tmp_path / "root.pem").write_bytes(authority.root.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    secure_requests: list[str] = []
    plain_requests: list[str] = []
    with peer(recording(plain_requests)) as plain, peer(recording(secure_requests), tls=context) as secure:
        known = target(
            url="https://gte.example",
            connect_to=secure,
            plain_connect_to=plain,
            ca_file=str(tmp_path / "root.pem") if is_trusted else None,
        )
        seen = probe_front(known, Deadline(time.monotonic() + 5), {"X-Api-Key": "hunter2"})
    assert isinstance(seen.health, Exchange)
    assert isinstance(seen.predict, Exchange)
    assert (seen.health.status, seen.predict.status) == (200, 200)
    sent = [request for request in secure_requests if "X-Api-Key: hunter2" in request]
    assert sorted(request.split()[0] for request in sent) == (["GET", "POST"] if arrives else [])
    assert seen.health.private_headers == (("X-Api-Key",) if arrives else ())
    assert plain_requests
    assert "hunter2" not in "".join(plain_requests)


def test_private_headers_never_go_through_a_front_door_without_tls() -> None:
    requests: list[str] = []
    with peer(recording(requests)) as address:
        known = target(connect_to=address, plain_connect_to=address)
        probe_front(known, Deadline(time.monotonic() + 5), {"X-Api-Key": "hunter2"})
    assert requests
    assert "hunter2" not in "".join(requests)


def test_a_dead_front_door() -> None:
    address = f"127.0.0.1:{free_port()}"
    seen = probe_front(target(connect_to=address, plain_connect_to=address), Deadline(time.monotonic() + 5))
    assert seen.connection.failure is ProbeFailure.REFUSED
    assert isinstance(seen.health, Exchange)
    assert seen.health.failure is ProbeFailure.REFUSED
    assert seen.hops == ()


def test_the_backend_is_asked_for_everything() -> None:
    answers = {
        "GET /health": OK,
        "GET /ready": OK.replace(b"200 OK", b"503 No"),
        "POST /predict": OK,
        "GET /?__debugger__=yes&cmd=resource&f=debugger.js": OK,
    }
    with peer(site(answers)) as address:
        seen = probe_backend(target(backend=address), Deadline(time.monotonic() + 5))
    found = [seen.health, seen.ready, seen.predict, seen.debugger]
    assert [each.status for each in found if isinstance(each, Exchange)] == [200, 503, 200, 200]


def test_of_the_page_in_place_of_a_debugger_the_beginning_is_kept() -> None:
    page = b"<!doctype html>" + b"a" * 5000
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    answers = dict.fromkeys(("GET /health", "GET /ready", "POST /predict"), OK)
    with peer(site({**answers, "GET /?__debugger__=yes&cmd=resource&f=debugger.js": whole})) as address:
        seen = probe_backend(target(backend=address), Deadline(time.monotonic() + 5))
    assert isinstance(seen.debugger, Exchange)
    assert (seen.debugger.body, seen.debugger.detail) == (page[:DEBUGGER_KEEPS].decode(), "")


def test_a_dead_backend_is_not_asked_four_times() -> None:
    seen = probe_backend(target(backend=f"127.0.0.1:{free_port()}"), Deadline(time.monotonic() + 5))
    assert seen.connection.failure is ProbeFailure.REFUSED
    assert not isinstance(seen.health, Exchange)
    assert "refused" in seen.health.reason


def test_a_single_worker_busy_with_our_prediction_does_not_look_dead() -> None:
    one_at_a_time = threading.Lock()

    def manners(sock: socket.socket) -> None:
        with one_at_a_time:
            request = request_of(sock)
            if request.startswith(b"POST"):
                silent(sock)
            sock.sendall(OK)

    with peer(manners) as address:
        seen = probe_backend(target(backend=address), Deadline(time.monotonic() + 1.5))
    assert isinstance(seen.predict, Exchange)
    assert seen.predict.failure is ProbeFailure.TIMEOUT
    for quick in (seen.health, seen.ready, seen.debugger):
        assert isinstance(quick, Exchange)
        assert quick.status == 200, quick


def test_the_backend_is_asked_in_order() -> None:
    happened: list[str] = []

    def manners(sock: socket.socket) -> None:
        request = request_of(sock)
        if not request:
            return  # the connect alone, which is tried first
        path = request.split()[1].decode().partition("?")[0]
        happened.append(f"asked {path}")
        # Long enough that what need not wait for this answer is asked meanwhile.
        threading.Event().wait(0.15)
        happened.append(f"answered {path}")
        sock.sendall(OK)

    with peer(manners) as address:
        probe_backend(target(backend=address), Deadline(time.monotonic() + 10))
    assert happened[:2] == ["asked /health", "answered /health"]
    assert {*happened[2:4]} == {"asked /ready", "asked /"}
    assert {*happened[4:6]} == {"answered /ready", "answered /"}
    assert happened[6:] == ["asked /predict", "answered /predict"]


def test_a_silent_backend_ends_all_probes_at_the_deadline() -> None:
    with peer(silent) as address:
        started = time.monotonic()
        seen = probe_backend(target(backend=address), Deadline(started + 3))
        assert time.monotonic() - started < 5
    for each in (seen.health, seen.ready, seen.predict, seen.debugger):
        assert isinstance(each, Exchange)
        assert each.failure is ProbeFailure.TIMEOUT


def test_upstreams_other_than_the_backend_are_asked() -> None:
    dead = f"127.0.0.1:{free_port()}"
    with peer(says(OK)) as address:
        known = target(backend="127.0.0.1:1", upstreams=(address, dead, "127.0.0.1:1", address))
        answers = probe_upstreams(known, Deadline(time.monotonic() + 5)).answers
    assert {where: (each.status, each.failure) for where, each in answers.items()} == {
        address: (200, None),
        dead: (None, "refused"),
    }
