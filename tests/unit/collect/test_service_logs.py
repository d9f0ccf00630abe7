"""Whole logs: long, rotated, hostile, missing."""

import gzip
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ops.collect.logs import lines as log_lines
from ops.collect.logs import tail
from ops.collect.logs.service_logs import MAX_ENTRIES, MAX_OF_ONE_SHAPE, entry_text, error_log, read_logs
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Log, Logs
from ops.facts.target import Target
from ops.interpret.log_place import LogLocation, LogPlaceKind

NOW = 1_795_309_200.0
SINCE = NOW - 900


def read(**paths: Any) -> Logs:
    values: dict[str, Any] = dict.fromkeys(Target.__struct_fields__, None)
    values |= {"nginx_error_logs": (), "origin": {}, "gunicorn_workers": (), **paths}
    return read_logs(Target(**values), SINCE, NOW)


def nginx_log(path: Path) -> Log:
    log = read(nginx_error_logs=(str(path),)).nginx_errors[str(path)]
    assert isinstance(log, Log), log
    return log


def gunicorn_log(path: Path) -> Log:
    log = read(gunicorn_error_log=str(path)).gunicorn_error
    assert isinstance(log, Log), log
    return log


def access_log(path: Path) -> AccessLog:
    log = read(nginx_access_log=str(path)).nginx_access
    assert isinstance(log, AccessLog), log
    return log


def nginx(at: float, text: str) -> str:
    return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(at)) + f" [error] 12#12: {text}\n"


def gunicorn(at: float, text: str, level: str = "ERROR") -> str:
    return time.strftime("[%Y-%m-%d %H:%M:%S +0000]", time.gmtime(at)) + f" [7] [{level}] {text}\n"


def access(at: float, status: int) -> str:
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(at))
    return f'1.2.3.4 - - [{stamp}] "POST /predict HTTP/1.1" {status} 5 "-" "curl"\n'


def texts(log: Log) -> list[str]:
    return [entry.text for entry in log.entries]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_the_window_only(path: Path) -> None:
    path.write_text(nginx(NOW - 5000, "old") + nginx(NOW - 800, "in") + nginx(NOW - 1, "last"))
    log = nginx_log(path)
    assert texts(log) == ["in", "last"]
    assert (log.entries[0].level, log.entries[0].pid, log.entries[0].time) == ("error", 12, NOW - 800)
    assert log.complete
    assert log.size == path.stat().st_size


def test_a_traceback_stays_with_its_line(path: Path) -> None:
    path.write_text(
        gunicorn(NOW - 20, "Exception in worker process")
        + "Traceback (most recent call last):\n"
        + '  File "app.py", line 3\r\n'
        + "ModuleNotFoundError: No module named 'torch'\n"
        + gunicorn(NOW - 19, "Worker exiting (pid: 7)", "INFO")
    )
    first, second = texts(gunicorn_log(path))
    assert first.splitlines() == [
        "Exception in worker process",
        "Traceback (most recent call last):",
        '  File "app.py", line 3',
        "ModuleNotFoundError: No module named 'torch'",
    ]
    assert second == "Worker exiting (pid: 7)"


def test_a_long_traceback_keeps_its_beginning_and_its_end(path: Path) -> None:
    frames = "".join(f'  File "deep.py", line {number}\n' for number in range(5000))
    path.write_text(gunicorn(NOW - 20, "Exception") + "Traceback\n" + frames + "RecursionError: deep\n")
    (text,) = texts(gunicorn_log(path))
    assert text.startswith("Exception\nTraceback\n")
    assert text.endswith("RecursionError: deep")
    assert len(text.splitlines()) <= 61
    assert len(text) <= 4000
    assert "lines …" in text


def test_one_endless_line_keeps_both_ends() -> None:
    text = entry_text(b"Exception", [b"x" * 100_000, b"ValueError: the end"])
    assert text.startswith("Exception")
    assert text.endswith("ValueError: the end")
    assert len(text) <= 4000


