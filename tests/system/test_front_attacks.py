"""Attacks by clients on the site that `gte-ops render nginx` writes, with a real nginx and a real gunicorn behind it.

Every request that reaches the service must be one that nginx passed on, under its own name and address."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.lab.client import Answer
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

UNLIMITED = {"rate": "60000r/m", "burst": "10000"}
SECRET = "not-for-clients"
JSON = {"Content-Type": "application/json"}
# What a smuggled request asks for; "/predict" below is what its carrier asks for.
INNER = b"GET /smuggled HTTP/1.1\r\nHost: gte.lab.example\r\nX-Request-ID: inner\r\n\r\n"
HEAD = b"POST /predict HTTP/1.1\r\nHost: gte.lab.example\r\nX-Request-ID: outer\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def _length(size: int) -> bytes:
    return b"Content-Length: %d\r\n" % size


# Each is one request to a correct reader, or none.
SMUGGLING = {
    "CL.TE": HEAD + _length(len(INNER) + 5) + CHUNKED + b"\r\n0\r\n\r\n" + INNER,
    "TE.CL": HEAD + CHUNKED + _length(4) + b"\r\n%x\r\n" % len(INNER) + INNER + b"\r\n0\r\n\r\n",
    "TE.TE, the second unknown": HEAD + CHUNKED + b"Transfer-Encoding: x\r\n\r\n0\r\n\r\n" + INNER,
    "TE.TE, the first unknown": HEAD + b"Transfer-Encoding: x\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + INNER,
    "a list of codings": HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + INNER,
    "a blank before the colon": HEAD
    + b"Transfer-Encoding : chunked\r\n"
    + _length(len(INNER))
    + b"\r\n"
    + INNER,
    "a tab in the coding": HEAD
    + b"Transfer-Encoding:\x0bchunked\r\n"
    + _length(len(INNER))
    + b"\r\n"
    + INNER,
    "obs-fold of the coding": HEAD
    + b"Transfer-Encoding:\r\n chunked\r\n"
    + _length(len(INNER))
    + b"\r\n"
    + INNER,
    "obs-fold of a header": HEAD + b"X-A: b\r\n " + _length(0) + _length(len(INNER)) + b"\r\n" + INNER,
    "an underscore": HEAD + b"Transfer_Encoding: chunked\r\n" + _length(len(INNER)) + b"\r\n" + INNER,
    "two lengths that differ": HEAD + _length(0) + _length(len(INNER)) + b"\r\n" + INNER,
    "two lengths that agree": HEAD + _length(len(INNER)) * 2 + b"\r\n" + INNER,
    "a length with a sign": HEAD + b"Content-Length: +%d\r\n\r\n" % len(INNER) + INNER,
    "a length in hex": HEAD + b"Content-Length: 0x%x\r\n\r\n" % len(INNER) + INNER,
    "a list of lengths": HEAD + b"Content-Length: %d, 0\r\n\r\n" % len(INNER) + INNER,
    "a length without end": HEAD + b"Content-Length: 99999999999999999999\r\n\r\n" + INNER,
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n" + INNER,
    "bare line feeds": (HEAD + _length(len(INNER)) + b"\r\n").replace(b"\r\n", b"\n") + INNER,
    "a bare line feed in a header": HEAD + b"X-A: b\n" + CHUNKED + _length(len(INNER)) + b"\r\n" + INNER,
    "a bare carriage return": HEAD
    + b"X-A: b\rTransfer-Encoding: chunked\r\n"
    + _length(len(INNER))
    + b"\r\n"
    + INNER,
    "a NUL in a header": HEAD + b"X-A: b\0c\r\n" + _length(len(INNER)) + b"\r\n" + INNER,
    "a chunk that is too large": HEAD + CHUNKED + b"\r\nffffffffffffffff1\r\n" + INNER,
    "a chunk's line with a bare line feed": HEAD + CHUNKED + b"\r\n0\n\n" + INNER,
    "a chunk's extension with a line feed": HEAD
    + CHUNKED
    + b"\r\n2;\nxx\r\n%x\r\n" % len(INNER)
    + INNER
    + b"\r\n0\r\n\r\n",
    "a switch to HTTP/2": b"GET /health HTTP/1.1\r\nHost: gte.lab.example\r\nX-Request-ID: outer\r\n"
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a hop-by-hop name for nginx's own": b"GET /health HTTP/1.1\r\nHost: gte.lab.example\r\nX-Request-ID: outer\r\n"
    b"Connection: X-Forwarded-For, X-Real-IP, Host\r\n\r\n",
}
TRAVERSAL = (
    "/../../secret",
    "/..%2f..%2fsecret",
    "/%2e%2e/%2e%2e/secret",
    "/%252e%252e/secret",
    "/..\\..\\secret",
    "/..;/secret",
    "/.well-known/acme-challenge/../../secret",
    "/.well-known/acme-challenge/..%2fsecret",
    "/.well-known/acme-challenge/%2e%2e/secret",
    "/.well-known/acme-challenge/..%5csecret",
    "/.well-known/acme-challenge//../secret",
    "/.well-known/acme-challenge../secret",
)
LEGITIMATE_AGENTS = (
    *(
        "OpenAI/Python 1.99.0",
        "AsyncOpenAI/Python 1.99.0",
        "OpenAI/JS 5.1.0",
        "langchain/0.3",
        "gte-client/0.3.0",
    ),
    *(
        "curl/8.5.0",
        "Wget/1.21",
        "HTTPie/3.2",
        "python-requests/2.32",
        "python-httpx/0.27",
        "Python/3.12 aiohttp/3.9",
    ),
    *(
        "Go-http-client/1.1",
        "okhttp/4.12",
        "axios/1.7",
        "node-fetch",
        "Java/21",
        "Apache-HttpClient/5.3",
        "PostmanRuntime/7.4",
    ),
    *(
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
        "",
        "-",
    ),
    *(
        "kube-probe/1.30",
        "ELB-HealthChecker/2.0",
        "GoogleHC/1.0",
        "Consul Health Check",
        "Prometheus/2.53",
        "Zabbix",
    ),
    *(
        "Blackbox Exporter/0.25",
        "check_http/v2.3 (monitoring-plugins 2.3)",
        "UptimeRobot/2.0",
        "Go-Fuzzy/1.0",
        "cell-nuclei-annotator/2.1 (python-requests/2.31)",
    ),
)
LEGITIMATE_PATHS = (
    *("/", "/health", "/ready", "/tasks", "/v1/models", "/openapi.json", "/robots.txt", "/favicon.ico"),
    *("/v1/models/e5.bakery", "/environment", "/.well-known/security.txt", "/vendors", "/v1/models/a.oldest"),
)
SCANNERS = (
    "sqlmap/1.8#stable (https://sqlmap.org)",
    "Mozilla/5.00 (Nikto/2.5.0)",
    "Nuclei - Open-source",
    "masscan/1.3",
)
SCANNED = (
    *(
        "/wp-login.php",
        "/.git/config",
        "/.env",
        "/.env.local",
        "/phpMyAdmin/",
        "/cgi-bin/luci",
        "/index.php?x=1",
        "/.aws/credentials",
    ),
    *(
        "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php",
        "/actuator/env",
        "/backup.sql",
        "//wp-admin/",
        "/%2egit/HEAD",
    ),
)


@pytest.fixture(scope="module")
def site() -> Iterator[Stack]:
    with Stack(site={**UNLIMITED, "scanner_filter": True}, gunicorn_extra="keepalive = 75") as stack:
        (stack.challenges.parent / "secret").write_text(SECRET)
        yield stack


def connected(stack: Stack, door: str = "https", seconds: float = 10.0) -> socket.socket:
    """A connection to nginx, by TLS with this site's name or plain."""
    plain = socket.create_connection(stack.https if door == "https" else stack.http, timeout=seconds)
    if door != "https":
        return plain
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    return context.wrap_socket(plain, server_hostname=stack.domain)


