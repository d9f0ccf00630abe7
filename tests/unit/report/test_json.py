from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from ops.diagnosis.finding import quote
from ops.diagnosis.model import Diagnosis
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.text.language import Language
from tests.unit.made_diagnosis import CRASHED, DOWN, HEALTHY, HOSTILE, ascii_stream, written


def document(diagnosis: Diagnosis, language: Language = "en") -> dict[str, Any]:
    out = io.StringIO()
    render("json", DoctorReport(diagnosis), language, out)
    return json.loads(out.getvalue())


def test_the_whole_document() -> None:
    whole = document(DOWN)
    assert list(whole) == [
        "schema_version",
        "status",
        "target",
        "started_at",
        "duration_ms",
        "symptoms",
        "causes",
        "checks",
        "unseen",
        "ignored",
        "changes",
    ]
    assert whole["schema_version"] == 1
    assert whole["status"] == "fail"
    assert whole["target"]["backend"] == "127.0.0.1:8000"
    assert whole["duration_ms"] == 412
    assert isinstance(whole["duration_ms"], int)
    assert whole["symptoms"][0] == {
        "id": "http.502",
        "summary": "https://gte-api.example.com answers 502 Bad Gateway",
        "explained_by": ["GUN001"],
        "next": None,
        "evidence": [],
        "route": [],
        "next_commands": [],
    }
    assert whole["symptoms"][1]["explained_by"] == []
    unexplained = whole["symptoms"][1]
    assert unexplained["next"] == unexplained["next_commands"][0] == "gte-ops route POST /predict"
    assert any(command.startswith("tail ") for command in unexplained["next_commands"])
    assert unexplained["evidence"] == [
        {"source": "POST https://gte-api.example.com/predict", "detail": "403 text/html: 403 Forbidden"}
    ]
    assert unexplained["route"] == [
        {"where": "/etc/nginx/conf.d/gte-api.conf:31", "words": "deny all refuses it"}
    ]
    assert list(whole["causes"][0].items()) == list(
        {
            "code": "GUN001",
            "severity": "fail",
            "title": "gunicorn is not running",
            "summary": "There is no gunicorn master process, and 127.0.0.1:8000 refuses connections.",
            "explains": ["http.502", "NGX005"],
            "evidence": [{"source": "tcp 127.0.0.1:8000", "detail": "connection refused"}],
            "verify": "curl -v http://127.0.0.1:8000/health",
            "fix": [
                "systemctl start gte-api",
                "If it does not stay up, the reason is at the end of /var/log/gte-gunicorn-error.log",
                "gte-ops doctor --wait-ok 2m",
            ],
            "learn": "gte-ops explain GUN001",
        }.items()
    )
    assert [cause["code"] for cause in whole["causes"]] == ["GUN001", "GUN008"]
    assert whole["checks"][0] == {
        "id": "gunicorn.process",
        "status": "fail",
        "summary": "gunicorn.process looked at",
        "duration_ms": 3.1,
        "skipped_because": None,
    }
    assert whole["checks"][1]["skipped_because"] == "permission denied (run as root to see)"
    assert whole["unseen"] == [{"what": "logs.gunicorn_error", "reason": "timed out"}]


def test_the_time_carries_its_offset() -> None:
    moment = datetime.fromisoformat(document(HEALTHY)["started_at"])
    assert moment.utcoffset() is not None
    assert moment.timestamp() == HEALTHY.started_at


@pytest.mark.parametrize("diagnosis", [HEALTHY, DOWN, HOSTILE, CRASHED])
def test_it_is_one_document_and_nothing_else(diagnosis: Diagnosis) -> None:
    out = io.StringIO()
    render("json", DoctorReport(diagnosis), "en", out, True)
    json.loads(out.getvalue())
    assert out.getvalue().endswith("}\n")
    assert "\x1b" not in out.getvalue()


def test_no_string_carries_control_characters_or_secrets() -> None:
    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield key
                yield from strings(item)
        elif isinstance(value, list):
            for item in value:
                yield from strings(item)
        elif isinstance(value, str):
            yield value

    for words in strings(document(HOSTILE)):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", words), repr(words)
        assert "hunter2" not in words
        assert len(words) <= 600


def test_long_evidence_is_bounded_and_a_long_command_is_not() -> None:
    long = "x" * 5000
    broken = replace(DOWN.causes[0], evidence=(quote("log", long),), verify=quote("", long).detail)
    entry = document(replace(DOWN, causes=(broken,)))["causes"][0]
    assert len(entry["evidence"][0]["detail"]) <= 600
    assert entry["verify"] == long


def test_chinese_is_written_as_it_is_and_escaped_only_where_it_must_be() -> None:
    out = io.StringIO()
    render("json", DoctorReport(DOWN), "zh", out)
    assert "gunicorn 没有运行" in out.getvalue()
    stream = ascii_stream()
    render("json", DoctorReport(DOWN), "zh", stream)
    assert json.loads(written(stream)) == json.loads(out.getvalue())


def test_a_cause_of_several_kinds_says_which() -> None:
    first = replace(DOWN.causes[0], kind="variable_missing")
    whole = document(replace(DOWN, causes=(first, *DOWN.causes[1:])))
    assert [cause.get("kind") for cause in whole["causes"]] == [
        "variable_missing",
        *[None] * (len(DOWN.causes) - 1),
    ]
