"""Bad input costs a clear line each: never a traceback, never the escape bytes on the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab.stack import Report, Stack

ESCAPES = b"\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\x00\xff"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def text_report(stack: Stack, *arguments: str, **environment: str) -> Report:
    """The text report, as a person gets it."""
    return stack.gte_ops("doctor", "--config", str(stack.config_file), *arguments, environment=environment)


def assert_clean(ran: Report) -> None:
    """No traceback, no control characters but line ends."""
    for words in (ran.stdout, ran.stderr):
        assert "Traceback" not in words
        assert not [c for c in words if ord(c) < 32 and c != "\n"], words
        assert "\x9b" not in words
        assert "\x7f" not in words


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[target]\ndomian = 'x'\n", "unknown key target.domian; did you mean target.domain?"),
        (b"[doctor]\nbudget = 'soon'\n", "doctor.budget"),
        (b"[nginx]\nbinary = 7\n", "nginx.binary"),
        (b"[target\n", "not valid TOML"),
        (b"\xff\xfe", "UTF-8"),
        (b'"\\u001b[31mred" = 1\n', "unknown key"),
    ],
    ids=["unknown key", "bad duration", "wrong type", "broken TOML", "not UTF-8", "escapes in a key"],
)
def test_a_bad_configuration_is_one_line_and_exit_3(stack: Stack, content: bytes, told: str) -> None:
    file = stack.run / "bad.toml"
    file.write_bytes(content)
    ran = stack.gte_ops("doctor", "--config", str(file))
    assert ran.exit_code == 3
    assert ran.stdout == ""
    assert told in ran.stderr
    assert str(file) in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert_clean(ran)


def test_a_configuration_that_is_not_there_is_one_line_and_exit_3(stack: Stack) -> None:
    ran = stack.gte_ops("doctor", "--config", "/nowhere/gte-ops.toml")
    assert (ran.exit_code, ran.stdout, len(ran.stderr.splitlines())) == (3, "", 1)
    assert "no such file" in ran.stderr


def test_a_log_with_terminal_escapes_reaches_no_terminal_raw(stack: Stack) -> None:
    with stack.gunicorn_error_log.open("ab") as log:
        log.write(b"[2099-01-01 00:00:00 +0000] [1] [CRITICAL] WORKER TIMEOUT (pid:1) " + ESCAPES + b"\n")
        log.write(_now_entry(b"WORKER TIMEOUT (pid:2) " + ESCAPES))
    ran = text_report(stack)
    assert "GUN004" in ran.stdout
    assert_clean(ran)
    document = stack.doctor()
    assert document.first == "GUN004"
    assert "\\u001b" not in document.stdout
    stack.gunicorn_error_log.write_bytes(b"")


def test_an_unreadable_log_is_said_and_nothing_else_suffers(stack: Stack) -> None:
    kept = stack.gunicorn_error_log.read_bytes()
    stack.gunicorn_error_log.unlink()
    stack.gunicorn_error_log.mkdir()  # a directory is unreadable as a file, to root too
    try:
        ran = stack.doctor()
    finally:
        stack.gunicorn_error_log.rmdir()
        stack.gunicorn_error_log.write_bytes(kept)
    skipped = {
        check["id"]: check["skipped_because"] for check in ran.report["checks"] if check["skipped_because"]
    }
    assert "gunicorn.timeouts" in skipped
    assert str(stack.gunicorn_error_log) in skipped["gunicorn.timeouts"]
    # gunicorn does have a log open that is no longer where it was.
    assert (ran.exit_code, ran.codes) == (1, ["OPS002"])
    assert_clean(ran)


def test_a_certificate_file_full_of_junk_is_one_clear_cause(stack: Stack) -> None:
    kept = stack.certificate.read_bytes()
    stack.certificate.resolve().write_bytes(ESCAPES + os.urandom(4096))
    try:
        ran = text_report(stack)
    finally:
        stack.certificate.resolve().write_bytes(kept)
    assert "TLS012" in ran.stdout
    assert str(stack.certificate) in ran.stdout
    assert_clean(ran)


def test_a_key_never_appears_in_a_report(stack: Stack) -> None:
    key = stack.issued.key_pem
    with stack.nginx_error_log.open("ab") as log:
        log.write(key)
    ran = stack.doctor()
    secret = key.decode().splitlines()[1]
    assert secret not in ran.stdout + ran.stderr


def test_colours_only_on_a_terminal(stack: Stack) -> None:
    piped = text_report(stack)
    assert_clean(piped)
    command = [sys.executable, "-m", "ops.cli", "doctor", "--config", str(stack.config_file)]
    on_terminal = _on_a_terminal(command, stack.environment() | {"TERM": "xterm-256color"}, stack)
    assert b"\x1b[" in on_terminal
    assert b"\x1b[" not in _on_a_terminal(
        command, stack.environment() | {"TERM": "xterm-256color", "NO_COLOR": "1"}, stack
    )


def test_the_reader_s_language(stack: Stack) -> None:
    assert "正常" in text_report(stack, LC_ALL="", LANG="zh_CN.UTF-8").stdout
    assert "正常" in text_report(stack, "--lang", "zh").stdout
    assert "正常" not in text_report(stack, LC_ALL="", LANG="de_DE.UTF-8").stdout
    assert "正常" not in text_report(stack, "--lang", "en", LC_ALL="", LANG="zh_CN.UTF-8").stdout


@pytest.mark.parametrize(
    "arguments",
    [["--format", "xml"], ["--since", "yesterday"], ["--budget", "0s"], ["--only", "GUN01"], ["--nonsense"]],
    ids=lambda arguments: " ".join(arguments),
)
def test_misuse_is_one_line_and_exit_3(stack: Stack, arguments: list[str]) -> None:
    ran = text_report(stack, *arguments)
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert len(ran.stderr.splitlines()) == 1
    assert_clean(ran)


def _now_entry(text: bytes) -> bytes:
    ran = subprocess.run(["date", "-u", "+%Y-%m-%d %H:%M:%S +0000"], capture_output=True, check=True)
    return b"[" + ran.stdout.strip() + b"] [1] [CRITICAL] " + text + b"\n"


def _on_a_terminal(command: list[str], environment: dict[str, str], stack: Stack) -> bytes:
    """What a command writes when its standard output is a terminal."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command, cwd=stack.directory, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not part:
                break
            written += part
        process.wait(30)
    os.close(ours)
    return written