def exchange(stack: Stack, request: bytes, door: str = "https") -> bytes:
    """What comes back for bytes that no library would send, until nginx ends the connection or is silent after an
    answer."""
    received = b""
    with connected(stack, door) as link, contextlib.suppress(OSError):
        link.sendall(request)
        while part := link.recv(65536):
            received += part
            link.settimeout(0.3)
    return received


def passed_on(stack: Stack) -> list[tuple[str, str]]:
    """Path and request id of what nginx passed to the service."""
    lines = stack.nginx_access_log.read_text().splitlines()
    pattern = r'"\S+ (\S+) [^"]*" .* request_id=(\S+) .* upstream=(\S+) '
    return [(m[1], m[2]) for line in lines if (m := re.search(pattern, line)) and m[3] != "-"]


def received_by_service(stack: Stack) -> list[tuple[str, str]]:
    """Path and request id of what the service says it answered."""
    lines = stack.gunicorn_access_log.read_text().splitlines()
    return [(m[1], m[2]) for line in lines if (m := re.search(r'"\S+ (\S+) \S+" .*us (\S+) "', line))]


def test_no_request_reaches_the_service_inside_another_one(site: Stack) -> None:
    # Lines are written after the answers: what came before is counted once the last of it is there.
    site.request(path="/health", headers={"X-Request-ID": "before"})
    for log in (received_by_service, passed_on):
        wait_for(lambda: ("/health", "before") in log(site), "the request before to be logged")  # noqa: B023
    received, passed = len(received_by_service(site)), len(passed_on(site))
    for name, request in SMUGGLING.items():
        exchange(site, request)
        # Whoever comes next on nginx's connections to gunicorn gets the answer to what they asked.
        following = site.request(path="/health", headers={"X-Request-ID": "following"})
        assert (following.status, following.headers["X-Request-ID"]) == (200, "following"), name
        assert b'"service"' in following.body, name
    # A second request that nginx itself read as one is no secret to it: it is in both logs.
    wait_for(
        lambda: sorted(received_by_service(site)[received:]) == sorted(passed_on(site)[passed:]),
        "the service to have received exactly what nginx passed on",
    )


