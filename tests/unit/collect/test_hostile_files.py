"""What hostile files, logs and answers cost before it was mended: a hang, the memory, or a traceback.

Each case was found by tests/fuzz, or by reading what it led to; the limits are far above what it takes now and below
what it took."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.archive.name import parse_name
from ops.collect.logs.line import gunicorn_line
from ops.collect.net.http_probe import kept_body
from ops.collect.services import gunicorn, nginx
from ops.collect.services.certificate_files import key_file
from ops.collect.services.gunicorn import parse_config, read_config, read_progress
from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.nginx import NginxConfig
from ops.facts.snapshot import Snapshot, to_json
from ops.files.bounded_read import open_regular_file
from ops.interpret import logrotate
from ops.interpret.nginx import every, pattern_found
from ops.text.sanitize import without_secrets
from tests.unit.made_snapshot import but

HANGS_FROM_SECONDS = 8.0


@contextmanager
def at_once() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < HANGS_FROM_SECONDS


def test_words_joined_by_dashes_are_searched_for_secrets_once() -> None:
    """A minute for one line of 16 KB that any client can have logged."""
    line = "a-" * 12_000
    with at_once():
        assert without_secrets(line) == line
    assert without_secrets("my-api_password=hunter2 x") == "my-api_password=*** x"
    assert without_secrets("DB_PASSWORD: hunter2") == "DB_PASSWORD: ***"
    assert without_secrets("compass=a bypass=b") == "compass=a bypass=b"


def test_many_beginnings_of_a_key_are_read_once(tmp_path: Path) -> None:
    """Twenty minutes for a file of 1 MiB."""
    path = tmp_path / "key.pem"
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n" * 37_000)
    with at_once():
        key = key_file(str(path))
    assert not isinstance(key, NotSeen)
    assert (key.problem, key.detail) == ("not_pem", "it holds PRIVATE KEY instead")


def test_a_body_in_an_encoding_of_python_s_own_is_read_as_utf_8() -> None:
    with at_once():
        assert kept_body(b"a-" + b"b" * 65_000, "punycode")[0].startswith("a-bbb")
    assert kept_body(rb"\x1b", "unicode_escape") == (r"\x1b", "")


@pytest.mark.parametrize(
    "line",
    [
        b'{"time": ' + b"9" * 4000 + b"}",
        b'{"time": -' + b"9" * 4000 + b"}",
        b'{"time": 1e999}',
        b'{"time": 1764000000, "message": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"time": 1764000000, "level": ' + b'{"a":' * 480 + b"1" + b"}" * 480 + b"}",
    ],
    ids=["large", "small", "infinite", "nested", "nested level"],
)
def test_no_json_line_raises(line: bytes) -> None:
    gunicorn_line(line, 0.0)


def test_a_process_id_that_none_can_have_is_none() -> None:
    line = gunicorn_line(b'{"time": 1764000000, "pid": ' + b"9" * 4000 + b"}", 0.0)
    assert line is not None
    assert line.pid is None


# --- gunicorn's configuration ---


@pytest.mark.parametrize(
    "text",
    [
        "bind = ['a']\n" + "bind = [bind, bind]\n" * 60,
        "bind = 'aaaaaaaa'\n" + "bind = bind + bind\n" * 60,
        "bind = 'aaaaaaaa'\n" + "bind = f'{bind}{bind}'\n" * 60,
        "".join(f"x{n} = 'a' * 1\nx{n} = '{'a' * 3000}'\n" for n in range(18))
        + "bind = ["
        + "x1, " * 400
        + "]",
    ],
    ids=["lists", "strings", "formatted", "one list of many"],
)
def test_names_that_double_each_other_are_not_followed_for_ever(text: str) -> None:
    """Sixty lines were all the memory there is."""
    with at_once():
        config = parse_config("x", text.encode())
    assert config.error is None
    assert not config.assigned["bind"].known
    assert len(to_json(but(gunicorn__config=config))) < 1 << 20


def test_a_value_of_many_names_is_worked_out_once() -> None:
    """Ten minutes for 1 MiB, each name by itself."""
    text = "".join(f"x{n} = " for n in range(3000)) + "[" + "1, " * 1500 + "]"
    with at_once():
        config = parse_config("x", text.encode())
    assert len(config.assigned) == 3000


def test_a_long_chain_of_elif_is_read() -> None:
    config = parse_config("x", b"if a:\n    timeout = 1\n" + b"elif a:\n    timeout = 2\n" * 1500)
    assert config.error is not None or config.assigned["timeout"].value == 2


def test_a_configuration_too_large_for_one_is_not_seen(tmp_path: Path) -> None:
    """Half a gigabyte of memory for 1 MiB; and its beginning alone would be called a syntax error."""
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("x = [" + "1, " * 40_000 + "]")
    assert read_config(str(path)) == NotSeen(reason=f"{path} is larger than 64 KiB")


@pytest.mark.parametrize("kind", ["pipe", "socket name", "device"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    """A pipe in the place of gunicorn.conf.py, of a pidfile or of a record was waited for without end."""
    place = tmp_path / "1.json"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero" if kind == "device" else "/dev/null")
    with at_once():
        assert isinstance(read_config(str(place)), NotSeen)
        assert nginx.read_pidfile(str(place)).unreadable
        assert read_progress(str(tmp_path)) == ()
        assert isinstance(nginx.read_config(None, {}, str(place), ()), NotSeen)


def test_a_record_s_numbers_may_be_anything(tmp_path: Path) -> None:
    start = gunicorn.start_ticks(os.getpid())  # type: ignore[attr-defined]
    (tmp_path / "1.json").write_text(
        f'{{"pid": {os.getpid()}, "start_ticks": {start}, "phase": "x", "completed": 1,'
        f' "in_flight": [{{"path": "/", "since": {"9" * 400}}}]}}'
    )
    records = read_progress(str(tmp_path))
    assert isinstance(records, tuple)
    assert [record.in_flight for record in records] == [()]


@pytest.mark.parametrize(("text", "pid"), [("0", None), ("99999999", None), ("4194304", 4194304), ("12", 12)])
def test_a_pidfile_s_number_is_one_a_process_can_have(tmp_path: Path, text: str, pid: int | None) -> None:
    (tmp_path / "x.pid").write_text(text)
    assert nginx.read_pidfile(str(tmp_path / "x.pid")).pid == pid


# --- nginx's configuration ---


def read(directory: Path, **files: str) -> NginxConfig:
    for name, text in files.items():
        (directory / f"{name}.conf").write_text(text)
    config = nginx.read_config(None, {"prefix": str(directory)}, str(directory / "main.conf"), ())
    assert isinstance(config, NginxConfig), config
    assert to_json(but(nginx_config=config))
    return config


def test_files_that_include_each_other_are_read_once_each(tmp_path: Path) -> None:
    """Twenty levels of two includes each are a million directives, or a day."""
    names = [f"level{number}" for number in range(25)]
    files = {
        name: f"include {after}.conf;\ninclude {after}.conf;\n"
        for name, after in zip(["main", *names], [*names, "main"], strict=False)
    }
    with at_once():
        config = read(tmp_path, **files)
    assert any("included by itself, or too deeply" in error.message for error in config.errors)
    again = read(tmp_path, main="user x;\ninclude main.conf;\nuser y;\n")
    assert [d.args for d in again.directives] == [("x",), ("y",)]
    assert [(error.line, "included by itself" in error.message) for error in again.errors] == [(2, True)]


def test_an_included_pipe_or_device_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    """/dev/zero was read as one line, until the memory was full."""
    os.mkfifo(tmp_path / "pipe.conf")
    (tmp_path / "zero.conf").symlink_to("/dev/zero")
    with at_once():
        config = read(tmp_path, main="include pipe.conf;\ninclude zero.conf;\nuser x;\n")
    assert [d.name for d in config.directives] == ["user"]
    assert [error.line for error in config.errors] == [1, 2]
    assert "not a regular file" in config.errors[0].message


def test_blocks_are_read_to_a_depth(tmp_path: Path) -> None:
    config = read(tmp_path, main="http {" + "location / {" * 200 + "}" * 201)
    assert len(list(every(config, "location"))) == nginx.MAX_DEPTH
    assert "nested deeper than" in config.errors[0].message
    snapshot: Snapshot = but(nginx_config=read(tmp_path, main="a {" * 5000 + "}" * 5000))
    assert to_json(snapshot)


def test_an_included_file_too_large_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    with (tmp_path / "list.conf").open("wb") as file:
        file.truncate(nginx.MAX_FILE_BYTES)
    config = read(tmp_path, main="include list.conf;\nuser x;\n")
    assert [d.name for d in config.directives] == ["user"]
    assert "larger than 4 MiB" in config.errors[0].message


def test_a_file_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"odd\xff.conf")).write_text("user x;\n")
    (directive,) = read(tmp_path, main="include odd*.conf;\n").directives
    assert directive.file == str(tmp_path / "odd\ufffd.conf")


def test_directives_are_counted_each_time_they_are_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nginx, "MAX_DIRECTIVES", 100)
    config = read(tmp_path, main="include many.conf;\n" * 30, many="user x;\n" * 10)
    assert len(config.directives) == 30
    assert [error.message for error in config.errors] == ["there are more than 100 directives"]


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "^(a|a)*b$", "(a*)*b", "a*a*a*a*a*a*a*a*a*b", "(a{1,99}){1,99}b"]
)
def test_a_pattern_that_takes_for_ever_is_not_found(pattern: str) -> None:
    """Python's re holds everything while it searches: no deadline would have ended the run."""
    with at_once():
        assert not pattern_found(pattern, "a" * 250 + "!", ignore_case=False)


