"""The files that the application's exceptions are about, found on this host."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ops.collect.logs.service_files import service_files
from ops.facts.base import NotSeen
from ops.facts.logs import Log, LogEntry
from ops.interpret.tracebacks import refusal_in
from tests.unit.made_snapshot import TARGET

READONLY = "sqlite3.OperationalError: attempt to write a readonly database"


def traceback(exception: str, source: str = "/srv/app.py") -> str:
    return (
        "Exception on /notes [POST]\nTraceback (most recent call last):\n"
        f'  File "{source}", line 3, in notes\n    connection.execute("insert")\n{exception}'
    )


def log(*texts: str) -> Log:
    entries = tuple(
        LogEntry(time=float(at), level="error", pid=1, text=text) for at, text in enumerate(texts)
    )
    return Log(path="/var/log/g.log", size=9, modified=9.0, entries=entries)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (traceback("PermissionError: [Errno 13] Permission denied: '/srv/a'"), (13, "/srv/a")),
        (traceback("OSError: [Errno 30] Read-only file system: 'media/x'"), (30, "media/x")),
        (traceback("FileNotFoundError: [Errno 2] No such file or directory: '/srv/a'"), (2, "/srv/a")),
        (traceback("shutil.Error: [Errno 13] Permission denied: '/srv/a' -> '/srv/b'"), (13, "/srv/a")),
        (traceback(READONLY), (13, None)),
        (traceback("django.db.utils.OperationalError: unable to open database file"), (13, None)),
        (
            traceback("sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) unable to open database file"),
            (13, None),
        ),
        (traceback("OSError: [Errno 28] No space left on device: '/srv/a'"), None),
        (traceback("sqlite3.OperationalError: database is locked"), None),
        (traceback("ConnectionRefusedError: [Errno 111] Connection refused"), None),
        (traceback("ValueError: '/srv/a'"), None),
        ("PermissionError: [Errno 13] Permission denied: '/srv/a'", None),
    ],
)  # fmt: skip
def test_what_a_traceback_says_of_a_file(text: str, expected: tuple[int, str | None] | None) -> None:
    refusal = refusal_in(text)
    assert (None if refusal is None else (refusal.error, refusal.path)) == expected


def application(tmp_path: Path, source: str) -> tuple[Path, str]:
    app = tmp_path / "app.py"
    app.write_text(source)
    return app, str(tmp_path)


@pytest.mark.parametrize(
    ("source", "database"),
    [
        ("connect('{0}/data/notes.sqlite3')", "data/notes.sqlite3"),
        ("create_engine('sqlite:///{0}/shop.db')", "shop.db"),
        ("URL = 'sqlite:///shop.db?timeout=5'", "instance/shop.db"),
        ("DATABASES = BASE_DIR / 'db.sqlite3'", "db.sqlite3"),
        ("connect(os.environ['DATABASE'])", "var/by_suffix.db"),
    ],
)
def test_the_database_is_found_by_what_the_source_names_and_what_lies_there(
    tmp_path: Path, source: str, database: str
) -> None:
    app, directory = application(tmp_path, source.replace("{0}", str(tmp_path)))
    (tmp_path / database).parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(tmp_path / database)) as connection:
        connection.execute("create table t (x)")
    target = msgspec.structs.replace(TARGET, app_dir=directory, gunicorn_workers=(os.getpid(),))
    files = service_files(log(traceback(READONLY, str(app))), target)
    assert [item.path for item in files] == [str(tmp_path / database)]
    assert files[0].steps[-1].path == str(tmp_path / database)
    assert files[0].reader is not None
    assert files[0].reader.uid == os.geteuid()


def test_one_for_each_exception_with_its_count_and_its_newest_time(tmp_path: Path) -> None:
    denied = traceback(f"PermissionError: [Errno 13] Permission denied: '{tmp_path}/media/x'")
    files = service_files(log(denied, denied, "else"), msgspec.structs.replace(TARGET, app_dir=str(tmp_path)))
    (one,) = files
    assert (one.count, one.last, one.missing) == (2, 1.0, f"{tmp_path}/media")


def test_the_source_of_another_is_not_read(tmp_path: Path) -> None:
    """A line of a log names it; nothing beside the application is looked into."""
    own = tmp_path / "own"
    own.mkdir()
    other = tmp_path / "other.py"
    other.write_text("connect('/srv/secret.db')")
    target = msgspec.structs.replace(TARGET, app_dir=str(own), gunicorn_workers=())
    assert service_files(log(traceback(READONLY, str(other))), target) == ()


def test_without_a_log_there_is_nothing() -> None:
    assert service_files(NotSeen(reason="-"), TARGET) == ()


def test_a_relative_path_is_looked_for_in_the_service_s_working_directory(tmp_path: Path) -> None:
    application = tmp_path / "shop"
    (application / "data").mkdir(parents=True)
    (application / "data" / "cities.csv").write_text("Ulm\n")
    target = msgspec.structs.replace(
        TARGET, app_dir=str(application), gunicorn_workers=(os.getpid(),), gunicorn_master=None
    )
    missing = "FileNotFoundError: [Errno 2] No such file or directory: 'data/cities.csv'"
    (file,) = service_files(log(traceback(missing)), target)
    assert file.working_directory == str(Path.cwd())
    assert file.path == f"{Path.cwd()}/data/cities.csv"
    assert file.lies_at == f"{application}/data/cities.csv"
