"""What the application's own source says where a start failed: by files as they lie on a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.collect.services.start_source import environment_files, migrations_command, read_sources
from ops.facts.start import Default, Use


def said(path: Path, line: int) -> str:
    return f'Traceback (most recent call last):\n  File "{path}", line {line}, in <module>\n'


@pytest.mark.parametrize(
    ("source", "line", "name", "default", "use"),
    [
        ("import os\nx = os.environ['SHOP_A'] + 'b'\n", 2, "SHOP_A", Default.REQUIRED, None),
        ("import os\nx = os.getenv('SHOP_A') + 'b'\n", 2, "SHOP_A", Default.NONE, None),
        ("from os import environ\nx = int(environ.get('SHOP_A', ''))\n", 2, "SHOP_A", Default.EMPTY, None),
        ("from os import getenv\nA = getenv('SHOP_A', '1')\nx = int(A)\n", 3, "SHOP_A", Default.VALUE, None),
        ("import environ\nenv = environ.Env()\nx = env.int('SHOP_A')\n", 3, "SHOP_A", Default.REQUIRED, None),
        ("from decouple import config\nx = config('SHOP_A', cast=int)\n", 2, "SHOP_A", Default.REQUIRED, None),
        ("import os\nA = os.getenv('SHOP_A')\nif not A:\n    raise ValueError('no')\n", 4, "SHOP_A", Default.NONE,
         Use.UNSET),
        ("import os\nA = os.getenv('SHOP_A', 'x')\nif A != 'y':\n    raise ValueError\n", 4, "SHOP_A", Default.VALUE,
         Use.VALUE),
        ("import os\nassert os.environ.get('SHOP_A')\n", 2, "SHOP_A", Default.NONE, Use.UNSET),
        ("import os\nx = getattr(os, os.environ['SHOP_A'])\n", 2, "SHOP_A", Default.REQUIRED, Use.NAME),
        ("import os\nclass C:\n    url = os.getenv('SHOP_A')\nx = C.url.lower()\n", 4, "SHOP_A", Default.NONE, None),
    ],
)  # fmt: skip
def test_the_variable_that_a_statement_uses(
    source: str, line: int, name: str, default: Default, use: Use | None, tmp_path: Path
) -> None:
    path = tmp_path / "app.py"
    path.write_text(source)
    read = read_sources(str(tmp_path), said(path, line)).reads[0]
    assert (read.name, read.default, read.use) == (name, default, use)
    assert read.frame == f"{path}:{line}"


def test_a_variable_that_no_statement_of_the_traceback_uses_has_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text("import os\nx = os.getenv('SHOP_A')\n1 / 0\n")
    assert [read.frame for read in read_sources(str(tmp_path), said(path, 3)).reads] == [None]


def test_files_outside_the_application_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "other" / "app.py"
    path.parent.mkdir()
    path.write_text("import os\nx = os.environ['SHOP_A'] + 'b'\n")
    (tmp_path / "shop").mkdir()
    assert read_sources(str(tmp_path / "shop"), said(path, 2)).reads == ()


@pytest.mark.parametrize("content", ["def f(:\n", "x = " + "(" * 5000 + "\n", "\x00", ""])
def test_a_source_that_cannot_be_parsed_says_nothing(content: str, tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text(content)
    assert read_sources(str(tmp_path), said(path, 1)).reads == ()


def test_of_a_file_of_variables_the_names_alone_are_taken(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# a comment\nexport SHOP_A=hunter2\nSHOP_B = 'x'\n")
    (file,) = environment_files(str(tmp_path))
    assert file.names == ("SHOP_A", "SHOP_B")
    assert "hunter2" not in repr(file)


def test_the_command_that_makes_the_tables_is_that_of_the_framework(tmp_path: Path) -> None:
    assert migrations_command(str(tmp_path)) is None
    (tmp_path / "alembic.ini").touch()
    assert migrations_command(str(tmp_path)) == "-m alembic upgrade head"
    (tmp_path / "manage.py").touch()
    assert migrations_command(str(tmp_path)) == "manage.py migrate"