@pytest.mark.parametrize(
    "name", ["CL.TE", "TE.CL", "TE.TE, the first unknown", "two lengths that differ", "a length with a sign"]
)
def test_gunicorn_itself_refuses_what_can_be_read_in_two_ways(site: Stack, name: str) -> None:
    with socket.create_connection(_backend(site), timeout=5) as link:
        link.sendall(SMUGGLING[name])
        link.settimeout(0.5)
        received = b""
        with contextlib.suppress(OSError):
            while part := link.recv(65536):
                received += part
    assert received.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")), received[:200]
    assert received.count(b"HTTP/1.1 ") == 1, received


def _backend(stack: Stack) -> tuple[str, int]:
    host, _, port = stack.bind.rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("door", ["https", "http"])
def test_no_path_leads_out_of_what_is_served(site: Stack, door: str) -> None:
    for path in TRAVERSAL:
        answer = exchange(
            site,
            b"GET %s HTTP/1.1\r\nHost: gte.lab.example\r\nConnection: close\r\n\r\n" % path.encode(),
            door,
        )
        assert SECRET.encode() not in answer, path
        assert re.match(rb"HTTP/1.1 (308|4\d\d) ", answer), (path, answer[:200])


def test_what_a_client_says_of_itself_opens_nothing(site: Stack) -> None:
    claims = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Real-IP": "127.0.0.1",
        "Forwarded": "for=127.0.0.1;host=evil.example;proto=http",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "X-Original-URL": "/metrics",
        "X-Rewrite-URL": "/metrics",
        "SCRIPT_NAME": "/metrics",
        "X-Script-Name": "/metrics",
        "X-HTTP-Method-Override": "DELETE",
        "Proxy": "http://evil.example",
    }
    assert site.request(path="/metrics", headers=claims, source="127.0.0.2").status == 403
    answer = site.request(path="/health", headers=claims, source="127.0.0.2")
    assert answer.status == 200
    page = site.request(path="/", headers=claims)
    assert b"evil.example" not in page.body + str(page.headers).encode()
    spoofed = exchange(
        site, b"GET http://evil.example/health HTTP/1.1\r\nHost: gte.lab.example\r\nConnection: close\r\n\r\n"
    )
    assert spoofed.startswith(b"HTTP/1.1 421 "), spoofed[:200]
    redirect = exchange(site, b"GET /x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "http")
    assert b"evil.example" not in redirect


@pytest.mark.long
def test_oversized_requests_are_refused_and_cost_nobody_else(site: Stack) -> None:
    base = b"GET /health HTTP/1.1\r\nHost: gte.lab.example\r\nConnection: close\r\n"
    for request, status in (
        (b"GET /%s HTTP/1.1\r\nHost: gte.lab.example\r\n\r\n" % (b"a" * 100_000), 414),
        (base + b"X-A: %s\r\n\r\n" % (b"a" * 100_000), 431),
        (base + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(500)) + b"\r\n", 431),
        (base.replace(b"GET /health", b"POST /predict") + _length(1 << 40) + b"\r\n", 413),
    ):
        answer = exchange(site, request)
        # nginx may close with bytes unread, and the reset overtakes its answer.
        assert answer == b"" or answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
        assert site.request(path="/health").status == 200


