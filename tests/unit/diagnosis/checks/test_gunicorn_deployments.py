"""Restarts of gunicorn, and the requests that they cut off."""

from __future__ import annotations

from typing import Any

import pytest

from ops.facts.logs import LogEntry
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import GUNICORN_CONF, but, entry, gunicorn_config, gunicorn_log, nginx_logs

CLOSED = "upstream prematurely closed connection"
RESET = "recv() failed (104: Connection reset by peer)"


def lost(
    ago: float, *, said: str = CLOSED, at: str = "reading response header from upstream", site: str = ""
) -> LogEntry:
    server = site or "gte-api.example.com"
    return entry(
        f"*7 {said} while {at}, client: 192.0.2.7, server: {server},"
        f' request: "GET /report/17 HTTP/1.1", upstream: "http://127.0.0.1:8000/report/17", host: "{server}"',
        ago=ago,
    )


def stopped(*ago: float, signal: str = "term") -> tuple[LogEntry, ...]:
    return tuple(entry(f"Handling signal: {signal}", ago=at, level="info") for at in ago)


def restarted(stops: tuple[LogEntry, ...], cut: tuple[LogEntry, ...], **settings: Any) -> Snapshot:
    """gunicorn was told to end, nginx lost these requests, and these are gunicorn's settings now."""
    return but(
        logs__gunicorn_error=gunicorn_log(*stops),
        logs__nginx_errors=nginx_logs(*cut),
        gunicorn__config=gunicorn_config(**settings),
    )


CASES = [
    fires(
        "GUN040",
        "a request is cut off when five seconds are over",
        restarted(stopped(60), (lost(55),), graceful_timeout=5),
        "Handling signal: term",
        "/report/17",
        "graceful_timeout = 5",
        severity="warn",
        facts={"count": "1", "where": f"{GUNICORN_CONF}:1"},
    ),
    fires("GUN040", "a reload", restarted(stopped(60, signal="hup"), (lost(54),), graceful_timeout=5)),
    fires(
        "GUN040",
        "the connection is reset",
        restarted(stopped(60), (lost(54, said=RESET),), graceful_timeout=5),
    ),
    fires(
        "GUN040",
        "gunicorn's own wait, at each of two deployments",
        restarted(stopped(600, 90), (lost(570), lost(59))),
    ),
    quiet("GUN040", "gunicorn's own wait, once", restarted(stopped(90), (lost(59),))),
    quiet("GUN040", "it waits longer by now", restarted(stopped(60), (lost(55),), graceful_timeout=30)),
    quiet("GUN040", "the worker died long before", restarted(stopped(60), (lost(59),), graceful_timeout=5)),
    quiet("GUN040", "nobody told it to end", restarted((), (lost(55),), graceful_timeout=5)),
    quiet("GUN040", "it was told long before", restarted(stopped(400), (lost(55),), graceful_timeout=5)),
    quiet(
        "GUN040",
        "a stream, which ends with the service that sends it",
        restarted(stopped(60), (lost(55, at="reading upstream"),), graceful_timeout=5),
    ),
    quiet(
        "GUN040",
        "another site's request",
        restarted(stopped(60), (lost(55, site="other.example"),), graceful_timeout=5),
    ),
    *(
        quiet(
            "GUN040",
            f"a worker ended by itself then: {said}",
            restarted((*stopped(60, signal=signal), entry(said, ago=55.2)), (lost(55),), graceful_timeout=5),
        )
        for signal, said in (
            ("hup", "Worker (pid:905) was sent SIGKILL! Perhaps out of memory?"),
            ("hup", "Worker with pid 905 was terminated due to signal 9"),
            ("hup", "WORKER TIMEOUT (pid:905)"),
            ("term", "Worker (pid:905) was sent SIGSEGV!"),
            ("hup", "Worker (pid:905) exited with code 1"),
        )
    ),
    *(
        fires(
            "GUN040",
            f"the stop itself ended it: {said}",
            restarted((*stopped(60), entry(said, ago=55.2)), (lost(55),), graceful_timeout=5),
        )
        for said in (
            "Worker (pid:905) was sent SIGKILL! Perhaps out of memory?",
            "Worker (pid:905) was sent SIGTERM!",
            "Worker exiting (pid: 905)",
        )
    ),
    fires(
        "GUN040",
        "another worker's end, long before",
        restarted((entry("WORKER TIMEOUT (pid:7)", ago=90), *stopped(60)), (lost(55),), graceful_timeout=5),
    ),
    quiet("GUN040", "nobody was cut off", restarted(stopped(60), (), graceful_timeout=5)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_judge_is_right(case: Case) -> None:
    hold(case)


def test_the_wait_is_made_longer_in_the_file() -> None:
    finding = found(restarted(stopped(60), (lost(55),), graceful_timeout=5))["GUN040"]
    assert f"sed -i --follow-symlinks '1s#=.*#= 30#' {GUNICORN_CONF}" in (finding.fix or ())