def test_hostile_bytes_are_made_harmless(path: Path) -> None:
    junk = bytes(range(256)).replace(b"\n", b"")
    path.write_bytes(
        nginx(NOW - 9, "before").encode()
        + nginx(NOW - 8, "client sent \x1b]0;owned\x07\u202e password=hunter2").encode()
        + junk
        + b"\n"
        + nginx(NOW - 7, "after").encode()
    )
    before, hostile, after = texts(nginx_log(path))
    assert (before, after) == ("before", "after")
    assert "hunter2" not in hostile
    assert all(char.isprintable() or char in "\n\t\ufffd" for char in hostile)


def test_a_key_in_a_log_is_not_kept_even_without_its_beginning() -> None:
    block = [b"-----BEGIN PRIVATE KEY-----", *[b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 2] * 100]
    for lines in ([*block, b"-----END PRIVATE KEY-----"], [*block[50:], b"-----END PRIVATE KEY-----"]):
        assert "MIIEvQIB" not in entry_text(b"loaded", lines)


def test_a_flood_does_not_crowd_out_the_one_line_that_matters(path: Path) -> None:
    with path.open("w") as file:
        file.write(nginx(NOW - 800, "connect() failed (111: Connection refused)"))
        for number in range(10_000):
            file.write(nginx(NOW - 700, f"*{number} limiting requests, excess: 10.{number % 1000}"))
    log = nginx_log(path)
    assert texts(log)[0].startswith("connect() failed")
    assert len(log.entries) <= 2 * MAX_OF_ONE_SHAPE + 1
    assert not log.complete


def test_the_newest_entries_are_kept(path: Path) -> None:
    with path.open("w") as file:
        for number in range(3 * MAX_ENTRIES):
            file.write(nginx(NOW - 700 + number / 100, f"{chr(97 + number % 26)}{'x' * (number % 50)}"))
        file.write(nginx(NOW, "newest"))
    log = nginx_log(path)
    assert len(log.entries) == MAX_ENTRIES
    assert texts(log)[-1] == "newest"
    assert not log.complete


def test_a_log_of_two_gigabytes_costs_what_its_end_costs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with path.open("wb") as file:
        file.truncate(2 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + nginx(NOW - 1, "last").encode())
    sizes = []
    steps = tail.LogTail._backwards

    def counted(self: tail.LogTail, file: Any) -> Any:
        yield from steps(self, file)
        sizes.append(self.limit - self._left)

    monkeypatch.setattr(tail.LogTail, "_backwards", counted)
    log = nginx_log(path)
    assert texts(log) == ["last"]
    assert not log.complete
    assert sizes == [log_lines.MAX_BYTES]


def test_lines_across_the_steps_of_reading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [f"entry {number} {'y' * (number % 37)}." for number in range(300)]
    path.write_text("".join(nginx(NOW - 300 + number, text) for number, text in enumerate(expected)))
    for step in (1, 7, 64, 1000):
        monkeypatch.setattr(tail, "STEP_BYTES", step)
        assert texts(nginx_log(path)) == expected
    monkeypatch.setattr(tail, "STEP_BYTES", 64)
    monkeypatch.setattr(log_lines, "MAX_BYTES", 1000)
    cut = nginx_log(path)
    assert texts(cut) == expected[-len(cut.entries) :]
    assert not cut.complete


def test_the_rotated_file_is_read_where_the_window_reaches_into_it(path: Path) -> None:
    path.write_text(nginx(NOW - 10, "new"))
    rotated = path.with_name("log.1")
    rotated.write_text(nginx(NOW - 5000, "old") + nginx(NOW - 600, "rotated"))
    os.utime(rotated, (NOW - 600, NOW - 600))
    log = nginx_log(path)
    assert texts(log) == ["rotated", "new"]
    assert log.complete
    os.utime(rotated, (NOW - 5000, NOW - 5000))
    assert texts(nginx_log(path)) == ["new"]
    assert nginx_log(path).complete


