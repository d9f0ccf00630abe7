"""What a command has root run: every word of it that names a file is asked for, and none behind a change of user."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ops.control.root_command import reason_not_to_run_as_root, trusted_environment
from ops.control.start_command import UserChange, user_change

PATH = {"PATH": "/usr/bin:/bin", "HOME": "/"}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory that everybody may write, with a script, a module and gunicorn's file in it."""
    place = tmp_path / "theirs"
    place.mkdir()
    place.chmod(0o777)
    for name in ("start.sh", "app.py", "gunicorn.conf.py"):
        (place / name).write_text("#!/bin/sh\n")
        (place / name).chmod(0o755)
    return place


@pytest.fixture
def ours(tmp_path: Path, theirs: Path) -> Path:
    """A directory of the caller's alone, in which another user's app.py and directory lie."""
    place = tmp_path / "ours"
    place.mkdir(mode=0o755)
    (place / "start.sh").write_text("#!/bin/sh\n")
    (place / "start.sh").chmod(0o755)
    (place / "mine.py").touch(mode=0o644)
    (place / "app.py").touch(mode=0o644)
    (place / "app.py").chmod(0o666)
    (place / "there").symlink_to(theirs)
    return place


def refused(ours: Path, command: list[str], environment: dict[str, str] = PATH) -> str | None:
    words = [
        word.replace("THEIRS", str(ours.parent / "theirs")).replace("OURS", str(ours)) for word in command
    ]
    refusal = reason_not_to_run_as_root(words, str(ours), environment)
    return None if refusal is None else str(refusal.what)


@pytest.mark.parametrize(
    "command",
    [
        ["THEIRS/start.sh"],
        ["there/start.sh"],
        ["bash", "THEIRS/start.sh"],
        ["bash", "there/start.sh"],
        ["sh", "-c", "THEIRS/start.sh"],
        ["sh", "-c", "cd THEIRS && ./start.sh"],
        ["sh", "-c", "cd THEIRS; gunicorn mine:app"],
        ["sh", "-c", "A=THEIRS; exec ${A}/start.sh"],
        ["sh", "-c", 'for f in THEIRS/*.sh; do . "$f"; done'],
        ["sh", "-c", "x=$(cat THEIRS/start.sh); eval $x"],
        ["sh", "-c", "`THEIRS/start.sh`"],
        ["sh", "-c", "bash -c \"bash -c 'THEIRS/start.sh'\""],
        ["sh", "-c", "true\nTHEIRS/start.sh"],
        ["sh", "-c", "true <THEIRS/start.sh >/dev/null"],
        ["sh", "-c", "true && (cd /; THEIRS/start.sh)"],
        ["sh", "-c", "sudo -u '#1000' true; THEIRS/start.sh"],
        ["bash", "--rcfile", "THEIRS/start.sh", "-i"],
        ["bash", "--rcfile=THEIRS/start.sh", "-i"],
        ["env", "THEIRS/start.sh"],
        ["env", "-C", "THEIRS", "./start.sh"],
        ["env", "BASH_ENV=THEIRS/start.sh", "bash"],
        ["env", "PYTHONPATH=/usr/lib:THEIRS", "python3", "-m", "mine"],
        ["env", "PYTHONPATH=THEIRS/not-yet", "python3", "-m", "mine"],
        ["env", "PATH=THEIRS:/usr/bin", "bash"],
        ["nohup", "THEIRS/start.sh"],
        ["nice", "-n", "5", "timeout", "9", "THEIRS/start.sh"],
        ["bash", "THEIRS/not-there-yet.sh"],
        ["python3", "-c", "import app", "THEIRS/app.py"],
        ["python3", "-cTHEIRS/app.py"],
        ["gunicorn", "-c", "THEIRS/gunicorn.conf.py", "mine:app"],
        ["gunicorn", "-cTHEIRS/gunicorn.conf.py", "mine:app"],
        ["gunicorn", "-c", "file:THEIRS/gunicorn.conf.py", "mine:app"],
        ["gunicorn", "--chdir=there", "mine:app"],
        ["gunicorn", "--pythonpath", "/usr/lib,THEIRS", "mine:app"],
        ["gunicorn", "app:app"],
        ["python3", "-m", "gunicorn", "app:app"],
        ["setpriv", "--reuid=0", "THEIRS/start.sh"],
        ["setpriv", "--no-new-privs", "THEIRS/start.sh"],
        ["sudo", "-E", "THEIRS/start.sh", "-u", "#1000"],
        ["sudo", "-u", "root", "THEIRS/start.sh"],
        ["bash", "THEIRS/start.sh", "sudo", "-u", "#1000"],
        ["su", "-c", "THEIRS/start.sh"],
        ["su", "root", "-c", "THEIRS/start.sh"],
        ["docker", "compose", "-f", "THEIRS/start.sh", "up"],
    ],
    ids=" ".join,
)
def test_nothing_of_another_users_is_run_by_root(ours: Path, command: list[str]) -> None:
    assert refused(ours, command) is not None


