"""The middleware that gives any WSGI or ASGI application progress records, without a server."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

import gte_progress
from gte_progress import AsgiProgress, Phase, WsgiProgress

ROOT = Path(__file__).parent.parent.parent
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@pytest.fixture(autouse=True)
def first_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test is a process before its first request."""
    monkeypatch.setenv("GTE_PROGRESS_DIR", str(tmp_path / "progress"))
    monkeypatch.setattr(gte_progress._Current, "progress", None)
    yield
    if gte_progress._Current.progress is not None:
        gte_progress._Current.progress.close()


def written(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "progress" / f"{os.getpid()}.json").read_bytes()))


def eventually(tmp_path: Path, expected: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    until = time.monotonic() + 20
    while not expected(record := written(tmp_path)):
        assert time.monotonic() < until, record
        time.sleep(0.01)
    return record


# --- the file itself ---------------------------------------------------------------------------------------


def test_it_needs_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "gte_progress.py").read_text(encoding="utf-8"))
    modules = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= sys.stdlib_module_names


def test_a_copy_in_an_application_works_without_this_project(tmp_path: Path) -> None:
    (tmp_path / "gte_progress.py").write_bytes((ROOT / "gte_progress.py").read_bytes())
    program = """
import json, os, pathlib, sys
import gte_progress

answer = gte_progress.WsgiProgress(lambda environ, start: [b""], "records")({"PATH_INFO": "/a"}, None)
record = json.loads(pathlib.Path(f"records/{os.getpid()}.json").read_bytes())
print(record["phase"], record["in_flight"][0]["path"])
print(*(name for name in ("service", "ops", "flask", "asyncio") if name in sys.modules))
"""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'){program}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.split() == ["ready", "/a"]
    assert list((tmp_path / "records").iterdir()) == [], "its record ends with the process"


