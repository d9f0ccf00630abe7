"""What stands in a pidfile's place and would keep gunicorn from starting is removed, and nothing else."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.collect.services.nginx import read_pidfile
from ops.control.account import UserAccount, as_account
from ops.control.pidfile import (
    InUseError,
    NamedPidfile,
    Stale,
    deciders,
    pidfiles,
    remove_stale,
)
from ops.settings import GunicornSettings, Settings

DEAD = 4_190_000  # below PID_MAX_LIMIT, above what this machine has given out


@pytest.fixture
def stranger() -> Iterator[int]:
    """Another gunicorn, by its title."""
    with subprocess.Popen(["gunicorn: master [other]", "300"], executable="/bin/sleep", cwd="/") as process:
        yield process.pid
        process.kill()


def removed(path: Path) -> tuple[Stale, ...]:
    return remove_stale(Settings(gunicorn=GunicornSettings(pidfile=str(path))), [NamedPidfile(str(path))])


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def link_to_a_live_number(path: Path) -> None:
    path.with_name("elsewhere").write_text(str(os.getpid()))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "make",
    [pipe, unix_socket, link_to_itself, link_to_a_pipe, link_to_a_live_number],
    ids=lambda make: make.__name__,
)
def test_what_is_no_pidfile_is_in_the_way(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "gunicorn.pid"
    make(path)
    (stale,) = removed(path)
    assert (stale.path, stale.failure) == (str(path), None)
    assert not os.path.lexists(path)
    assert sorted(tmp_path.iterdir()) in ([], [tmp_path / "elsewhere"]), "what a link leads to stays"


@pytest.mark.parametrize(
    "content", ["{live}", "{live}\n", " {live} \n", "-1", "+{live}", "9" * 30, "{stranger}\n"]
)
def test_a_number_that_gunicorn_takes_for_itself_is_in_the_way(
    tmp_path: Path, stranger: int, content: str
) -> None:
    path = tmp_path / "gunicorn.pid"
    path.write_text(content.format(live=os.getpid(), stranger=stranger))
    assert len(removed(path)) == 1
    assert not path.exists()
    os.kill(stranger, 0)


@pytest.mark.parametrize(
    "content", ["", "0", f"{DEAD}\n", "{live} x", "x{live}", "{live}\n{live}\n", "text", "1" * 9000]
)
def test_what_gunicorn_passes_over_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "gunicorn.pid"
    path.write_text(content.format(live=os.getpid()))
    assert removed(path) == ()
    assert path.exists()


def test_a_directory_or_a_device_is_no_pidfile_that_became_stale(tmp_path: Path) -> None:
    assert removed(tmp_path) == ()
    assert removed(Path(os.devnull)) == ()
    assert removed(tmp_path / "none") == ()


def test_what_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gunicorn.pid"
    path.write_text(str(os.getpid()))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("ops.control.pidfile.os.unlink", refuse)
    (stale,) = removed(path)
    assert stale.failure == "Operation not permitted"


def test_the_pidfile_of_this_very_service_is_never_stale(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.pid"
    (tmp_path / "gunicorn.conf.py").write_text(f"pidfile = {str(path)!r}\n")
    with subprocess.Popen(
        ["gunicorn: master [app]", "300"], executable="/bin/sleep", cwd=tmp_path
    ) as process:
        path.write_text(f"{process.pid}\n")
        with pytest.raises(InUseError, match=f"names process {process.pid}"):
            removed(path)
        assert path.exists()
        process.kill()


def test_the_pidfiles_of_a_start(tmp_path: Path) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("pidfile = 'run/own.pid'\n")
    uid = os.getuid()
    settings = Settings(gunicorn=GunicornSettings(pidfile="/run/gte.pid", config_file=str(config)))
    own = NamedPidfile(f"{tmp_path}/run/own.pid", uid)
    assert set(pidfiles(settings, ("gunicorn", "app:app"), str(tmp_path))) == {
        NamedPidfile("/run/gte.pid"),
        own,
    }
    without = Settings()
    assert pidfiles(without, ("sudo", "-p", "x", "gunicorn", "app:app"), str(tmp_path)) == (own,)
    assert pidfiles(without, ("gunicorn", "-p", "a.pid", "app:app"), "/srv") == (NamedPidfile("/srv/a.pid"),)
    assert pidfiles(without, ("/srv/start.sh",), "/nowhere") == ()


def test_who_decides_where_a_pidfile_lies() -> None:
    assert deciders((0, 0, None), {0}) == frozenset()
    assert deciders((0, 1001, 1001), {0}) == {1001}
    assert deciders((0, 1001, 1002), {0}) == {1001, 1002}


USER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root removes anything for another user")


def file_of(directory: Path, *, uid: int) -> Path:
    directory.mkdir()
    path = directory / "nginx.pid"
    path.write_text(str(os.getpid()))
    os.chown(directory, uid, uid)
    return path


@as_root
def test_what_the_user_who_names_it_could_not_remove_stays(tmp_path: Path) -> None:
    path = file_of(tmp_path / "run", uid=0)
    (stale,) = remove_stale(Settings(), [NamedPidfile(str(path), USER)])
    assert (stale.failure, path.exists()) == (f"user {USER}: Permission denied", True)
    own = file_of(tmp_path / "own", uid=USER)
    (stale,) = remove_stale(Settings(), [NamedPidfile(str(own), USER)])
    assert (stale.failure, own.exists()) == (None, False)


@as_root
def test_a_users_link_to_roots_pidfile_is_not_followed(tmp_path: Path) -> None:
    path = file_of(tmp_path / "run", uid=0)
    link = tmp_path / "link"
    link.symlink_to("run")
    os.chown(link, USER, USER, follow_symlinks=False)
    assert removed(link / path.name) == ()
    assert path.exists()


@as_root
def test_where_several_users_decide_nothing_is_removed(tmp_path: Path) -> None:
    path = file_of(tmp_path / "own", uid=USER)
    (stale,) = remove_stale(Settings(), [NamedPidfile(str(path), USER - 1)])
    assert (stale.failure, path.exists()) == ("several users decide where it lies", True)


@as_root
def test_what_is_done_as_another_user_is_that_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = UserAccount(USER, USER, ())
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    assert as_account(user, lambda: None) is None
    failed = as_account(user, lambda: os.close(os.open(secret, os.O_RDONLY)))
    assert failed is not None
    assert failed.errno == errno.EACCES
    assert as_account(user, lambda: 1 // 0) is not None
    assert (os.geteuid(), os.getresuid()) == (0, (0, 0, 0))
    monkeypatch.setattr("ops.control.account.SECONDS", 0.1)
    late = as_account(user, signal.pause)
    assert late is not None
    assert late.errno == errno.ETIMEDOUT


@pytest.fixture
def zombie() -> Iterator[int]:
    """A process that has ended and that its parent does not reap."""
    process = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


def test_a_zombie_counts_as_running_for_gunicorn_and_its_pidfile_is_removed(
    tmp_path: Path, zombie: int
) -> None:
    path = tmp_path / "gunicorn.pid"
    path.write_text(f"{zombie}\n")
    pidfile = read_pidfile(str(path))
    assert (pidfile.is_alive, pidfile.is_zombie, pidfile.is_in_the_way) == (False, True, True)
    (stale,) = removed(path)
    assert (stale.path, stale.failure, path.exists()) == (str(path), None, False)