def test_a_rotated_file_wholly_within_the_window(path: Path) -> None:
    path.write_text(nginx(NOW - 10, "new"))
    rotated = path.with_name("log.1")
    rotated.write_text(nginx(NOW - 600, "rotated"))
    os.utime(rotated, (NOW - 600, NOW - 600))
    assert texts(nginx_log(path)) == ["rotated", "new"]
    assert nginx_log(path).complete


def test_a_long_log_whose_end_holds_the_window_is_complete(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "MAX_BYTES", 4000)
    old = "".join(nginx(NOW - 5000, f"old {number}") + access(NOW - 5000, 200) for number in range(500))
    path.write_text(old + nginx(NOW - 10, "new") + access(NOW - 10, 200))
    assert nginx_log(path).complete
    assert access_log(path).complete
    path.write_text((nginx(NOW - 10, "new") + access(NOW - 10, 200)) * 500)
    assert not nginx_log(path).complete
    assert not access_log(path).complete


def test_a_window_that_reaches_into_a_compressed_file_is_not_complete(path: Path) -> None:
    path.write_text(nginx(NOW - 10, "new"))
    packed = path.with_name("log.1.gz")
    packed.write_bytes(b"\x1f\x8b")
    os.utime(packed, (NOW - 600, NOW - 600))
    assert not nginx_log(path).complete


def test_an_empty_log_is_no_failure(path: Path) -> None:
    path.touch()
    log = nginx_log(path)
    assert (log.entries, log.complete) == ((), True)
    assert (access_log(path).requests, access_log(path).complete) == (0, True)


def test_a_log_in_another_format_is_not_called_empty(path: Path) -> None:
    path.write_text("hello\nworld\n")
    logs = read(nginx_error_logs=(str(path),), nginx_access_log=str(path), gunicorn_error_log=str(path))
    for log in (logs.nginx_errors[str(path)], logs.nginx_access, logs.gunicorn_error):
        assert isinstance(log, NotSeen)
        assert "understood" in log.reason


def test_requests_are_counted_by_status(path: Path) -> None:
    rows = [access(NOW - 5000, 500), *(access(NOW - 100 + n, 502 if n % 3 == 0 else 200) for n in range(9))]
    path.write_text("".join(rows) + "broken line\n")
    log = access_log(path)
    assert (log.requests, log.statuses, log.last) == (9, {"200": 6, "502": 3}, NOW - 92)
    assert log.complete


@pytest.mark.parametrize(
    "name", ["off", "-", "stderr", "syslog:server=unix:/dev/log", "/dev/stderr", "/dev/null"]
)
def test_what_goes_elsewhere_is_said(name: str) -> None:
    log = read(nginx_error_logs=(name,)).nginx_errors[name]
    assert isinstance(log, NotSeen)
    assert "it " in log.reason


def test_a_link_to_a_stream_is_not_this_programs_own(path: Path) -> None:
    path.symlink_to("/dev/stderr")
    log = read(nginx_access_log=str(path)).nginx_access
    assert isinstance(log, NotSeen)
    assert "stream" in log.reason


