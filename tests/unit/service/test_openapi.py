"""The description of the API holds."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from service.app import Service, create_app
from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from tests.unit.service.test_app import SETTINGS, NounLexical
from tests.unit.service.test_tasks import LetterEncoder


def application(**changes: Any) -> Service:
    engines = EngineRegistry(
        {EngineKind.ENCODER: LetterEncoder, EngineKind.LEXICAL: NounLexical}, load_wait=10
    )
    app = create_app(replace(SETTINGS, **changes), engines)
    done = threading.Event()
    engines.start(then=done.set)
    assert done.wait(20)
    return app


def test_every_answer_is_as_described() -> None:
    # In a process of its own: schemathesis makes its cases while tests are collected, which each worker would repeat.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider",
         Path(__file__).with_name("described_answers.py")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def described(app: Service) -> dict[str, Any]:
    document = app.test_client().get("/openapi.json").json
    assert document is not None
    return document


def test_what_a_task_takes_is_described_task_by_task() -> None:
    document = described(application())
    check = Draft202012Validator({"$ref": "#/components/schemas/PredictRequest", **document}).is_valid
    for valid in (
        {"task_type": "ner", "input_text": "a"},
        {"task_type": "ner", "input_text": "a", "parameters": {"truncate": True}},
        {"task_type": "embedding", "input_text": ["a", "b"], "parameters": {"role": "passage"}},
        {"task_type": "classification", "input_text": "a", "parameters": {"labels": ["x"]}},
        {"task_type": "qa", "input_text": "a|谁？"},
        {"task_type": "qa", "input_text": "a", "parameters": {"question": "谁？"}},
        {"task_type": "ner", "input_text": "a", "parameters": {"schema": {"人物": None, "ORG": None}}},
        {
            "task_type": "relation",
            "input_text": "a",
            "parameters": {"schema": {"人物": {"出生地(组织机构)": None}}},
        },
        {
            "task_type": "event",
            "input_text": "a",
            "parameters": {"schema": {"收购(触发词)": {"收购方": None}}},
        },
    ):
        assert check(valid), valid
    for invalid in (
        {"task_type": "other", "input_text": "a"},
        {"task_type": "ner", "input_text": " "},
        {"task_type": "ner", "input_text": "a" * 51},
        {"task_type": "ner", "input_text": ["a"]},
        {"task_type": "ner", "input_text": "a", "parameters": {"labels": ["x"]}},
        {"task_type": "classification", "input_text": "a"},
        {"task_type": "similarity", "input_text": "a", "parameters": {"candidates": ["x"] * 4}},
        {"task_type": "qa", "input_text": "a"},
        {"task_type": "ner", "input_text": "a", "parameters": {"schema": {}}},
        {"task_type": "ner", "input_text": "a", "parameters": {"schema": {"颜色": None}}},
        {"task_type": "relation", "input_text": "a", "parameters": {"schema": {"人物": None}}},
        {"task_type": "event", "input_text": "a", "parameters": {"schema": {"收购": {"颜色": None}}}},
    ):
        assert not check(invalid), invalid


def test_where_a_model_reads_the_schema_it_may_have_any_names() -> None:
    engines = EngineRegistry(
        {EngineKind.ENCODER: LetterEncoder, EngineKind.EXTRACTOR: LetterEncoder}, load_wait=0
    )
    document = described(create_app(SETTINGS, engines))
    check = Draft202012Validator({"$ref": "#/components/schemas/PredictRequest", **document}).is_valid
    for schema, is_valid in (
        ({"颜色": None}, True),
        ({"颜色": {"a": None}}, False),
        ({" ": None}, False),
        ({"字" * 65: None}, False),
    ):
        request = {"task_type": "ner", "input_text": "a", "parameters": {"schema": schema}}
        assert check(request) is is_valid, schema


def test_keys_are_described_where_they_are_used(tmp_path: Path) -> None:
    document = described(application(api_keys_file=tmp_path / "keys.json"))
    paths = document["paths"]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path in ("/predict", "/v1/embeddings"):
        assert paths[path]["post"]["security"] == [{"key": []}]
        assert "401" in paths[path]["post"]["responses"]
    assert {"security", "responses"} <= paths["/v1/models"]["get"].keys()
    assert "401" in paths["/v1/models"]["get"]["responses"]
    assert not any("security" in paths[path]["get"] for path in ("/health", "/ready", "/tasks", "/metrics"))
    assert "securitySchemes" not in described(application())["components"]
