"""A pidfile is written or removed by who has a say in where it lies, and by nobody else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.control.pidfile import NamedPidfile, change_pidfile
from ops.text.language import Text

NOBODY = 65534
STRANGER = 65533
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody reaches, as /run is."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def pidfile(directory: Path, *, uid: int, content: str = "4711\n", mode: int = 0o644) -> Path:
    path = directory / "gunicorn.pid"
    path.write_text(content)
    path.chmod(mode)
    os.chown(path, uid, uid)
    return path


def put(path: Path, namer: int | None, content: bytes | None = b"12\n") -> Text | None:
    return change_pidfile(NamedPidfile(str(path), namer), content=content, number=4711)


def test_what_settings_name_is_written_and_keeps_its_mode(place: Path) -> None:
    path = pidfile(place, uid=os.geteuid(), mode=0o640)
    assert put(path, None) is None
    assert path.read_text() == "12\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in place.iterdir()] == ["gunicorn.pid"]


def test_what_settings_name_is_removed(place: Path) -> None:
    path = pidfile(place, uid=os.geteuid())
    assert put(path, None, None) is None
    assert not path.exists()


def test_another_number_is_left(place: Path) -> None:
    path = pidfile(place, uid=os.geteuid(), content="4712\n")
    with pytest.raises(FileNotFoundError):
        put(path, None)
    assert path.read_text() == "4712\n"


@pytest.mark.parametrize("kind", ["a link", "a hard link", "a pipe", "a directory"])
def test_only_a_regular_file_of_one_name_is_touched(place: Path, kind: str) -> None:
    victim = pidfile(place, uid=os.geteuid())
    path = place / "other.pid"
    if kind == "a link":
        path.symlink_to(victim)
    elif kind == "a hard link":
        os.link(victim, path)
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert put(path, None) is not None
    assert victim.read_text() == "4711\n"
    assert os.path.lexists(path)


@as_root
@pytest.mark.parametrize("content", [b"12\n", None], ids=["written", "removed"])
def test_no_users_word_touches_a_file_of_roots(place: Path, content: bytes | None) -> None:
    path = pidfile(place, uid=0)
    assert put(path, NOBODY, content) is not None
    assert path.read_text() == "4711\n"


@as_root
def test_no_users_word_touches_its_own_file_where_it_could_not_exchange_it(place: Path) -> None:
    path = pidfile(place, uid=NOBODY)
    assert put(path, NOBODY) is not None
    assert path.read_text() == "4711\n"


@as_root
@pytest.mark.parametrize("namer", [NOBODY, None], ids=["its own word", "settings"])
def test_a_users_own_pidfile_in_its_own_directory_is_written_as_that_user(
    place: Path, namer: int | None
) -> None:
    os.chown(place, NOBODY, NOBODY)
    path = pidfile(place, uid=NOBODY)
    assert put(path, namer) is None
    assert path.read_text() == "12\n"
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (NOBODY, NOBODY, 0o644)


@as_root
def test_a_file_of_roots_in_a_users_directory_is_left(place: Path) -> None:
    os.chown(place, NOBODY, NOBODY)
    path = pidfile(place, uid=0)
    assert put(path, None) is not None
    assert path.read_text() == "4711\n"


@as_root
def test_where_two_users_have_a_say_nothing_is_done(place: Path) -> None:
    os.chown(place, STRANGER, STRANGER)
    place.chmod(0o777)
    path = pidfile(place, uid=NOBODY)
    assert put(path, NOBODY) is not None
    assert path.read_text() == "4711\n"


@as_root
def test_a_link_laid_where_the_new_content_is_written_first_is_not_followed(place: Path) -> None:
    victim = place / "victim"
    victim.write_text("mine\n")
    path = pidfile(place, uid=0)
    (place / f".gunicorn.pid.{os.getpid()}~").symlink_to(victim)
    with pytest.raises(FileExistsError):
        put(path, None)
    assert victim.read_text() == "mine\n"
