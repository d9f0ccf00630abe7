"""The access log's lines of requests without a thread are those that gunicorn writes."""

import logging
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped,unused-ignore]
from gunicorn.glogging import Logger  # type: ignore[import-untyped,unused-ignore]

from service.http import access_log

ENVIRON = {
    "REQUEST_METHOD": "POST",
    "RAW_URI": "/predict",
    "gte.path": "/predict",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.1",
    "HTTP_USER_AGENT": 'a "quoted" agent',
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def logger(file: Path, **changes: Any) -> Any:
    configuration = Config()
    for name, value in {"accesslog": str(file), "access_log_format": access_log.FORMAT, **changes}.items():
        configuration.set(name, value)
    log = Logger(configuration)
    # Without those that pytest adds.
    log.access_log.handlers = [one for one in log.access_log.handlers if type(one) is logging.FileHandler]
    return log


@dataclass
class Given:
    """An answer."""

    environ: dict[str, str]
    status: str = "503 Service Unavailable"
    size: int = 99
    identity: str = "mine.1"

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Request-ID": self.identity}


def write(log: Any, environ: dict[str, str] = ENVIRON, times: int = 1) -> None:
    lines = access_log.Lines(log)
    for _ in range(times):
        lines.add(Given(environ), 0.0012)
    lines.write()


@pytest.mark.parametrize("more", [{}, {"gte.key": "mobile-app"}, {"REMOTE_ADDR": ""}, {"gte.path": '/a"b'}])
def test_a_line_is_that_of_gunicorn(file: Path, more: dict[str, str]) -> None:
    environ = {**ENVIRON, **more}
    log = logger(file)
    write(log, environ)
    answer = SimpleNamespace(status="503 Service Unavailable", sent=99, headers={"X-Request-ID": "mine.1"})
    log.access(answer, {}, environ, timedelta(microseconds=1200))
    ours, theirs = (re.sub(r"\[.*?\]", "", line) for line in file.read_text().splitlines())
    assert ours == theirs
    assert "[" in file.read_text()


def test_every_answer_has_its_line_and_none_two(file: Path) -> None:
    log = logger(file)
    lines = access_log.Lines(log)
    for number in range(5):
        lines.add(Given(ENVIRON, identity=f"mine.{number}"), 0.0)
    assert file.read_text() == ""
    lines.write()
    lines.write()
    assert re.findall(r"mine\.[0-9]", file.read_text()) == [f"mine.{number}" for number in range(5)]


def test_a_deployments_own_format_or_handler_is_gunicorns_to_write(file: Path) -> None:
    write(logger(file, access_log_format="%(m)s %(s)s"), times=2)
    assert file.read_text() == "POST 503\n" * 2
    log = logger(file)
    log.access_log.addHandler(other := Kept())
    try:
        write(log, times=2)
    finally:
        log.access_log.removeHandler(other)
    assert len(other.records) == 2


class Kept(logging.Handler):
    """As syslog's: it wants records, not lines."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "utf-8"])
def test_no_line_is_lost_whatever_the_encoding_of_the_log(file: Path, encoding: str) -> None:
    """A client sends any bytes as its name; the log is opened in the locale of the start."""
    log = logger(file)
    (handler,) = log.access_log.handlers
    handler.stream.close()
    with file.open("w", encoding=encoding) as handler.stream:
        lines = access_log.Lines(log)
        for agent in ("curl", "M\xe4", "\u00ff\u4e2d"):
            lines.add(Given({**ENVIRON, "HTTP_USER_AGENT": agent}), 0.0)
        lines.write()
    assert len(file.read_text(encoding).splitlines()) == 3


def test_a_log_that_cannot_be_written_fails_no_request(file: Path) -> None:
    log = logger(file)
    log.access_log.handlers[0].stream.close()
    write(log)
