"""Files that nginx could not send: the way to them, and where else they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.collect.logs.unserved_files import unserved_files
from ops.facts.logs import Log, LogEntry
from ops.facts.traffic import NO_INDEX, UnservedFile


def looked_at(
    path: str, *, asked: str = "/static/app.css", error: str = "2: No such file"
) -> tuple[UnservedFile, ...]:
    entry = LogEntry(
        time=100.0,
        level="error",
        pid=7,
        text=f'*1 open() "{path}" failed ({error}), client: 192.0.2.1, request: "GET {asked}?v=1 HTTP/1.1"',
    )
    return unserved_files(
        {"error.log": Log(path="error.log", size=9, modified=100.0, entries=(entry,) * 3)}, [os.getpid()]
    )


@pytest.fixture
def style(tmp_path: Path) -> Path:
    file = tmp_path / "static" / "app.css"
    file.parent.mkdir()
    file.write_text("body {}")
    return file


def test_a_slash_that_is_missing_is_put_in(style: Path) -> None:
    (file,) = looked_at(f"{style.parent}app.css")
    assert (file.lies_at, file.count, file.request) == (str(style), 3, "GET /static/app.css")


def test_a_directory_too_many_is_left_out(style: Path) -> None:
    (file,) = looked_at(f"{style.parent}/static/app.css")
    assert file.lies_at == str(style)


def test_a_directory_that_is_missing_is_that_of_the_request(style: Path) -> None:
    (file,) = looked_at(f"{style.parent.parent}/app.css")
    assert file.lies_at == str(style)


def test_what_is_nowhere_is_nowhere(style: Path) -> None:
    (file,) = looked_at(f"{style.parent}/wp-login.php", asked="/static/wp-login.php")
    assert (file.lies_at, file.is_there) == ("", False)


def test_the_way_to_a_closed_file_is_gone(style: Path) -> None:
    style.parent.chmod(0o700)
    (file,) = looked_at(str(style), error="13: Permission denied")
    modes = {step.path: step.mode for step in file.steps}
    assert modes[str(style.parent)] == 0o700
    assert file.reader is not None
    assert file.reader.pid == os.getpid()


def test_a_request_for_a_parent_is_followed_nowhere(style: Path) -> None:
    (file,) = looked_at(f"{style.parent}/a/../../x/app.css", asked="/static/../../app.css")
    assert file.lies_at == ""


def without_index(directory: Path) -> UnservedFile:
    text = f'*1 directory index of "{directory}/" is forbidden, client: 192.0.2.1, request: "GET /manual/ HTTP/1.1"'
    entry = LogEntry(time=100.0, level="error", pid=7, text=text)
    log = Log(path="error.log", size=9, modified=100.0, entries=(entry,) * 3)
    (file,) = unserved_files({"error.log": log}, [os.getpid()])
    assert (file.error, file.count, file.request) == (NO_INDEX, 3, "GET /manual/")
    return file


@pytest.mark.parametrize(
    ("files", "lies_at"),
    [
        (("html/index.html",), "html/index.html"),
        (("pages/index.html",), "pages/index.html"),
        (("dist/index.html", "src/main.ts", "package.json"), "dist/index.html"),
        (("index.htm", "logo.png"), "index.htm"),
        (("app.js", "docs/index.html"), ""),
        (("dist/index.html", "public/index.html"), ""),
        (("app.js", "app.css"), ""),
    ],
)
def test_the_index_page_that_was_meant_is_the_only_one_that_may_be(
    tmp_path: Path, files: tuple[str, ...], lies_at: str
) -> None:
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    expected = str(tmp_path / lies_at) if lies_at else ""
    assert without_index(tmp_path).lies_at == expected