@pytest.mark.parametrize(
    ("pattern", "words", "ignore_case", "matches"),
    [
        (r"^(?<sub>.+)\.(?<rest>.+)\.example$", "a.b.example", False, True),
        (r"^/v(?<version>\d+)/", "/v2/predict", False, True),
        (r"\.(png|GIF)$", "a.gif", True, True),
        (r"^(?:bot|Crawl).+/.+$", "crawler/2", True, True),
        (r"^(?:bot|Crawl).+/.+$", "crawler/2", False, False),
        (r"*+*+", "a", False, False),
        (r"(" * 300 + r"+*", "a", False, False),
    ],
)
def test_patterns_are_nginx_s(pattern: str, words: str, ignore_case: bool, matches: bool) -> None:
    assert pattern_found(pattern, words, ignore_case=ignore_case) is matches


def test_the_made_pipe_would_have_been_waited_for(tmp_path: Path) -> None:
    """What the collectors open by, refuses it; the plain way would not have come back."""
    os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular_file(str(tmp_path / "x"))
    assert isinstance(read_config(str(tmp_path / "none.py")), GunicornConfig)


@pytest.mark.parametrize("time", ["00261122T224500", "19691231T235959", "٢٠٢٦1122T224500", "20261322T224500"])
def test_a_backup_s_name_is_one_that_this_program_gives(time: str) -> None:
    assert parse_name(f"gte-ops-host-{time}Z.tar.zst") is None


def test_an_empty_pattern_of_logrotate_s_matches_nothing() -> None:
    (rule,) = logrotate.parse('"" /var/log/x.log {\n}\n', "/etc/logrotate.d/x", {}).rules
    assert rule.patterns == ("", "/var/log/x.log")
    assert logrotate.covers(rule, "/var/log/x.log")
    assert not logrotate.covers(rule, "/var/log/y.log")
