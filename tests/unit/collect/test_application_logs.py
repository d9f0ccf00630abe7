"""The application's own logs: the files that a worker has open, with times in their lines and without."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.collect.logs.application_logs import application_logs
from ops.facts.logs import Log

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/app.py", line 20, in orders
    return RATES[currency]
KeyError: 'CNY'
"""
NOT_FOUND = """Traceback (most recent call last):
  File "/x/flask/app.py", line 1, in dispatch
    raise NotFound
werkzeug.exceptions.NotFound: 404 Not Found
"""


def logs(path: Path, *other_logs: str) -> tuple[Log, ...]:
    now = time.time()
    all_logs = application_logs([os.getpid()], other_logs, now - 900, now + 1, now - 60)
    return tuple(log for log in all_logs if log.path.startswith(str(path)))


@pytest.fixture
def own_log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "shop.log"
    with path.open("a"):  # as a worker has it
        yield path


def test_a_log_of_the_application_is_read(tmp_path: Path, own_log: Path) -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    own_log.write_text(f"{stamp},120 ERROR in app: Exception on /orders [POST]\n{TRACEBACK}")
    (log,) = logs(tmp_path)
    assert "Exception on /orders" in log.entries[0].text
    assert log.entries[0].text.endswith("KeyError: 'CNY'")


def test_tracebacks_without_times_are_of_the_last_failure(tmp_path: Path, own_log: Path) -> None:
    own_log.write_text(TRACEBACK * 3 + NOT_FOUND)
    (log,) = logs(tmp_path)
    (entry,) = log.entries
    assert entry.text.splitlines()[0] == "Traceback (most recent call last):"
    assert entry.text.endswith("KeyError: 'CNY'")
    assert entry.time <= time.time() - 59


def test_what_is_known_already_and_what_says_nothing_are_left_out(tmp_path: Path, own_log: Path) -> None:
    own_log.write_text(TRACEBACK)
    assert logs(tmp_path, str(own_log)) == ()
    own_log.write_text("a line\n")
    assert logs(tmp_path) == ()


def test_a_file_that_is_not_open_or_is_old_is_none(tmp_path: Path, own_log: Path) -> None:
    (tmp_path / "other.log").write_text(TRACEBACK)
    own_log.write_text(TRACEBACK)
    os.utime(own_log, (1.0, 1.0))
    assert logs(tmp_path) == ()
