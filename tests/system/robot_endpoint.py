"""A loopback endpoint that behaves as the robots of DingTalk, Feishu and WeCom do, and as networks do."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.system.peer import Manners

SECRET = "SECab12cd34ef56"


@dataclass
class Post:
    """One request that arrived whole."""

    path: str
    query: dict[str, str]
    document: dict[str, Any]
    headers: dict[str, str]

    @property
    def token(self) -> str:
        return self.query.get("access_token") or self.query.get("key") or self.path.rpartition("/")[2]

    @property
    def text(self) -> str:
        return (self.document.get("text") or {}).get("content") or (self.document.get("content") or {}).get(
            "text", ""
        )


@dataclass
class Endpoint:
    """Answers by the token in the request; ``posts`` holds what arrived."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    calls: dict[str, int] = field(default_factory=dict)

    def texts(self, token: str) -> list[str]:
        return [post.text for post in self.posts if post.token == token]


@contextmanager
def robot_endpoint() -> Iterator[Endpoint]:
    """The endpoint, listening until the end of the block."""
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            post = Post(parts.path, query, json.loads(body), dict(self.headers))
            endpoint.posts.append(post)
            endpoint.calls[post.token] = endpoint.calls.get(post.token, 0) + 1
            self._behave(post)

        def _behave(self, post: Post) -> None:
            token = post.token
            if token.startswith("hang"):
                endpoint.over.wait(60)
                self.close_connection = True
            elif token.startswith("drop"):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif token.startswith("trickle"):
                self._trickle()
            elif token.startswith("noise"):
                self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
                self.close_connection = True
            elif token.startswith("page"):
                self.answer(200, b"<html>please log in</html>")
            elif token.startswith("huge"):
                self.answer(200, b'{"errcode":0,"pad":"' + b"x" * 4_000_000 + b'"}')
            elif token.startswith("away"):
                self.answer(302, b"", {"Location": f"{endpoint.url}/elsewhere"})
            elif token.startswith("status"):
                self.answer(int(token[6:9]), b"{}", {"Retry-After": "77"} if token[6:9] == "429" else {})
            elif token.startswith("again") and endpoint.calls[token] == 1:
                self.answer(503, b"later")
            elif token.startswith("code"):
                self.code(
                    post, int(token.partition("-")[0][4:].replace("m", "-")), "said with its token " + token
                )
            elif token.startswith("busy9499"):
                self.code(post, 9499, "too many request")
            elif token.startswith("signed") and not self._signed(post):
                self.code(post, 19021 if "/hook/" in post.path else 310000, "sign not match")
            elif token.startswith("keyword") and "gte-ops" not in post.text:
                self.code(post, 310000, "keywords not in content")
            else:
                self.code(post, 0, "ok")

        def _signed(self, post: Post) -> bool:
            """Checked the way the vendors' own examples compute it."""
            if "/hook/" in post.path:
                stamp = post.document.get("timestamp", "0")
                fresh = abs(time.time() - int(stamp)) < 3600
                made = hmac.new(f"{stamp}\n{SECRET}".encode(), digestmod=hashlib.sha256).digest()
                return (
                    fresh
                    and isinstance(stamp, str)
                    and post.document.get("sign") == base64.b64encode(made).decode()
                )
            stamp = post.query.get("timestamp", "0")
            fresh = abs(time.time() * 1000 - int(stamp)) < 3_600_000
            made = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), digestmod=hashlib.sha256).digest()
            return fresh and post.query.get("sign") == base64.b64encode(made).decode()

        def _trickle(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not endpoint.over.wait(0.2):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return

        def code(self, post: Post, code: int, words: str) -> None:
            if "/hook/" in post.path:
                document = {"code": code, "msg": words, "data": {}}
                if code == 0:
                    document |= {"StatusCode": 0, "StatusMessage": "success"}
            else:
                document = {"errcode": code, "errmsg": words}
            self.answer(200, json.dumps(document).encode())

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def mail_server(said: list[bytes]) -> Manners:
    """A mail server that accepts everything, for tests.system.peer; ``said`` gets every line it hears."""

    def manners(sock: socket.socket) -> None:
        sock.sendall(b"220 here\r\n")
        in_message = False
        for line in sock.makefile("rb"):
            said.append(line.strip())
            if in_message and line != b".\r\n":
                continue
            in_message = line.upper().startswith(b"DATA")
            sock.sendall(b"354 go on\r\n" if in_message else b"250 fine\r\n")

    return manners
