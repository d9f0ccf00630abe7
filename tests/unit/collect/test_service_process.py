"""What is read of a process of the service: this test's own child."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ops.collect.process.service_process import _without_user, held_descriptors, service_process
from ops.facts.service_process import ServiceProcess
from tests.lab.waiting import wait_for
from tests.unit.made_snapshot import TARGET

TEXT = "Traceback (most recent call last):\nFileNotFoundError: [Errno 2] No such file or directory: '/srv/models/a.bin'"


@contextlib.contextmanager
def child(**environment: str) -> Iterator[int]:
    """A process with this environment, that waits."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE)
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def read(pid: int, text: str = TEXT) -> ServiceProcess:
    """What is read of ``pid``, once it runs its own program."""
    wait_for(lambda: b"input()" in Path(f"/proc/{pid}/cmdline").read_bytes(), "the child")
    found = service_process(
        [text], msgspec.structs.replace(TARGET, gunicorn_workers=(pid,), gunicorn_master=pid)
    )
    assert found is not None
    return found


def test_variables_that_lead_to_files_are_read_and_no_others() -> None:
    with child(
        MODELS="/srv/models", SECRET_KEY="s3cret", TOKEN_FILE="/run/secrets/token", HOME="/home/a"
    ) as pid:
        assert read(pid).variables == {"HOME": "/home/a", "MODELS": "/srv/models"}


def test_a_proxy_is_read_without_user_and_password() -> None:
    with child(HTTPS_PROXY="http://alice:s3cret@proxy.example:3128") as pid:
        assert read(pid).variables == {"HTTPS_PROXY": "http://proxy.example:3128"}


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ("http://alice:s3#cret@proxy.example:3128", "http://proxy.example:3128"),
        ("http://alice:s3/cret@proxy.example:3128/", "http://proxy.example:3128"),
        ("http://alice:s3?cret@proxy.example", "http://proxy.example"),
        ("http://alice:s3@cret@proxy.example:3128", "http://proxy.example:3128"),
        ("http://alice:s3[cret@proxy.example:3128", "http://proxy.example:3128"),
        ("http://alice:s3://cret@proxy.example:3128", "http://proxy.example:3128"),
        ("alice:s3://cret@proxy.example:3128", "proxy.example:3128"),
        ("socks5h://alice:s3cret@[2001:db8::1]:1080", "socks5h://[2001:db8::1]:1080"),
        ("http://alice:s3cret", "http://***"),
        ("http://[alice:s3cret", "http://***"),
        ("proxy.example:3128", "proxy.example:3128"),
    ],
)
def test_no_piece_of_a_proxy_s_password_is_read(value: str, read_as: str) -> None:
    assert _without_user(value) == read_as


def test_a_directory_that_may_not_be_looked_at_is_not_seen_and_hides_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exists = Path.exists

    def refused(path: Path) -> bool:
        if "/root/closed/tmp" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    with child(TMPDIR="/closed/tmp", MODELS="/srv/models") as pid:
        found = read(pid)
    assert (found.temporary, found.temporary_bytes) == (None, None)
    assert found.variables["MODELS"] == "/srv/models"


def test_the_directory_of_temporary_files_is_the_first_that_is_there(tmp_path: Path) -> None:
    with child(TMPDIR=str(tmp_path)) as pid:
        found = read(pid)
    assert found.temporary == str(tmp_path)
    assert found.temporary_bytes is not None
    with child(TMPDIR=str(tmp_path / "none")) as pid:
        assert read(pid).temporary == "/tmp"


def test_a_process_that_is_gone_is_not_read() -> None:
    with child() as pid:
        pass
    assert (
        service_process(
            [TEXT], msgspec.structs.replace(TARGET, gunicorn_workers=(pid,), gunicorn_master=None)
        )
        is None
    )


@pytest.mark.parametrize("number", ["1", "2"])
def test_outputs_are_read(number: str) -> None:
    with child() as pid:
        assert read(pid).outputs[number]


def test_a_program_that_is_not_on_the_path_is_looked_for_elsewhere() -> None:
    text = "FileNotFoundError: [Errno 2] No such file or directory: '{}'"
    with child(PATH="/nowhere") as pid:
        found = read(pid, text.format("sh"))
        assert found.path == "/nowhere"
        assert found.programs["sh"] in ("/usr/bin/sh", "/bin/sh")
        assert read(pid, text.format("pdf-convert")).programs == {"pdf-convert": ""}
    with child(PATH="/usr/bin:/bin") as pid:
        assert read(pid, text.format("sh")).programs == {}


def test_what_many_descriptors_lead_to_is_counted(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with contextlib.ExitStack() as opened:
        for _ in range(9):
            opened.enter_context(log.open("w"))
        assert held_descriptors(os.getpid())[str(log)] == 9
    assert str(log) not in held_descriptors(os.getpid())
