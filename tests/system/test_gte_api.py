"""``gte-api serve`` is a real gunicorn with the service on it; ``gte-api check`` answers every task."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from service.client import GteClient
from service.keys import key_file
from tests.system.conftest import ROOT, Gunicorn, eventually, free_port

SERVE = (sys.executable, "-m", "service.cli.main", "serve")


@contextlib.contextmanager
def serving(directory: Path, *arguments: str) -> Iterator[Gunicorn]:
    """``gte-api serve`` with these flags, ready."""
    port = free_port()
    logs = ("--access-log", str(directory / "access.log"), "--error-log", str(directory / "error.log"))
    records = ("--progress-dir", str(directory / "progress"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GTE_")}
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.Popen(
        [*SERVE, "--port", str(port), *logs, *records, *arguments], env=environment, cwd=directory
    )
    started = Gunicorn(process, port, directory, environment)
    try:
        eventually(lambda: started.status_of("/ready") == 200 or process.poll() is not None, 30)
        assert process.poll() is None
        yield started
    finally:
        started.stop()


def test_serve_becomes_gunicorn_with_what_the_flags_say(tmp_path: Path) -> None:
    key = key_file.add(tmp_path / "keys.json", "tests")
    with serving(tmp_path, "--api-keys", str(tmp_path / "keys.json"), "--max-text-chars", "20") as service:
        command = Path(f"/proc/{service.process.pid}/cmdline").read_bytes().split(b"\0")
        assert b"gunicorn" in b" ".join(command)
        assert b"service.app:create_app()" in command
        assert service.predict("ner", "北京").status == 401
        with GteClient(f"http://127.0.0.1:{service.port}", api_key=key) as client:
            assert [entity.text for entity in client.ner("2022年在北京")] == ["2022年", "北京"]
        headers = {"Authorization": f"Bearer {key}"}
        body = {"task_type": "ner", "input_text": "字" * 21}
        assert service.post("/predict", body, headers=headers).json["code"] == "text_too_long"
        again = subprocess.run(
            [*SERVE, "--port", str(service.port)],
            env=service.environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert again.returncode == 3
        assert f"cannot listen on 127.0.0.1:{service.port}" in again.stderr
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0


def test_check_answers_every_task_and_ends_with_0() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "service.cli.main", "check", "--seconds", "0.1", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert len(report["tasks"]) == 8
    assert all(task["per_second"] > 0 and task["first_ms"] > 0 for task in report["tasks"])
    assert report["together_per_second"] > 0
