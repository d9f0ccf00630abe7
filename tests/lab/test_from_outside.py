"""`gte-ops doctor --from URL`: each broken front door is named or honestly unexplained; this machine is left out."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.lab.authority import Authority, Issued, self_signed

ROOT = Path(__file__).parent.parent.parent
NGINX_502 = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
PREDICTION = json.dumps({"result": [{"type": "地点", "span": "北京"}]})
# What reads or changes a host, and has no place in what a laptop is told to run.
OF_A_HOST = re.compile(r"systemctl|journalctl|\bss -|nginx -|/var/log|/etc/|kill |gunicorn")


@dataclass(frozen=True)
class Answer:
    """What the front answers to everything but the health path."""

    status: int = 200
    media_type: str = "application/json"
    body: str = PREDICTION
    location: str = ""


@contextmanager
def front(answer: Answer, issued: Issued | None, directory: Path) -> Iterator[str]:
    """A front door on loopback; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "nginx", ""

        def do_GET(self) -> None:
            is_health = self.path == "/health" and answer.status == 200
            self.reply(Answer(body='{"status": "ok"}') if is_health else answer)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(answer)

        def reply(self, sent: Answer) -> None:
            body = sent.body.encode()
            self.send_response(sent.status)
            self.send_header("Content-Type", sent.media_type)
            self.send_header("Content-Length", str(len(body)))
            if sent.location:
                self.send_header("Location", sent.location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # A client that ends a handshake is no news.
    setattr(server, "handle_error", lambda *_: None)  # noqa: B010
    if issued is not None:
        chain, key = directory / "chain.pem", directory / "key.pem"
        chain.write_bytes(issued.fullchain_pem)
        key.write_bytes(issued.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        # The handshake belongs to the connection's thread: in accept(), one silent client would hold all others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"{'https' if issued else 'http'}://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def doctor(directory: Path, url: str, *options: str, settings: str = "") -> subprocess.CompletedProcess[str]:
    config = directory / "gte-ops.toml"
    config.write_text(settings)
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", "doctor", "--from", url, "--config", str(config), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
    )


def document(directory: Path, url: str, *, settings: str = "", exit_code: int) -> dict[str, Any]:
    done = doctor(directory, url, "--format", "json", settings=settings)
    assert done.returncode == exit_code, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["target"]["viewpoint"] == "outside"
    commands = [cause["verify"] for cause in report["causes"]]
    commands += [command for symptom in report["symptoms"] for command in symptom["next_commands"]]
    assert all(command.split()[0] in ("curl", "openssl", "dig") for command in commands), commands
    steps = [step for cause in report["causes"] for step in cause["fix"]]
    assert not OF_A_HOST.search("\n".join([*commands, *steps]))
    assert {"host", "processes", "nginx_config", "logs", "gunicorn"} <= {
        item["what"] for item in report["unseen"] if item["reason"] == "seen from outside"
    }
    return report


def codes(report: dict[str, Any]) -> list[str]:
    return [cause["code"] for cause in report["causes"]]


def unexplained(report: dict[str, Any]) -> list[str]:
    return [symptom["id"] for symptom in report["symptoms"] if not symptom["explained_by"]]


def trusting(authority: Authority, directory: Path) -> str:
    """Settings that trust the authority."""
    path = directory / "ca.pem"
    path.write_bytes(authority.root.pem)
    return f"[tls]\nca_file = '{path}'\n"


def test_a_healthy_front_is_well(tmp_path: Path, authority: Authority) -> None:
    with front(Answer(), authority.issue(["localhost"]), tmp_path) as url:
        report = document(tmp_path, url, settings=trusting(authority, tmp_path), exit_code=0)
    assert (codes(report), report["symptoms"]) == ([], [])


def test_a_refused_connection_is_unexplained_and_says_what_it_means(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        report = document(tmp_path, f"https://localhost:{unused.getsockname()[1]}", exit_code=2)
    assert (codes(report), unexplained(report)) == ([], ["connect.refused"])
    assert "refuses" in report["symptoms"][0]["evidence"][-1]["detail"]


def test_an_expired_certificate_is_tls001(tmp_path: Path, authority: Authority) -> None:
    now = datetime.now(UTC)
    issued = authority.issue(
        ["localhost"], not_before=now - timedelta(days=91), not_after=now - timedelta(days=1)
    )
    with front(Answer(), issued, tmp_path) as url:
        report = document(tmp_path, url, settings=trusting(authority, tmp_path), exit_code=2)
    assert (codes(report), unexplained(report)) == (["TLS001"], [])


def test_a_certificate_for_another_name_is_tls004(tmp_path: Path, authority: Authority) -> None:
    with front(Answer(), authority.issue(["other.example"]), tmp_path) as url:
        report = document(tmp_path, url, settings=trusting(authority, tmp_path), exit_code=2)
    assert (codes(report), unexplained(report)) == (["TLS004"], [])


@pytest.mark.long
def test_a_self_signed_certificate_is_named(tmp_path: Path) -> None:
    with front(Answer(), self_signed(["localhost"]), tmp_path) as url:
        report = document(tmp_path, url, exit_code=2)
    assert codes(report)[0].startswith("TLS")
    assert unexplained(report) == []


def test_a_502_page_is_unexplained_and_nothing_of_this_machine_is_blamed(tmp_path: Path) -> None:
    with front(Answer(502, "text/html", NGINX_502), None, tmp_path) as url:
        report = document(tmp_path, url, exit_code=2)
    assert (codes(report), unexplained(report)) == ([], ["http.502"])
    words = [piece["detail"] for piece in report["symptoms"][0]["evidence"]]
    assert any("502 Bad Gateway" in detail for detail in words)
    assert any("RFC 9110" in detail for detail in words)


def test_a_page_where_json_is_due_is_unexplained(tmp_path: Path) -> None:
    with front(Answer(200, "text/html", "<title>Sign in</title>"), None, tmp_path) as url:
        report = document(tmp_path, url, exit_code=2)
    assert (codes(report), unexplained(report)) == ([], ["predict.html"])


@pytest.mark.long
def test_a_redirect_of_the_prediction_is_unexplained(tmp_path: Path) -> None:
    with front(Answer(302, location="https://login.example/"), None, tmp_path) as url:
        report = document(tmp_path, url, exit_code=2)
    assert codes(report) == []
    assert unexplained(report)[0] == "predict.redirect"


@contextmanager
def resolver(code: int) -> Iterator[str]:
    """A DNS server that answers every question with the response code ``code`` (RFC 1035, 4.1.1)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while (message := server.recvfrom(4096))[0] != b"end":
                question, peer = message
                server.sendto(question[:2] + bytes([0x81, 0x80 | code]) + question[4:], peer)

        thread = threading.Thread(target=serve)
        thread.start()
        address = server.getsockname()
        try:
            yield f"{address[0]}:{address[1]}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", address)
            thread.join()


@pytest.mark.parametrize(("code", "words"), [(3, "At the DNS provider"), (2, "this machine's network")])
def test_a_name_that_does_not_resolve_is_dns001_and_a_broken_resolver_is_this_side(
    tmp_path: Path, code: int, words: str
) -> None:
    with resolver(code) as address:
        settings = f"[target]\nresolver = '{address}'\n"
        report = document(tmp_path, "https://gte-api.example.com", settings=settings, exit_code=2)
    assert (codes(report), unexplained(report)) == (["DNS001"], [])
    assert words in report["causes"][0]["fix"][0]


@pytest.mark.parametrize(
    ("language", "first"), [("en", "A view from outside: only what"), ("zh", "外部视角：只包含")]
)
def test_the_report_says_first_that_it_is_a_view_from_outside(
    tmp_path: Path, language: str, first: str
) -> None:
    with front(Answer(502, "text/html", NGINX_502), None, tmp_path) as url:
        done = doctor(tmp_path, url, "--lang", language)
    assert done.stdout.startswith(first)
    assert "gte-ops doctor" in done.stdout.splitlines()[0]
    # The last paragraph lists the sections of a snapshot that were not seen, gunicorn among them.
    assert not OF_A_HOST.search(done.stdout.rpartition("\n\n")[0])


WATCHED = """
import json, sys
opened, started = [], []
def hook(event, args):
    if event == "open" and isinstance(args[0], str):
        opened.append(args[0])
    elif event in ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system"):
        started.append(str(args[0]))
sys.addaudithook(hook)
from pathlib import Path
from ops.doctor import examine_from_outside
from ops.settings import load_settings
examine_from_outside(load_settings(Path(sys.argv[2])), sys.argv[1], budget=5.0)
print(json.dumps({"opened": opened, "started": started}))
"""


def test_nothing_of_this_machine_is_opened_or_run(tmp_path: Path, authority: Authority) -> None:
    config = tmp_path / "gte-ops.toml"
    config.write_text(trusting(authority, tmp_path))
    with front(Answer(), authority.issue(["localhost"]), tmp_path) as url:
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, url, str(config)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    seen = json.loads(done.stdout)
    assert seen["started"] == []
    of_this_host = [
        path
        for path in seen["opened"]
        if re.match(r"/(proc/(?!self/)|sys/|var/log/|run/|etc/)", path)
        and not re.match(
            r"/etc/(hosts|resolv\.conf|nsswitch\.conf|host\.conf|gai\.conf|ssl/|localtime)", path
        )
    ]
    assert of_this_host == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("ftp://example.com",),
        ("https://user:hunter2@example.com",),
        ("https://example.com", "--fix"),
        ("https://example.com", "--bundle", "x.json.gz"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = doctor(tmp_path, *arguments)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_front_door_that_takes_connections_and_says_nothing_is_a_failure(
    tmp_path: Path, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        report = document(tmp_path, url, settings="[doctor]\nbudget = 2\n", exit_code=2)
    assert [symptom["id"] for symptom in report["symptoms"]] == ["http.timeout"]
    assert "front" not in {unseen["what"] for unseen in report["unseen"]}