def test_an_import_writes_nothing_and_a_fork_gets_a_record_of_its_own(tmp_path: Path) -> None:
    """With preload_app the master imports the application, and each worker is its fork."""
    program = """
import json, os, pathlib
import gte_progress

app = gte_progress.WsgiProgress(lambda environ, start: [b""], "records")
records = pathlib.Path("records")
assert not records.exists()
list(app({"PATH_INFO": "/master"}, None))
pid = os.fork()
if pid == 0:
    list(app({"PATH_INFO": "/worker"}, None))
    print({int(path.stem) for path in records.glob("*.json")} == {os.getpid(), os.getppid()})
    record = json.loads((records / f"{os.getpid()}.json").read_bytes())
    ticks = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    print(record["pid"] == os.getpid(), str(record["start_ticks"]) == ticks, flush=True)
else:
    os.waitpid(pid, 0)
    print((records / f"{os.getpid()}.json").exists())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.split() == ["True"] * 4, ran.stderr


def test_records_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "progress").mkdir()
    (tmp_path / "progress" / f"{gone.pid}.json").write_text("{}")
    (tmp_path / "progress" / "1.json").write_text("{}")
    list(WsgiProgress(lambda _environ, _start: [b""])({}, print))
    assert {path.name for path in (tmp_path / "progress").iterdir()} == {"1.json", f"{os.getpid()}.json"}


def test_a_record_that_can_no_longer_be_written_does_not_stay_with_an_old_beat(tmp_path: Path) -> None:
    directory = tmp_path / "progress"
    progress = gte_progress.Progress(directory, phase=Phase.READY)
    progress.beat()
    record = directory / f"{os.getpid()}.json"
    kept = record.open("rb")
    (directory / f".{os.getpid()}.tmp").mkdir()  # the next replacement fails
    progress.enter(Phase.DRAINING)
    assert not record.exists()
    assert kept.read() == b"", "who has it open still reads the old beat"


# --- WSGI --------------------------------------------------------------------------------------------------


def test_a_wsgi_request_is_recorded_before_the_application_is_called_and_until_close(tmp_path: Path) -> None:
    during: list[dict[str, Any]] = []

    class Answer:
        closed = False

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a", b"b"])

        def close(self) -> None:
            self.closed = True

    answer = Answer()

    def application(_environ: dict[str, Any], _start: Any) -> Iterable[bytes]:
        during.append(written(tmp_path))
        return answer

    parts = WsgiProgress(application)({"SCRIPT_NAME": "/api", "PATH_INFO": "/\xe4\xbd\xa0"}, print)
    assert during[0]["phase"] == "ready"
    assert [request["path"] for request in during[0]["in_flight"]] == ["/api/你"]
    assert "beat" not in during[0], "a thread proves nothing about another thread"
    assert list(parts) == [b"a", b"b"]
    assert len(eventually(tmp_path, lambda _: True)["in_flight"]) == 1, (
        "it ends with close(), not with its last part"
    )
    parts.close()  # type: ignore[attr-defined]
    assert answer.closed
    record = eventually(tmp_path, lambda record: record["completed"] == 1)
    assert record["in_flight"] == []


def test_each_part_of_a_streaming_answer_renews_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_800_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    parts = iter(WsgiProgress(lambda _environ, _start: (part for part in (b"a", b"b")))({}, print))
    for _ in range(2):
        now[0] += 60
        next(parts)
        eventually(tmp_path, lambda record: record["in_flight"][0]["since"] == now[0])


def test_a_wsgi_request_that_fails_ends(tmp_path: Path) -> None:
    def application(_environ: dict[str, Any], _start: Any) -> Iterable[bytes]:
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        WsgiProgress(application)({}, print)
    eventually(tmp_path, lambda record: (record["completed"], record["in_flight"]) == (1, []))


def test_an_answer_that_the_server_drops_without_close_ends(tmp_path: Path) -> None:
    answer = WsgiProgress(lambda _environ, _start: [b"a"])({}, print)
    del answer
    eventually(tmp_path, lambda record: (record["completed"], record["in_flight"]) == (1, []))


def test_requests_that_come_first_and_at_once_share_one_record(tmp_path: Path) -> None:
    barrier, release = threading.Barrier(9), threading.Event()

    def application(_environ: dict[str, Any], _start: Any) -> Iterable[bytes]:
        barrier.wait(20)
        release.wait(20)
        return []

    wrapped = WsgiProgress(application)
    threads = [threading.Thread(target=wrapped, args=({"PATH_INFO": f"/{n}"}, print)) for n in range(8)]
    for thread in threads:
        thread.start()
    barrier.wait(20)
    eventually(tmp_path, lambda record: len(record["in_flight"]) == 8)
    release.set()
    for thread in threads:
        thread.join()
    eventually(tmp_path, lambda record: (record["completed"], record["in_flight"]) == (8, []))


def test_no_request_fails_because_its_record_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GTE_PROGRESS_DIR", str(tmp_path / "file" / "below"))
    application = WsgiProgress(lambda _environ, _start: [b"a"])
    assert [list(application({}, print)) for _ in range(2)] == [[b"a"], [b"a"]]
    assert ["no progress records" in message for message in caplog.messages] == [True]


def test_the_hook_of_gunicorn_begins_the_record_and_shows_a_stop(tmp_path: Path) -> None:
    class Worker:
        alive = True

    worker = Worker()
    gte_progress.post_worker_init(worker)
    assert written(tmp_path)["phase"] == "ready"
    worker.alive = False
    eventually(tmp_path, lambda record: record["phase"] == "draining")


# --- ASGI --------------------------------------------------------------------------------------------------


async def nothing() -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": b""}


async def sink(_message: MutableMapping[str, Any]) -> None:
    return None


def test_an_asgi_request_is_recorded_and_the_loop_beats_while_it_awaits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gte_progress, "_BEAT_INTERVAL", 0.05)
    during: list[dict[str, Any]] = []

    async def application(_scope: MutableMapping[str, Any], _receive: Any, _send: Send) -> None:
        during.append(written(tmp_path))
        await asyncio.sleep(0.5)
        during.append(written(tmp_path))

    asyncio.run(AsgiProgress(application)({"type": "http", "path": "/a"}, nothing, sink))
    first, second = during
    assert (first["phase"], [request["path"] for request in first["in_flight"]]) == ("ready", ["/a"])
    assert second["beat"] > first["beat"]
    assert second["in_flight"] == first["in_flight"]
    eventually(tmp_path, lambda record: (record["completed"], record["in_flight"]) == (1, []))


def test_a_blocked_loop_does_not_beat_though_the_record_is_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gte_progress, "_BEAT_INTERVAL", 0.05)
    during: list[dict[str, Any]] = []

    async def application(_scope: MutableMapping[str, Any], _receive: Any, _send: Send) -> None:
        before = written(tmp_path)["beat"]
        time.sleep(0.5)
        assert gte_progress._Current.progress is not None
        gte_progress._Current.progress.enter(Phase.DRAINING)
        during.append({"before": before, "after": written(tmp_path)})

    asyncio.run(AsgiProgress(application)({"type": "http", "path": "/a"}, nothing, sink))
    assert (during[0]["before"], "draining") == (during[0]["after"]["beat"], during[0]["after"]["phase"])


def test_each_part_of_an_asgi_answer_renews_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_800_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])

    async def application(_scope: MutableMapping[str, Any], _receive: Any, send: Send) -> None:
        for _ in range(2):
            now[0] += 60
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            eventually(tmp_path, lambda record: record["in_flight"][0]["since"] == now[0])

    asyncio.run(AsgiProgress(application)({"type": "http", "path": "/a"}, nothing, sink))


def test_only_http_is_recorded(tmp_path: Path) -> None:
    during: list[bool] = []

    async def application(_scope: MutableMapping[str, Any], _receive: Any, _send: Send) -> None:
        during.append((tmp_path / "progress").exists())

    asyncio.run(AsgiProgress(application)({"type": "websocket", "path": "/a"}, nothing, sink))
    assert during == [False]


def test_a_lifespan_is_the_boot(tmp_path: Path) -> None:
    phases: list[str] = []

    async def application(_scope: MutableMapping[str, Any], _receive: Any, send: Send) -> None:
        phases.append(written(tmp_path)["phase"])
        await send({"type": "lifespan.startup.complete"})
        phases.append(written(tmp_path)["phase"])

    asyncio.run(AsgiProgress(application)({"type": "lifespan"}, nothing, sink))
    assert phases == ["booting", "ready"]


def test_an_application_without_a_lifespan_is_ready(tmp_path: Path) -> None:
    async def application(scope: MutableMapping[str, Any], _receive: Any, _send: Send) -> None:
        raise ValueError(scope["type"])

    with pytest.raises(ValueError, match="lifespan"):
        asyncio.run(AsgiProgress(application)({"type": "lifespan"}, nothing, sink))
    assert written(tmp_path)["phase"] == "ready"
