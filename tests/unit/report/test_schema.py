"""The published JSON Schema holds for every document, and would notice one that breaks it."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.diagnosis.model import Diagnosis
from ops.facts.snapshot import Snapshot
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.text.language import Language
from tests.unit.made_diagnosis import CHANGED, CRASHED, DOWN, HEALTHY, HOSTILE, ONLY_A_WARNING, UNEXPLAINED
from tests.unit.made_snapshot import HEALTHY as HEALTHY_HOST
from tests.unit.made_snapshot import without_gunicorn, without_nginx

SCHEMA = json.loads(files("ops.report.doctor").joinpath("doctor.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def document(diagnosis: Diagnosis, language: Language = "en") -> dict[str, Any]:
    out = io.StringIO()
    render("json", DoctorReport(diagnosis), language, out)
    return json.loads(out.getvalue())


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("diagnosis", [HEALTHY, DOWN, ONLY_A_WARNING, UNEXPLAINED, CRASHED, HOSTILE, CHANGED])
def test_every_report_is_valid(diagnosis: Diagnosis, language: Language) -> None:
    VALIDATOR.validate(document(diagnosis, language))


@pytest.mark.parametrize("snapshot", [HEALTHY_HOST, without_gunicorn(), without_nginx()])
def test_every_diagnosis_of_a_host_is_valid(snapshot: Snapshot) -> None:
    VALIDATOR.validate(document(diagnose(snapshot, CHECKS)))


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_a_document_without_one_of_its_keys_is_noticed(key: str) -> None:
    broken = document(DOWN)
    del broken[key]
    assert not VALIDATOR.is_valid(broken)


def test_a_wrong_severity_is_noticed() -> None:
    broken = document(DOWN)
    broken["causes"][0]["severity"] = "critical"
    assert not VALIDATOR.is_valid(broken)


def test_it_knows_every_key_that_is_written() -> None:
    # Of a bundle, so that what only a bundle's report has is there, too.
    whole = document(msgspec.structs.replace(DOWN, is_from_bundle=True))
    assert set(whole) | {"fix"} == set(SCHEMA["properties"])  # --fix: tests/unit/repair/test_fix.py
    # ``kind``: of causes that have several, a start that failed for one (tests/unit/report/test_json.py).
    assert set(whole["causes"][0]) | {"kind"} == set(SCHEMA["$defs"]["cause"]["properties"])
    assert set(whole["checks"][0]) == set(SCHEMA["$defs"]["check"]["properties"])
    changes = document(CHANGED)["changes"]
    assert set(changes) == set(SCHEMA["$defs"]["changes"]["properties"])
    assert set(changes["items"][0]) == set(SCHEMA["$defs"]["change"]["properties"])
    assert set(whole["symptoms"][0]) == set(SCHEMA["$defs"]["symptom"]["properties"])
