"""Headers of the operator's own for the probes: who may read their file, what it holds, and what is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.collect.net.private_headers import (
    listens,
    read_private_headers,
    without_private,
    without_private_words,
)
from ops.errors import SettingsError
from ops.facts.logs import Log, LogEntry
from ops.facts.probes import Exchange

KEY = "s3cret-key-of-the-lab"


def written(path: Path, content: str, mode: int = 0o600) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def test_each_line_is_a_header(tmp_path: Path) -> None:
    path = written(tmp_path / "headers", f"# of the probes\n\nX-Api-Key: {KEY}\nAuthorization:Bearer a b=\n")
    assert read_private_headers(path).headers == {"X-Api-Key": KEY, "Authorization": "Bearer a b="}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_is_refused_with_the_command_that_closes_it(
    mode: int, tmp_path: Path
) -> None:
    path = written(tmp_path / "headers", f"X-Api-Key: {KEY}\n", mode)
    with pytest.raises(SettingsError, match=f"chmod 600 {path}"):
        read_private_headers(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f"X-Api-Key {KEY}\n", "line 1: not a header"),
        (f"X-Ok: 1\nX Api: {KEY}\n", "line 2: not a header"),
        (f"X-Ok: 1\nX-Api-Key: {KEY}\x01\n", "line 2: not a header"),
        ("X-Api-Key:\n", "line 1: X-Api-Key has no value"),
        (f"Host: {KEY}\n", "Host is the probe's own"),
        (f"transfer-encoding: {KEY}\n", "transfer-encoding is the probe's own"),
        ("# nothing\n", "no header"),
        ("".join(f"X-{n}: {KEY}\n" for n in range(17)), "more than 16 headers"),
        (f"X-A: {KEY}\n" + "#" * 70000, "larger than 64 KiB"),
    ],
)
def test_what_is_no_header_is_refused_by_its_line_and_not_repeated(
    content: str, says: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "headers", content)
    with pytest.raises(SettingsError) as raised:
        read_private_headers(path)
    assert says in str(raised.value)
    assert KEY not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="none: No such file"):
        read_private_headers(str(tmp_path / "none"))


def test_a_fifo_and_a_directory_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(SettingsError):
            read_private_headers(str(path))


def test_an_answer_that_repeats_a_value_does_not_show_it() -> None:
    answer = Exchange(
        method="GET", url="http://x/health", address="127.0.0.1:1", status=401, headers=(("X-Echo", f"<{KEY}>"),),
        body=f"no such key: {KEY}",
    )  # fmt: skip
    clean = without_private(answer, {"X-Api-Key": KEY})
    assert KEY not in repr(clean)
    assert clean.private_headers == ("X-Api-Key",)
    assert clean.body.startswith("no such key: ")


@pytest.mark.parametrize(
    ("name", "value", "repeated"),
    [
        ("Authorization", f"Bearer {KEY}", KEY),
        ("Authorization", "Basic YWxpY2U6d29uZGVybGFuZA==", "wonderland"),
        ("Authorization", "Basic YWxpY2U6d29uZGVybGFuZA==", "YWxpY2U6d29uZGVybGFuZA=="),
        ("Cookie", "session=f00dcafe; theme=dark", "f00dcafe"),
        ("X-Key", 'a"b<c>d', 'a\\"b<c>d'),
        ("X-Key", 'a"b<c>d', "a&quot;b&lt;c&gt;d"),
    ],
)
def test_a_part_of_a_value_that_opens_the_door_is_not_shown_either(
    name: str, value: str, repeated: str
) -> None:
    answer = Exchange(
        method="GET",
        url="http://x/health",
        address="127.0.0.1:1",
        status=401,
        body=f"no such key: {repeated}.",
    )
    clean = without_private(answer, {name: value})
    assert repeated not in clean.body
    assert clean.body.startswith("no such key: ")


def test_who_does_not_listen_there_is_not_the_service() -> None:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert not listens(os.getpid(), address), "bound, and not yet listening"
        server.listen()
        assert listens(os.getpid(), address)
        assert not listens(os.getppid(), address)
        assert not listens(os.getpid(), "127.0.0.1:1")


def test_a_key_that_the_application_logs_is_hidden_in_what_is_read_of_the_log() -> None:
    text = 'ValueError: nobody is called zebra "horse" piano\n  Bearer zebra "horse" piano'
    log = Log(
        path="/var/log/gte.log",
        size=1,
        modified=1.0,
        entries=(LogEntry(time=1.0, level="error", pid=None, text=text),),
    )
    log = without_private_words(log, {"Authorization": 'Bearer zebra "horse" piano'})
    assert "horse" not in log.entries[0].text
    assert log.entries[0].text.startswith("ValueError: nobody is called ***")