def test_the_scanner_filter_spares_clients_and_answers_scanners_itself(site: Stack) -> None:
    for agent in LEGITIMATE_AGENTS:
        assert site.request(path="/tasks", headers={"User-Agent": agent}).status == 200, agent
    before = len(passed_on(site))
    for path in LEGITIMATE_PATHS:
        site.request(path=path)
    paths = len(LEGITIMATE_PATHS)
    wait_for(lambda: len(passed_on(site)) - before == paths, "nginx to pass on every legitimate path")
    before = len(passed_on(site))
    answers: list[Answer] = [site.request(path="/tasks", headers={"User-Agent": agent}) for agent in SCANNERS]
    answers += [site.request(path=path) for path in SCANNED]
    for answer in answers:
        assert (answer.status, answer.content_type, answer.json()["code"]) == (
            404,
            "application/problem+json",
            "not_found",
        )
    assert len(passed_on(site)) == before


@pytest.mark.long
def test_the_doctor_finds_nothing_in_a_site_with_the_filter() -> None:
    with Stack(site={"scanner_filter": True}) as stack:
        assert stack.doctor().codes == []


SLOW = {
    "silent before TLS": ("plain", b"", b""),
    "half a handshake": ("plain", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b""),
    "silent after TLS": ("https", b"", b""),
    "headers bit by bit": ("https", b"GET /health HTTP/1.1\r\nHost: gte.lab.example\r\nX-A: ", b"a"),
    "headers bit by bit over plain HTTP": ("http", b"GET / HTTP/1.1\r\nHost: gte.lab.example\r\nX-A: ", b"a"),
    "a body bit by bit": ("https", HEAD + _length(100_000) + b"\r\n{", b" "),
}


@contextlib.contextmanager
def slow_clients(stack: Stack, name: str, count: int) -> Iterator[list[socket.socket]]:
    door, first, _ = SLOW[name]
    with contextlib.ExitStack() as links:
        taken = []
        for _ in range(count):
            link = (
                socket.create_connection(stack.https, timeout=10)
                if door == "plain"
                else connected(stack, door)
            )
            links.enter_context(link)
            link.sendall(first)
            taken.append(link)
        yield taken


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_slow_clients_do_not_stop_others(site: Stack, name: str) -> None:
    # Of the lab's 512 connections nginx needs some for itself and the service.
    with slow_clients(site, name, 300) as links:
        more = SLOW[name][2]
        for _ in range(3):
            for link in links if more else ():
                with contextlib.suppress(OSError):
                    link.sendall(more)
            began = time.monotonic()
            assert site.request(path="/health").status == 200
            assert site.predict().status == 200
            assert time.monotonic() - began < 5


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_slow_clients_are_ended(name: str) -> None:
    """Each stage of a connection has an end: here after a second, so that nobody waits for it."""
    with Stack(site=UNLIMITED) as stack:
        text = stack.site_file.read_text()
        short = re.sub(r"(client_(?:header|body)_timeout) +\d+s;", r"\1 1s;", text)
        assert short.count("client_header_timeout 1s;") == 3
        stack.edit(stack.site_file, text, short)
        with slow_clients(stack, name, 20) as links:
            for link in links:
                link.settimeout(10)
                with contextlib.suppress(ConnectionResetError, BrokenPipeError, ssl.SSLError):
                    while link.recv(65536):
                        pass