@pytest.mark.parametrize(
    "command",
    [
        ["bash", "start.sh"],
        ["bash", "OURS/start.sh"],
        ["sh", "-c", "cd OURS && exec ./start.sh >/dev/null 2>&1 </dev/null &"],
        ["sh", "-c", "cd THEIRS && exec setpriv --reuid=1000 --clear-groups ./start.sh"],
        ["sh", "-c", "ulimit -n 4096; umask 027; cd THEIRS; sudo -u '#1000' ./start.sh"],
        ["nohup", "nice", "-n", "5", "OURS/start.sh"],
        ["env", "A=1", "B=of no meaning", "OURS/start.sh", "--port=8000"],
        ["gunicorn", "-c", "gunicorn.conf.py", "mine:app"],
        ["gunicorn", "-p", "THEIRS/pid", "--error-logfile=THEIRS/app.py", "-b", "unix:THEIRS/s", "mine:app"],
        ["gunicorn", "--access-logfile", "THEIRS/app.py", "-bunix:THEIRS/socket", "mine:app"],
        ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--", "THEIRS/start.sh"],
        ["setpriv", "--regid", "1000", "--reuid", "1000", "--clear-groups", "THEIRS/start.sh"],
        ["nice", "-n", "5", "sudo", "-nu", "#1000", "THEIRS/start.sh"],
        ["su", "-s", "/bin/sh", "-c", "THEIRS/start.sh", "1000"],
        ["systemctl", "start", "gte-api"],
        ["/bin/false"],
    ],
    ids=" ".join,
)
def test_what_is_roots_or_becomes_another_users_is_run(ours: Path, command: list[str]) -> None:
    assert refused(ours, command) is None


def test_the_directory_counts_where_a_command_takes_modules_from_it(theirs: Path) -> None:
    for command in (["gunicorn", "mine:app"], ["python3", "-m", "mine"], ["/bin/true"]):
        refusal = reason_not_to_run_as_root(command, str(theirs), PATH)
        assert refusal is not None
        assert refusal.what == str(theirs)
    change = ["setpriv", "--reuid=1000", "gunicorn", "mine:app"]
    assert reason_not_to_run_as_root(change, str(theirs), PATH) is None
    assert reason_not_to_run_as_root(["/bin/true"], str(theirs), PATH, any_cwd=True) is None


@pytest.mark.parametrize(
    "name", ["PYTHONPATH", "BASH_ENV", "LD_PRELOAD", "LD_AUDIT", "PERL5LIB", "PYTHONHOME"]
)
def test_what_the_environment_loads_counts(ours: Path, theirs: Path, name: str) -> None:
    assert refused(ours, ["/bin/true"], PATH | {name: f"/usr/lib:{theirs}"}) == f"{name}={theirs}"
    assert refused(ours, ["/bin/true"], PATH | {name: "/usr/lib"}) is None


def test_gunicorns_variable_is_read_as_its_words(ours: Path, theirs: Path) -> None:
    loads = {"GUNICORN_CMD_ARGS": f"--config {theirs}/gunicorn.conf.py"}
    assert refused(ours, ["/bin/true"], PATH | loads) == f"{theirs}/gunicorn.conf.py"
    logs = {"GUNICORN_CMD_ARGS": f"--error-logfile {theirs}/app.py --workers=2"}
    assert refused(ours, ["/bin/true"], PATH | logs) is None


def test_what_names_no_code_may_lie_anywhere(ours: Path, theirs: Path) -> None:
    environment = PATH | {
        "PWD": str(theirs),
        "GTE_API_KEYS_FILE": f"{theirs}/app.py",
        "SSH_AUTH_SOCK": "/tmp/a",
    }
    assert refused(ours, ["/bin/true"], environment) is None


def test_of_a_path_what_is_nobody_elses_stays(theirs: Path) -> None:
    given = {"PATH": f"{theirs}:bin::/usr/bin:/nowhere/at/all:/bin", "HOME": str(theirs), "A": str(theirs)}
    safe = trusted_environment(given)
    assert safe["PATH"] == "/usr/bin:/bin"
    assert safe["HOME"] == pwd.getpwuid(os.geteuid()).pw_dir
    assert safe["A"] == str(theirs)
    assert trusted_environment({"HOME": "/", "PATH": str(theirs)}) == {"HOME": "/", "PATH": os.defpath}


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("setpriv --reuid=1001 gunicorn", UserChange(1001, 2)),
        ("/usr/bin/setpriv --regid 5 --reuid 1001 gunicorn", UserChange(1001, 5)),
        ("sudo -E -u #1001 gunicorn", UserChange(1001, 4)),
        ("runuser -u root -- gunicorn", UserChange(0, 3)),
        ("su - root -c gunicorn", UserChange(0, 1)),
        ("su -s /bin/sh 1001", UserChange(1001, 1)),
        ("su", UserChange(0, 1)),
        ("gosu 1001:1001 gunicorn", UserChange(1001, 1)),
        ("chpst -u 1001 gunicorn", UserChange(1001, 3)),
        ("systemd-run --uid=1001 gunicorn", UserChange(1001, 2)),
        ("sudo -u nobody-of-that-name gunicorn", None),
        ("sudo gunicorn -u 1001", None),
        ("docker start gte", None),
        ("env --user=1001", None),
        ("", None),
    ],
)
def test_whose_a_command_becomes(words: str, change: UserChange | None) -> None:
    assert user_change(tuple(words.split())) == change
