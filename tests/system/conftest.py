"""A real gunicorn on a free loopback port, with this repository's service."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
CONF = "python:service.gunicorn_conf"
APP = "service.app:create_app()"


def eventually(probe: Callable[[], Any], within: float = 10.0) -> Any:
    """The first truthy value of ``probe``; fails the test if there is none ``within`` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within} s: {probe}")
        time.sleep(0.02)


@dataclass
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]


@dataclass
class Gunicorn:
    """A gunicorn master that was started for a test."""

    process: subprocess.Popen[bytes]
    port: int
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def progress_dir(self) -> Path:
        return self.directory / "progress"

    @property
    def error_log(self) -> str:
        return (self.directory / "error.log").read_text(encoding="utf-8")

    @property
    def access_log(self) -> str:
        return (self.directory / "access.log").read_text(encoding="utf-8")

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = 10,
    ) -> Answer:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, ensure_ascii=False).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as link:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, fields, answer.read())

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> Answer:
        return self.request("POST", path, body, **options)

    def predict(self, task_type: str, input_text: Any, **parameters: Any) -> Answer:
        return self.post(
            "/predict", {"task_type": task_type, "input_text": input_text, "parameters": parameters}
        )

    def raw(self, request: bytes, timeout: float = 10) -> bytes:
        """What comes back for bytes that no HTTP library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as link:
            link.sendall(request)
            received = b""
            while chunk := link.recv(65536):
                received += chunk
            return received

    def status_of(self, path: str) -> int | None:
        """Status of GET ``path``, or None where nothing answers."""
        try:
            return self.get(path, timeout=2).status
        except OSError:
            return None

    def records(self) -> list[dict[str, Any]]:
        """The progress records as they lie there."""
        found = []
        for path in self.progress_dir.glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                found.append(json.loads(path.read_bytes()))
        return found

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def free_port() -> int:
    """A port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def gunicorn(
    directory: Path, app: str = APP, *, wait_for: str | None = "/ready", **environment: str
) -> Iterator[Gunicorn]:
    """A gunicorn that answers 200 on ``wait_for``, with ``GTE_*`` variables on top of a clean environment."""
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GTE_")}
    environment = {
        **inherited,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
        "GTE_BIND": f"127.0.0.1:{port}",
        "GTE_PROGRESS_DIR": str(directory / "progress"),
        "GTE_ERROR_LOG": str(directory / "error.log"),
        "GTE_ACCESS_LOG": str(directory / "access.log"),
        **environment,
    }
    command = [sys.executable, "-m", "gunicorn", "-c", CONF, app]
    process = subprocess.Popen(command, env=environment, cwd=directory)
    started = Gunicorn(process, port, directory, environment)
    try:
        if wait_for is not None:
            eventually(lambda: started.status_of(wait_for) == 200 or process.poll() is not None, 30)
            assert process.poll() is None, started.error_log
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The service on the embedded default, one for all tests of a module."""
    limits = {"GTE_MAX_TEXT_CHARS": "2000", "GTE_MAX_BATCH": "8", "GTE_MAX_BODY_BYTES": "65536"}
    with gunicorn(tmp_path_factory.mktemp("service"), **limits) as started:
        yield started
