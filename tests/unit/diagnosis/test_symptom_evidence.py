"""Evidence before verdict: a symptom that no cause explains is never without something to read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.diagnosis.model import Symptom
from ops.diagnosis.symptom_evidence import answer_words
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Exchange
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import LoggedRequest
from tests.unit.made_snapshot import (
    AT_BACKEND,
    BACKEND,
    GUNICORN_ERROR_LOG,
    NGINX_ACCESS_LOG,
    NGINX_ERROR_LOG,
    NOW,
    PREDICT,
    PREDICTION,
    SITE_FILE,
    URL,
    access_log,
    but,
    entry,
    exchange,
    gunicorn_log,
    nginx_logs,
    page,
    traffic,
)

TEAPOT = exchange(418, '{"title": "I am a teapot", "detail": "short and stout", "trace": "x"}', **PREDICT)
LINE = '127.0.0.1 - - [22/Nov/2026:01:00:00 +0000] "POST /predict HTTP/1.1" 418 70 "-" "gte-ops-doctor/1"'
AT_PREDICT = {**PREDICT, **AT_BACKEND}


def unexplained(snapshot: Snapshot) -> Symptom:
    diagnosis = diagnose(snapshot, CHECKS)
    (symptom,) = (item for item in diagnosis.symptoms if not item.explained_by)
    return symptom


def logged_teapot(**changes: Any) -> Snapshot:
    probe = LoggedRequest(time=NOW, method="POST", path="/predict", status="418", line=LINE)
    log = msgspec.structs.replace(access_log(NGINX_ACCESS_LOG, {}), traffic=traffic(probes=(probe,)))
    return but(front__predict=TEAPOT, logs__nginx_access=log, **changes)


def test_the_answers_own_words_the_services_and_the_lines_of_the_very_request() -> None:
    symptom = unexplained(logged_teapot())
    read = {piece.source: piece.detail.en for piece in symptom.evidence}
    assert read[f"POST {URL}/predict"] == (
        "418 application/json (Server: nginx): title: I am a teapot; detail: short and stout"
    )
    assert read[f"POST {BACKEND}/predict"].startswith("200 application/json (Server: gunicorn)")
    assert read[NGINX_ACCESS_LOG] == LINE


def test_the_way_through_nginx_with_its_places() -> None:
    symptom = unexplained(logged_teapot())
    places = [step.source for step in symptom.route]
    assert any(place.startswith(f"{SITE_FILE}:") for place in places)
    assert BACKEND in symptom.route[-1].detail.en
    assert any("一" <= char <= "鿿" for char in symptom.route[-1].detail.zh)


def test_the_commands_are_of_this_host_and_ask_a_post_route_by_post() -> None:
    symptom = unexplained(logged_teapot(settings_file="/etc/gte-ops.toml"))
    commands = [step.en for step in symptom.next]
    assert "gte-ops route --config /etc/gte-ops.toml POST /predict" in commands
    (asked,) = (command for command in commands if command.startswith(f"curl -v http://{BACKEND}/predict "))
    assert " -d '{" in asked
    assert not any("-I" in command.split() for command in commands)


def test_readiness_says_why() -> None:
    ready = exchange(
        503, '{"status": "failed", "reason": "the model is missing"}', url=f"{URL}/ready", **AT_BACKEND
    )
    symptom = unexplained(logged_teapot(backend__ready=ready, backend__predict=TEAPOT))
    assert any("reason: the model is missing" in piece.detail.en for piece in symptom.evidence)


def test_where_the_request_left_no_line_the_newest_trouble_is_quoted() -> None:
    snapshot = but(
        front__predict=TEAPOT,
        logs__nginx_errors=nginx_logs(entry("*1 something odd")),
        logs__gunicorn_error=gunicorn_log(entry("odder still")),
    )
    read = {piece.source: piece.detail.en for piece in unexplained(snapshot).evidence}
    assert read[NGINX_ERROR_LOG] == "*1 something odd"
    assert read[GUNICORN_ERROR_LOG] == "odder still"


def test_what_is_explained_needs_none() -> None:
    failing = page(500, "Internal Server Error", **AT_PREDICT)
    raised = entry(
        'Exception on /predict\nTraceback (most recent call last):\n  File "app.py", line 1\nValueError: x'
    )
    diagnosis = diagnose(
        but(
            front__predict=page(500, "Internal Server Error", **PREDICT),
            backend__predict=failing,
            logs__gunicorn_error=gunicorn_log(raised),
        ),
        CHECKS,
    )
    assert diagnosis.symptoms
    for symptom in diagnosis.symptoms:
        assert symptom.explained_by
        assert not symptom.evidence
        assert not symptom.next


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (page(405, "405 Not Allowed", **PREDICT), "405 text/html (Server: nginx): 405 Not Allowed"),
        (exchange(200, PREDICTION, **PREDICT), "200 application/json (Server: nginx): result:"),
        (
            exchange(400, '{"error": {"message": "no such task", "code": "bad"}}', **PREDICT),
            "message: no such task; code: bad",
        ),
        (
            exchange(500, "upstream store is gone\nmore", kind="text/plain", **PREDICT),
            ": upstream store is gone",
        ),
        (exchange(204, "", kind="", **PREDICT), "204 (Server: nginx)"),
        (
            exchange(
                400,
                "<!doctype html><h1>Bad Request (400)</h1><script>x()</script>",
                kind="text/html",
                **PREDICT,
            ),
            "Bad Request (400)",
        ),
        (
            exchange(failure=ProbeFailure.RESET, detail="Connection reset by peer", **PREDICT),
            "reset: Connection reset by peer",
        ),
    ],
)
def test_an_answer_in_its_own_words(answer: Exchange, words: str) -> None:
    assert words in answer_words(answer)
