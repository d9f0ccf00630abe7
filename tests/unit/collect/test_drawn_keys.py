"""Keys for signatures that the application draws at random when it is imported."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ops.collect.logs.application_source import ApplicationSource
from ops.collect.logs.drawn_keys import drawn_keys
from ops.facts.logs import AccessLog
from ops.facts.traffic import Answers
from tests.unit.made_snapshot import NGINX_ACCESS_LOG, NOW, access_log, traffic


def log(*statuses: str) -> AccessLog:
    answers = [
        Answers(method="GET", path="/me", status=status, count=5, first=NOW - 60, last=NOW - 2)
        for status in statuses
    ]
    return msgspec.structs.replace(access_log(NGINX_ACCESS_LOG, {}), traffic=traffic(*answers))


@pytest.mark.parametrize(
    ("line", "is_drawn"),
    [
        ("app.secret_key = os.urandom(24)", True),
        ("app.config['SECRET_KEY'] = secrets.token_hex()", True),
        ("SECRET_KEY = os.environ.get('SECRET_KEY') or get_random_secret_key()", False),
        ("SECRET_KEY = os.getenv('SECRET_KEY', secrets.token_hex(32))", False),
        ("app.secret_key = KEY or os.urandom(24)", False),
        ("app.secret_key = env('KEY', default=os.urandom(24))", False),
        ("JWT_SECRET_KEY: str = str(uuid.uuid4())", False),
        ("JWT_SECRET_KEY = str(uuid.uuid4())", True),
        ("app.secret_key = os.environ['SECRET_KEY']", False),
        ("# app.secret_key = os.urandom(24)", False),
        ("    app.secret_key = os.urandom(24)", False),
        ("request_id = uuid.uuid4()", False),
        ("app.secret_key = SETTINGS.key  # was os.urandom(24)", False),
    ],
)
def test_a_key_that_each_import_draws_anew(tmp_path: Path, line: str, is_drawn: bool) -> None:
    (tmp_path / "app.py").write_text(f"import os\n{line}\n")
    found = drawn_keys(ApplicationSource(str(tmp_path)), log("200", "401"))
    assert [key.where for key in found] == ([f"{tmp_path}/app.py:2"] if is_drawn else [])


def test_a_key_in_the_line_itself_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("app.secret_key = 'once upon a time' + str(os.urandom(24))\n")
    (key,) = drawn_keys(ApplicationSource(str(tmp_path)), log("200", "401"))
    assert "upon" not in key.written
    assert "os.urandom(24)" in key.written


@pytest.mark.parametrize("statuses", [("200",), ("401",), ("200", "500"), ()])
def test_nothing_is_searched_unless_some_are_refused_and_some_are_not(
    tmp_path: Path, statuses: tuple[str, ...]
) -> None:
    (tmp_path / "app.py").write_text("secret_key = os.urandom(24)\n")
    assert drawn_keys(ApplicationSource(str(tmp_path)), log(*statuses)) == ()
