"""The access log's lines of requests without a thread are those that gunicorn writes."""

import logging
import re
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


@pytest.mark.parametrize("more", [{}, {"gte.key": "mobile-app"}, {"REMOTE_ADDR": ""}, {"gte.path": '/a"b'}])
def test_a_line_is_that_of_gunicorn(file: Path, more: dict[str, str]) -> None:
    environ = {**ENVIRON, **more}
    log = logger(file)
    assert access_log.write(log, access_log.line(environ, "503 Service Unavailable", 99, 0.0012, "mine.1"))
    answer = SimpleNamespace(status="503 Service Unavailable", sent=99, headers={"X-Request-ID": "mine.1"})
    log.access(answer, {}, environ, timedelta(microseconds=1200))
    ours, theirs = (re.sub(r"\[.*?\]", "", line) for line in file.read_text().splitlines())
    assert ours == theirs
    assert "[" in file.read_text()


def test_a_deployments_own_format_or_handler_is_gunicorns_to_write(file: Path) -> None:
    assert not access_log.write(logger(file, access_log_format="%(h)s"), "x")
    log = logger(file)
    log.access_log.addHandler(other := logging.NullHandler())
    try:
        assert not access_log.write(log, "x")
    finally:
        log.access_log.removeHandler(other)
    assert file.read_text() == ""


def test_a_log_that_cannot_be_written_fails_no_request(file: Path) -> None:
    log = logger(file)
    log.access_log.handlers[0].stream.close()
    assert access_log.write(log, "x")
