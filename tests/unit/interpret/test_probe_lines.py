"""The log lines that belong to one of the doctor's own requests."""

from __future__ import annotations

from typing import Any

import msgspec

from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.probes import Exchange
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import LoggedRequest
from ops.interpret.probe_lines import (
    MAX_REFUSED,
    is_of_earlier_run,
    latest_trouble,
    lines_of_probe,
    of_others,
)
from tests.unit.made_snapshot import (
    GUNICORN_ACCESS_LOG,
    GUNICORN_ERROR_LOG,
    NGINX_ACCESS_LOG,
    NGINX_ERROR_LOG,
    NOW,
    PREDICT,
    access_log,
    but,
    entry,
    exchange,
    gunicorn_log,
    nginx_logs,
    traffic,
)

FAILED = exchange(502, "<h1>502 Bad Gateway</h1>", kind="text/html", **PREDICT)
OF_NGINX = (
    "*{} connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1, server: x, "
    'request: "{} HTTP/1.1", upstream: "http://127.0.0.1:8000/predict"'
)


def logged(
    line: str, *, ago: float = 0.0, status: str = "502", path: str = "/predict", request_id: str = ""
) -> LoggedRequest:
    return LoggedRequest(
        time=NOW - ago, method="POST", path=path, status=status, line=line, request_id=request_id
    )


def logs(
    nginx: tuple[LoggedRequest, ...] = (), gunicorn: tuple[LoggedRequest, ...] = (), **changes: Any
) -> Logs:
    def log(path: str, probes: tuple[LoggedRequest, ...]) -> object:
        return msgspec.structs.replace(access_log(path, {}), traffic=traffic(probes=probes))

    snapshot: Snapshot = but(
        logs__nginx_access=log(NGINX_ACCESS_LOG, nginx),
        logs__gunicorn_access=log(GUNICORN_ACCESS_LOG, gunicorn),
        **changes,
    )
    assert isinstance(snapshot.logs, Logs)
    return snapshot.logs


def lines(facts: Logs, answer: Exchange = FAILED) -> list[tuple[str, str]]:
    return [(line.path, line.line) for line in lines_of_probe(facts, answer, NOW + 0.4)]


def test_its_line_in_each_access_log() -> None:
    facts = logs((logged("at nginx"),), (logged("at gunicorn", status="500"),))
    assert lines(facts) == [(NGINX_ACCESS_LOG, "at nginx"), (GUNICORN_ACCESS_LOG, "at gunicorn")]


def test_not_those_of_an_earlier_run_or_another_path() -> None:
    assert lines(logs((logged("earlier", ago=30), logged("another", path="/health")))) == []


def test_of_several_the_one_with_the_answers_status() -> None:
    assert lines(logs((logged("this"), logged("past nginx", status="200")))) == [(NGINX_ACCESS_LOG, "this")]


def test_the_answers_id_decides() -> None:
    answer = msgspec.structs.replace(FAILED, headers=(*FAILED.headers, ("X-Request-ID", "abc")))
    facts = logs((logged("this", request_id="abc"), logged("another", request_id="def")))
    assert lines(facts, answer) == [(NGINX_ACCESS_LOG, "this")]


def test_what_the_error_logs_say_of_it() -> None:
    facts = logs(
        logs__nginx_errors=nginx_logs(
            entry(OF_NGINX.format(7, "POST /predict"), ago=0),
            entry(OF_NGINX.format(6, "POST /predict"), ago=90),
            entry(OF_NGINX.format(8, "GET /health"), ago=0),
        ),
        logs__gunicorn_error=gunicorn_log(
            entry("Exception on /predict [POST]\nTraceback (most recent call last):\nValueError: no", ago=0),
            entry("Using worker: sync", level="info", ago=0),
        ),
    )
    assert lines(facts) == [
        (NGINX_ERROR_LOG, OF_NGINX.format(7, "POST /predict")),
        (GUNICORN_ERROR_LOG, "Exception on /predict [POST] … ValueError: no"),
    ]


def test_where_nothing_belongs_to_it_the_newest_trouble_of_each_log() -> None:
    facts = logs(
        logs__nginx_errors=nginx_logs(
            entry("older", ago=90), entry("newer", ago=60), entry("said", level="info")
        ),
        logs__gunicorn_error=gunicorn_log(),
    )
    assert [(line.path, line.line) for line in latest_trouble(facts)] == [(NGINX_ERROR_LOG, "newer")]
    assert isinstance(facts.gunicorn_error, Log)


# --- whose requests they are ---


def limited(ago: float, client: str = "127.0.0.1", request: str = "POST /predict") -> LogEntry:
    words = f'limiting requests, excess: 1.0 by zone "a", client: {client}, server: x, request: "{request} HTTP/1.1"'
    return entry(words, ago=ago, level="error")


def test_what_this_run_had_refused_is_of_no_other() -> None:
    own, user, before = limited(0), limited(0, "203.0.113.9"), limited(60)
    assert of_others([before, own, user], logs(), NOW) == [before, user]


def test_more_than_one_run_asks_for_is_of_others() -> None:
    many = [limited(0)] * (MAX_REFUSED + 1)
    assert of_others(many[1:], logs(), NOW) == []
    assert of_others(many, logs(), NOW) == many


def test_what_an_earlier_run_had_refused_is_known_by_the_access_log() -> None:
    facts = logs((logged("", ago=60, status="429"),))
    assert of_others([limited(60)], facts, NOW) == []
    for other in (limited(50), limited(60, request="POST /other"), limited(60, request="GET /predict")):
        assert of_others([other], facts, NOW) == [other]
    assert is_of_earlier_run(limited(60), facts, NOW)
    assert not is_of_earlier_run(limited(60), facts, NOW - 100), "this run itself"


def test_another_client_or_a_request_that_passed_is_no_earlier_run_s() -> None:
    facts = logs((logged("", ago=60, status="200"),))
    assert of_others([limited(60)], facts, NOW) == [limited(60)]
    elsewhere = msgspec.structs.replace(logged("", ago=60, status="429"), client="10.0.0.1")
    assert of_others([limited(60)], logs((elsewhere,)), NOW) == [limited(60)]


def test_a_probe_of_this_run_explains_no_line_before_it() -> None:
    """Clients on this machine were turned away a second before the doctor was."""
    facts = logs(nginx=(logged("", ago=0.0, status="429"),))
    assert of_others([limited(1)], facts, NOW) == [limited(1)]
    assert not is_of_earlier_run(limited(1), facts, NOW)
