"""A real nginx with echoing services behind it: what it does with a request is the truth the model is held against."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote

from tests.differential.generator import DECLARED, PRELUDE, Sent, Site
from tests.lab.waiting import wait_for

FILES = (
    "index.html",
    "f.txt",
    "errors.html",
    "dir/index.html",
    "dir/f.txt",
    "static/x",
    "dir/predict",
    "a/b",
)
SECONDS = 10.0


@dataclass(frozen=True)
class Echo:
    """What a service got."""

    backend: str
    method: str
    uri: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Received:
    """What the client got. ``status`` None: the connection was closed without an answer."""

    status: int | None
    headers: dict[str, str]
    body: str
    echo: Echo | None = None
    error: str = ""


def _quoted(words: str) -> str:
    return quote(words, encoding="latin-1")


class _Service(socketserver.StreamRequestHandler):
    """Answers as X-Answer says, and tells in its headers what it got."""

    timeout = SECONDS

    def handle(self) -> None:
        line = self.rfile.readline(65536).decode("latin-1").rstrip("\r\n")
        if not line:
            return
        method, _, rest = line.partition(" ")
        uri, _, _ = rest.rpartition(" ")
        headers: list[tuple[str, str]] = []
        while words := self.rfile.readline(65536).decode("latin-1").rstrip("\r\n"):
            name, _, value = words.partition(":")
            headers.append((name, value.removeprefix(" ")))
        named = {name.lower(): value for name, value in headers}
        self.rfile.read(int(named.get("content-length", 0)))
        sent = "".join(f"X-Echo-Header: {quote(name)}={_quoted(value)}\r\n" for name, value in headers)
        server: _Services = self.server  # type: ignore[assignment]
        status = named.get("x-answer", "200")
        location = "Location: https://service.test/\r\n" if status.startswith("3") else ""
        head = (
            f"HTTP/1.1 {status} Told\r\nX-Echo: {quote(server.name)} {method} {_quoted(uri)}\r\n{sent}{location}"
            "Content-Length: 3\r\nConnection: close\r\n\r\n"
        )
        self.wfile.write(head.encode("latin-1") + (b"" if method == "HEAD" else b"ok\n"))


class _Services(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
    name = ""


class _UnixServices(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    name = ""


class RealNginx:
    """One nginx on ``sites``, up between ``with`` and its end."""

    def __init__(self, binary: str, directory: Path) -> None:
        self.binary = binary
        self.directory = directory
        self.root = directory / "root"
        self.config = directory / "nginx.conf"
        self.certificate = directory / "pair.pem"
        self._closing = contextlib.ExitStack()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in FILES:
            place = self.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"file {name}")
        (self.root / "dir2").mkdir()
        for above in (self.directory, *self.root.rglob("*"), self.root):
            above.chmod(0o755)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=a.test", "-days", "2", "-keyout", self.certificate, "-out", self.directory / "cert.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        with self.certificate.open("ab") as pair:
            pair.write((self.directory / "cert.pem").read_bytes())
        self.backends = (self._serve_tcp(), self._serve_unix(), self._refusing())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._closing.close()

    def _serve_tcp(self) -> str:
        server = _Services(("127.0.0.1", 0), _Service)
        server.name = f"127.0.0.1:{server.server_address[1]}"
        self._run(server)
        return server.name

    def _serve_unix(self) -> str:
        path = self.directory / "service.sock"
        server = _UnixServices(str(path), _Service)
        path.chmod(0o777)
        server.name = f"unix:{path}"
        self._run(server)
        return server.name

    def _refusing(self) -> str:
        """An address that is bound and never listened on: whoever connects is refused."""
        held = self._closing.enter_context(socket.socket())
        held.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{held.getsockname()[1]}"

    def _run(self, server: _Services | _UnixServices) -> None:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self._closing.callback(server.server_close)
        self._closing.callback(server.shutdown)

    # --- nginx ------------------------------------------------------------------------------------------------------

    def load(self, sites: list[Site]) -> list[Site]:
        """Start nginx on those of ``sites`` that it accepts; the others are left out."""
        left = list(sites)
        while True:
            self._write(left)
            test = subprocess.run(
                [self.binary, "-t", "-q", "-c", self.config, "-p", self.directory],
                capture_output=True,
                check=False,
            )
            if test.returncode == 0:
                break
            words = test.stderr.decode(errors="replace")
            wrong = re.search(r"site-(\d+)\.conf", words)
            if wrong is None:
                raise AssertionError(words)
            left = [site for site in left if site.number != int(wrong[1])]
        self.stop()
        self._process = subprocess.Popen(
            [self.binary, "-c", self.config, "-p", self.directory], stderr=subprocess.DEVNULL
        )
        wait_for(lambda: all(self._accepts(site.port) for site in left), "nginx to listen", every=0.02)
        return left

    @staticmethod
    def _accepts(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def _write(self, sites: list[Site]) -> None:
        for site in sites:
            (self.directory / f"site-{site.number}.conf").write_text(site.text)
        user = "user nobody nogroup;" if os.geteuid() == 0 else ""
        temporary = " ".join(
            f"{name}_temp_path {self.directory}/{name}_temp;"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        includes = "\n".join(f"include {self.directory}/site-{site.number}.conf;" for site in sites)
        self.config.write_text(
            f"{user}\ndaemon off; master_process on; worker_processes 1; pid {self.directory}/nginx.pid;\n"
            f"error_log {self.directory}/error.log notice;\nevents {{ worker_connections 512; }}\n"
            f"http {{ access_log off; {temporary}\nserver_names_hash_bucket_size 128; root {self.root};\n"
            f"proxy_connect_timeout 5s; proxy_read_timeout 5s; default_type text/plain; rewrite_log on;\n"
            f"upstream pool {{ server {self.backends[0]}; server {self.backends[1]} backup; }}\n"
            f"{PRELUDE}\nserver {{ listen unix:{self.directory}/declared.sock; {DECLARED} }}\n{includes}\n}}\n"
        )

    def stop(self) -> None:
        """End nginx."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(SECONDS)
            self._process = None

    def ask(self, sent: Sent) -> Received:
        """Send a request, byte by byte as it is, and read the answer to its end."""
        lines = [f"{sent.method} {sent.target} {sent.version}"]
        if sent.host is not None:
            lines.append(f"Host: {sent.host}")
        lines += [f"{name}: {value}" for name, value in sent.headers]
        lines += [f"X-Answer: {sent.answer}", "Connection: close"]
        if sent.body is not None:
            lines.append(f"Content-Length: {sent.body}")
        content = ("\r\n".join(lines) + "\r\n\r\n").encode() + b"x" * (sent.body or 0)
        with contextlib.ExitStack() as closing:
            try:
                connection: socket.socket = closing.enter_context(
                    socket.create_connection(("127.0.0.1", sent.port), SECONDS)
                )
                if sent.tls:
                    connection = closing.enter_context(
                        self._tls.wrap_socket(connection, server_hostname=sent.sni)
                    )
                connection.sendall(content)
                answer = b"".join(_all_of(connection))
            except OSError as error:
                return Received(None, {}, "", error=f"{type(error).__name__}: {error}")
        return _parsed(answer)


def _all_of(connection: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            yield part


def _parsed(answer: bytes) -> Received:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    match = re.match(r"HTTP/\S+ (\d+)", lines[0])
    if match is None:
        return Received(None, {}, answer.decode("latin-1"))
    pairs = [
        (name.lower(), value.strip(" ")) for name, _, value in (line.partition(":") for line in lines[1:])
    ]
    headers = dict(pairs)
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    echo = None
    if "x-echo" in headers:
        backend, method, uri = headers["x-echo"].split(" ")
        got = (value.partition("=") for name, value in pairs if name == "x-echo-header")
        named = tuple((unquote(name), unquote(value, "latin-1")) for name, _, value in got)
        echo = Echo(unquote(backend), method, unquote(uri, "latin-1"), named)
    return Received(int(match[1]), headers, body.decode("latin-1"), echo)


def _unchunked(body: bytes) -> bytes:
    out = b""
    while body:
        length, _, body = body.partition(b"\r\n")
        count = int(length or b"0", 16)
        if not count:
            return out
        out, body = out + body[:count], body[count + 2 :]
    return out
