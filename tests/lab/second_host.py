"""A second server of the upstream: it hands requests on to the stack's own service, and differs where it is told."""

from __future__ import annotations

import http.client
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.lab.stack import Stack


def add_second_host(stack: Stack, *, slow: float = 0.0, version: str = "") -> str:
    """Start it and put it into nginx's upstream; its address. ``slow``: seconds that its health answer takes;
    ``version``: what that answer says instead of the service's version."""
    address = f"{stack.address}:{stack.free_port()}"
    arguments = (address, stack.bind, str(slow), version)
    stack.spawn(sys.executable, "-m", "tests.lab.second_host", *arguments, cwd=Path(__file__).parents[2])
    stack.wait_until_listening(address)
    stack.edit(stack.site_file, f"server {stack.bind};", f"server {stack.bind};\n    server {address};")
    return address


def _handler(service: str, slow: float, version: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            """Hand the request on, and its answer back."""
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(service, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            if self.path == "/health":
                time.sleep(slow)
                if version:
                    content = json.dumps(json.loads(content) | {"version": version}).encode()
            self.send_response(response.status)
            self.send_header("Content-Type", response.headers["Content-Type"] or "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_HEAD = answer  # noqa: N815  the names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    return Handler


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    handler = _handler(sys.argv[2], float(sys.argv[3]), sys.argv[4])
    ThreadingHTTPServer((host, int(port)), handler).serve_forever()