def test_what_cannot_be_read_is_not_seen(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        (tmp_path / "no.log", "no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "pipe", "not a regular file"),
    ):
        log = read(gunicorn_error_log=str(name)).gunicorn_error
        assert isinstance(log, NotSeen)
        assert words in log.reason
    assert isinstance(read().gunicorn_access, NotSeen)


def bytes_read() -> int:
    """What this process has read by system calls so far (proc(5), /proc/pid/io)."""
    rows = dict(row.split(": ") for row in Path("/proc/self/io").read_text().splitlines())
    return int(rows["rchar"])


@pytest.mark.skipif(not os.access("/proc/self/io", os.R_OK), reason="the kernel keeps no such account")
def test_of_long_logs_a_few_megabytes_are_read(tmp_path: Path) -> None:
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(NOW - 60))
    kinds = {
        "nginx_access_log": f'10.0.0.7 - - [{stamp}] "POST /predict HTTP/1.1" 200 312 "-" "curl/8"\n',
        "gunicorn_access_log": f'10.0.0.7 - - [{stamp}] "POST /predict HTTP/1.1" 200 312 "-" "curl/8"\n',
        "gunicorn_error_log": gunicorn(NOW - 60, "Worker exiting"),
    }
    for name, line in kinds.items():
        with (tmp_path / name).open("wb") as file:
            # The head has no blocks on the disk; the tail, all of it recent, is more than will be read.
            file.truncate(200 << 20)
            file.seek(0, os.SEEK_END)
            file.write(b"\n" + line.encode() * ((log_lines.MAX_BYTES + (1 << 20)) // len(line)))
    before = bytes_read()
    logs = read(**{name: str(tmp_path / name) for name in kinds})
    size = bytes_read() - before
    assert isinstance(logs.nginx_access, AccessLog)
    assert logs.nginx_access.requests > 1000
    assert not logs.nginx_access.complete
    assert isinstance(logs.gunicorn_error, Log)
    assert logs.gunicorn_error.entries
    assert size <= len(kinds) * log_lines.MAX_BYTES + (1 << 20)


PRELOAD = b"""Traceback (most recent call last):
  File "/v/bin/gunicorn", line 8, in <module>
    sys.exit(run())
  File "/v/site-packages/gunicorn/arbiter.py", line 63, in __init__
    self.setup(app)
  File "/v/site-packages/gunicorn/arbiter.py", line 163, in setup
    self.app.wsgi()
  File "/srv/broken.py", line 2, in <module>
    import nothing
ModuleNotFoundError: No module named 'nothing'
"""


@pytest.mark.parametrize("times", [1, 3, 40])
@pytest.mark.parametrize("before", [b"", b"[2026-11-01 00:00:00 +0000] [7] [INFO] Shutting down: Master\n"])
def test_a_master_that_could_not_load_the_application_is_an_entry_of_its_own(
    tmp_path: Path, before: bytes, times: int
) -> None:
    """Python's own traceback has no time: it is the last thing in the log, and so as old as its last change."""
    path = tmp_path / "error.log"
    path.write_bytes(before + PRELOAD * times)
    log = error_log(
        LogLocation(LogPlaceKind.FILE, str(path)),
        path.stat().st_mtime - 900,
        path.stat().st_mtime + 5,
        "gunicorn",
    )
    assert isinstance(log, Log)
    (entry,) = log.entries
    assert entry.time == path.stat().st_mtime
    assert entry.text.splitlines()[0] == "Traceback (most recent call last):"
    assert 'arbiter.py", line 163, in setup' in entry.text
    assert entry.text.endswith("ModuleNotFoundError: No module named 'nothing'")
    old = error_log(
        LogLocation(LogPlaceKind.FILE, str(path)),
        path.stat().st_mtime + 60,
        path.stat().st_mtime + 960,
        "gunicorn",
    )
    assert not isinstance(old, Log) or old.entries == ()


def _rotated(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    os.utime(path, (NOW - 100, NOW - 100))


@pytest.mark.parametrize("ending", [".1", ".1.gz", "-20261122", "-20261122.gz", "-20261122-1795309100.gz"])
def test_a_log_that_was_just_rotated_is_read_on_in_the_one_before(tmp_path: Path, ending: str) -> None:
    stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(NOW - 200)).encode()
    log = tmp_path / "error.log"
    log.write_bytes(b"")
    _rotated(tmp_path / f"error.log{ending}", stamp + b" [error] 7#7: before the rotation\n")
    _rotated(tmp_path / "error.log-other", stamp + b" [error] 7#7: no rotated log\n")
    facts = nginx_log(log)
    assert [(e.text, e.time) for e in facts.entries] == [("before the rotation", NOW - 200)]
    assert facts.complete


def test_a_rotated_log_that_unpacks_to_too_much_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_UNPACKED_BYTES", 1 << 20)
    log = tmp_path / "error.log"
    log.write_bytes(b"")
    _rotated(tmp_path / "error.log.1.gz", bytes(2 << 20))
    assert not nginx_log(log).complete
    (tmp_path / "error.log.1.gz").write_bytes(b"no gzip")
    os.utime(tmp_path / "error.log.1.gz", (NOW, NOW))
    assert not nginx_log(log).complete
