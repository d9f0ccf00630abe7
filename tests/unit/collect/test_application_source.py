"""The application's source is read once in a run, within bounds, for everything that searches it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ops.collect.logs import application_source, service_logs
from ops.collect.logs.application_source import ApplicationSource
from ops.facts.logs import Logs
from ops.facts.target import Target
from ops.files.bounded_read import RegularFile, read_regular_file
from ops.interpret.traffic import AccessLogSource
from tests.unit.made_snapshot import NOW


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The bytes that were read, by file; each file's once for each time."""
    seen: dict[str, int] = {}

    def counted(path: str, limit: int) -> RegularFile:
        file = read_regular_file(path, limit)
        seen[path] = seen.get(path, 0) + len(file.content)
        return file

    monkeypatch.setattr(application_source, "read_regular_file", counted)
    return seen


def searched(tmp_path: Path) -> Logs:
    """What is read of an application, with every answer in its log that makes something look at the source."""
    lines = [
        f'192.0.2.1 - - [22/Nov/2026:00:50:{second:02} +0000] "{method} {path} HTTP/1.1" {status} {size} "-" "-"'
        for second, (method, path, status, size) in enumerate(
            [
                ("GET", "/ws", 400, 10),
                ("OPTIONS", "/predict", 403, 10),
                ("GET", "/me", 429, 10),
                ("GET", "/me", 401, 10),
                ("GET", "/me", 200, 0),
                ("GET", "/events/stream", 200, 10),
                ("GET", "/docs", 200, 10),
            ]
        )
    ]
    log = tmp_path / "access.log"
    log.write_text("\n".join(lines) + "\n")
    values: dict[str, Any] = dict.fromkeys(Target.__struct_fields__, None)
    values |= {"nginx_error_logs": (), "origin": {}, "gunicorn_workers": (), "app_dir": str(tmp_path)}
    places = service_logs.LogPlaces(
        nginx=AccessLogSource(str(log)),
        nginx_ignores_headers=True,
        adds_policies=True,
        replaces_words=True,
    )
    return service_logs.read_logs(Target(**values), NOW - 900, NOW, places)


def test_all_that_search_it_read_each_file_once(tmp_path: Path, reads: dict[str, int]) -> None:
    source = (
        '@app.websocket("/ws")\ndef ws(): ...\nallow_origins=["https://shop.example"]\nrequest.headers["X-Real-IP"]\n'
        'SESSION_COOKIE_DOMAIN = "shop.example"\n'
    )
    (tmp_path / "app.py").write_text(source)
    logs = searched(tmp_path)
    assert logs.websocket_routes
    assert logs.allowed_origins
    assert logs.forwarded_reads
    assert logs.cookie_domains
    assert reads == {f"{tmp_path}/app.py": len(source)}


def test_as_much_source_as_is_read_is_searched_within_seconds(tmp_path: Path) -> None:
    """Of the processor; each of nine read 21 MB for itself, which took up to six."""
    for number in range(application_source.MAX_BYTES // application_source.MAX_FILE_BYTES):
        (tmp_path / f"m{number:03}.py").write_text("x = 1  # some line of a source file\n" * (8 << 10))
    began = time.thread_time()
    searched(tmp_path)
    assert time.thread_time() - began < 3


def test_it_is_bounded_in_bytes_of_all_files_together(tmp_path: Path, reads: dict[str, int]) -> None:
    for number in range(application_source.MAX_BYTES // application_source.MAX_FILE_BYTES + 4):
        (tmp_path / f"m{number:03}.py").write_text("x = 1  # a line\n" * (20 << 10))
    files = ApplicationSource(str(tmp_path)).files
    assert sum(len(file.text) for file in files) == application_source.MAX_BYTES
    assert sum(reads.values()) == application_source.MAX_BYTES
    assert max(len(file.text) for file in files) == application_source.MAX_FILE_BYTES


def test_it_is_bounded_in_files_in_one_directory_and_in_many(tmp_path: Path) -> None:
    for number in range(application_source.MAX_FILES + 50):
        (tmp_path / f"m{number}.py").write_text("x\n")
    assert len(ApplicationSource(str(tmp_path)).files) == application_source.MAX_FILES


def test_a_line_that_no_person_writes_is_passed_over_and_the_others_keep_their_numbers(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(f"one\n{' ' * (application_source.MAX_LINE + 1)}\nthree\n")
    (file,) = ApplicationSource(str(tmp_path)).files
    assert file.lines == ((1, "one"), (3, "three"))


def test_without_a_directory_nothing_is_read(reads: dict[str, int]) -> None:
    assert ApplicationSource("").files == ()
    assert not reads
