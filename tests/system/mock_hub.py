"""A mock of ModelScope's hub on loopback: not the hub, which these tests do not reach.

It speaks what modelscope 1.40.2 (with modelscope-hub 0.5.1) asks for when it downloads a model, as read from their
source and seen from their requests:

- ``GET /api/v1/models/OWNER/NAME/repo/files?Revision=..&Recursive=True``: the files, with sizes and SHA-256
- ``GET /api/v1/models/OWNER/NAME/repo?Revision=..&FilePath=..``: one of them, whole or from ``Range`` on (206)
- ``GET /api/v1/repos/internalAccelerationInfo``: 404, as outside of Alibaba's cloud

The real hub answers large files by a redirect to its storage; here they come from the same address.
"""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_PIECE = 65536


@dataclass
class Hub:
    """What the mock serves, how badly, and what it was asked for."""

    files: Path
    endpoint: str = ""
    # Name of a file: as many bytes of it go out, and then nothing until ``go_on`` is set.
    stop_after: dict[str, int] = field(default_factory=dict)
    go_on: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    shortened: set[str] = field(default_factory=set)  # files that end 100 bytes early, as if that were all
    spoilt: set[str] = field(default_factory=set)  # files with another byte in the middle
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # file (or "": the list), Range

    def environment(self) -> dict[str, str]:
        """What points modelscope here, and has it give up soon."""
        return {
            "MODELSCOPE_ENDPOINT": self.endpoint,
            "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "1",
            "MODELSCOPE_API_MAX_RETRIES": "1",
        }

    def content_of(self, name: str) -> bytes:
        content = (self.files / name).read_bytes()
        if name in self.spoilt:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        return content[:-100] if name in self.shortened else content

    def downloads_of(self, name: str) -> list[str | None]:
        """The ranges in which ``name`` was asked for; None: all of it."""
        return [part for asked, part in self.asked if asked == name]


@contextlib.contextmanager
def mock_hub(files: Path) -> Iterator[Hub]:
    """A hub that has one model, whatever its name, of the files below ``files``."""
    hub = Hub(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            # The client goes away where a test has it killed.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if re.fullmatch(r"/api/v1/models/[^/]+/[^/]+/repo/files", url.path):
                    self._list()
                elif re.fullmatch(r"/api/v1/models/[^/]+/[^/]+/repo", url.path):
                    self._file(parse_qs(url.query)["FilePath"][0])
                else:
                    self._json(404, {"Code": 404, "Success": False, "Message": "not here"})

        def _list(self) -> None:
            hub.asked.append(("", None))
            entries = [
                {
                    "Path": str(path.relative_to(hub.files)),
                    "Name": path.name,
                    "Type": "tree" if path.is_dir() else "blob",
                    "Size": 0 if path.is_dir() else path.stat().st_size,
                    "Sha256": "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest(),
                }
                for path in sorted(hub.files.rglob("*"))
            ]
            self._json(200, {"Code": 200, "Success": True, "Data": {"Files": entries}})

        def _file(self, name: str) -> None:
            wanted = self.headers.get("Range")
            hub.asked.append((name, wanted))
            content = hub.content_of(name)
            begin = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            stop = hub.stop_after.get(name)
            for start in range(begin, len(content), _PIECE):
                piece = content[start : start + _PIECE]
                if stop is not None and start + len(piece) > stop:
                    self.wfile.write(piece[: max(0, stop - start)])
                    hub.stopped.set()
                    hub.go_on.wait()
                    piece = piece[max(0, stop - start) :]
                    stop = None
                self.wfile.write(piece)

        def _json(self, status: int, members: object) -> None:
            body = json.dumps(members).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the tests read ``asked``."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
