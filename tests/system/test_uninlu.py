"""The tasks on a UniNLU checkpoint of the true format, and what becomes of a process that ends, hangs or is late."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.made_uninlu import make
from tests.system.conftest import Answer, Gunicorn, eventually, gunicorn

pytest.importorskip("modelscope")

TEXT = "😀马云1999年在杭州创办了Alibaba集团。"
NER = {"人物": None, "组织机构": None}
RELATION = {"人物": {"毕业院校(组织机构)": None}}
EVENT = {"成立(事件触发词)": {"机构": None}}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model") / "uninlu")


@pytest.fixture(scope="module")
def extracting(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    settings = {"GTE_UNINLU_DIR": str(checkpoint), "GTE_EXTRACT_TIMEOUT": "60", "GTE_LOAD_WAIT": "0"}
    with gunicorn(tmp_path_factory.mktemp("service"), wait_for="/health", **settings) as service:
        # The worker answers from its first moment, and says what is not there yet.
        assert service.predict("ner", TEXT).status in (200, 503)
        eventually(lambda: service.status_of("/ready") == 200, 120)
        yield service


@pytest.fixture(scope="module")
def own(checkpoint: Path) -> list[list[list[dict[str, Any]]]]:
    """What ModelScope's own pipeline answers: the service has to answer the same."""
    from modelscope.pipelines.nlp.siamese_uie_pipeline import SiameseUiePipeline

    pipeline = SiameseUiePipeline(model=str(checkpoint), device="cpu")
    asked = ((NER, False), (RELATION, False), (EVENT, True))
    return [pipeline(TEXT, schema=schema, output_all_prefix=prefixes)["output"] for schema, prefixes in asked]


def asked(service: Gunicorn, task: str, **parameters: Any) -> Any:
    answer = service.post(
        "/predict", {"task_type": task, "input_text": TEXT, "parameters": parameters}, timeout=90
    )
    assert answer.status == 200, answer.body
    assert "siamese-uninlu" in answer.json["model"]
    return answer.json["result"]


def span(one: dict[str, Any]) -> tuple[str, int, int]:
    """ModelScope's spans and ours, in one form; each is a slice of the text as it was sent."""
    text, (start, end) = one.get("span", one.get("text")), one.get("offset") or (one["start"], one["end"])
    assert TEXT[start:end] == text
    return text, start, end


def test_entities_are_those_of_modelscopes_pipeline(extracting: Gunicorn, own: Any) -> None:
    entities = asked(extracting, "ner", schema=NER)["entities"]
    found = {(one["type"], *span(one)) for one in entities}
    assert len(found) >= 3
    assert found == {(one["type"], *span(one)) for (one,) in own[0]}


def test_relations_are_those_of_modelscopes_pipeline(extracting: Gunicorn, own: Any) -> None:
    relations = asked(extracting, "relation", schema=RELATION)["relations"]
    assert {one["predicate"] for one in relations} == {"毕业院校"}
    assert {one["subject"]["type"] for one in relations} == {"人物"}
    assert {one["object"]["type"] for one in relations} == {"组织机构"}
    assert [(span(one["subject"]), span(one["object"])) for one in relations] == [
        (span(subject), span(found)) for subject, found in own[1]
    ]


def test_events_are_those_of_modelscopes_pipeline(extracting: Gunicorn, own: Any) -> None:
    events = asked(extracting, "event", schema={"成立": {"机构": None}})["events"]
    paths = [(span(path[0]), span(path[1])) for path in own[2] if len(path) == 2]
    assert [(span(event["trigger"]), span(one)) for event in events for one in event["arguments"]] == paths
    assert {event["type"] for event in events} == {"成立"}


def test_labels_get_scores_and_answers_are_slices(extracting: Gunicorn) -> None:
    result = asked(extracting, "classification", labels=["体育", "财经", "科技"])
    assert list(result["scores"]) == ["体育", "财经", "科技"]
    assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-4)
    assert len(set(result["scores"].values())) == 3
    assert result["score"] == max(result["scores"].values()) == result["scores"][result["label"]]
    assert asked(extracting, "sentiment")["scores"].keys() == {"positive", "negative", "neutral"}
    answered = asked(extracting, "qa", question="谁？")
    assert TEXT[answered["start"] : answered["end"]] == answered["answer"]
    assert 0 <= answered["score"] <= 1
    refused = extracting.predict("classification", TEXT, labels=["a,b"])
    assert (refused.status, refused.json["field"]) == (400, "parameters.labels")


def test_the_rest_stays_on_the_embedded_default(extracting: Gunicorn) -> None:
    tasks = {task["task_type"]: task["model"] for task in extracting.get("/tasks").json["tasks"]}
    assert {name for name, model in tasks.items() if "uninlu" in model} == {
        "ner", "relation", "event", "sentiment", "classification", "qa",
    }  # fmt: skip


def engine_of(service: Gunicorn) -> int:
    """The engine's pid: the child of the worker."""
    worker = service.records()[0]["pid"]
    (child,) = Path(f"/proc/{worker}/task/{worker}/children").read_text().split() or [
        child
        for task in Path(f"/proc/{worker}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return int(child)


def lost_and_back(service: Gunicorn, lose: Callable[[int], None]) -> Answer:
    """The answer to the request that meets the lost process; it is back by itself, in the same worker."""
    worker, engine = service.records()[0]["pid"], engine_of(service)
    lose(engine)
    answer = service.post("/predict", {"task_type": "ner", "input_text": TEXT}, timeout=90)
    began = time.monotonic()
    assert service.get("/health").status == 200
    assert time.monotonic() - began < 5
    eventually(lambda: service.predict("ner", TEXT).status == 200, 120)
    assert service.records()[0]["pid"] == worker
    assert engine_of(service) != engine
    return answer


def test_a_killed_process_costs_its_requests_and_comes_back(extracting: Gunicorn) -> None:
    answer = lost_and_back(extracting, lambda engine: os.kill(engine, signal.SIGKILL))
    assert (answer.status, answer.json["code"]) == (503, "model_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    metrics = extracting.get("/metrics").body.decode()
    assert 'gte_engine_restarts_total{engine="extractor",reason="killed"} 1.0' in metrics
    assert re.search(r'^gte_engine_load_seconds\{engine="extractor"\} [0-9.]+$', metrics, re.MULTILINE)
    assert re.search(r'^gte_memory_bytes\{process="engine"\} [1-9]', metrics, re.MULTILINE)


@pytest.mark.long
def test_a_stopped_process_is_replaced(checkpoint: Path, tmp_path: Path) -> None:
    settings = {"GTE_UNINLU_DIR": str(checkpoint), "GTE_EXTRACT_TIMEOUT": "10"}
    with gunicorn(tmp_path, wait_for=None, **settings) as service:
        eventually(lambda: service.status_of("/ready") == 200, 120)
        answer = lost_and_back(service, lambda engine: os.kill(engine, signal.SIGSTOP))
        assert (answer.status, answer.json["code"]) == (504, "timeout")


@pytest.mark.long
def test_an_extraction_that_takes_too_long_is_given_up(checkpoint: Path, tmp_path: Path) -> None:
    settings = {"GTE_UNINLU_DIR": str(checkpoint), "GTE_EXTRACT_TIMEOUT": "0.001"}
    with gunicorn(tmp_path, wait_for=None, **settings) as service:
        eventually(lambda: service.status_of("/ready") == 200, 120)
        engine = engine_of(service)
        answer = service.predict("relation", TEXT)
        assert (answer.status, answer.json["code"]) == (504, "timeout")
        assert engine_of(service) == engine


OWN_CODE = """
from modelscope.pipelines.base import Pipeline
from modelscope.pipelines.builder import PIPELINES
open({marker!r}, "w").close()

@PIPELINES.register_module("rex-uninlu", module_name="made-pipe")
class Made(Pipeline):
    def __init__(self, model, preprocessor=None, **options):
        super().__init__(model=model, auto_collate=False, preprocessor=object(), **options)
    def __call__(self, text, schema, **options):
        return {{"output": [[{{"type": name, "span": text[:2], "offset": [0, 2]}}] for name in schema]}}
    def preprocess(self, inputs): return inputs
    def forward(self, inputs): return inputs
    def postprocess(self, inputs): return inputs
"""


@pytest.fixture
def own_code(tmp_path: Path) -> Path:
    """A model's directory with code of its own, which leaves a file ``ran`` beside it; rex-uninlu's is such a one."""
    model = tmp_path / "model"
    model.mkdir()
    described = {
        "framework": "pytorch",
        "task": "rex-uninlu",
        "pipeline": {"type": "made-pipe"},
        "allow_remote": True,
    }
    (model / "configuration.json").write_text(json.dumps(described))
    (model / "ms_wrapper.py").write_text(OWN_CODE.format(marker=str(tmp_path / "ran")))
    return model


def test_a_models_own_code_is_not_run_unless_asked_for(own_code: Path, tmp_path: Path) -> None:
    with gunicorn(tmp_path, wait_for="/health", GTE_UNINLU_DIR=str(own_code)) as service:
        eventually(lambda: service.get("/ready").json["reason"] == "load_failed", 60)
        answer = service.predict("ner", TEXT)
        assert (answer.status, answer.json["code"]) == (503, "model_unavailable")
        assert "GTE_TRUST_REMOTE_CODE=1" in answer.json["detail"]
        assert service.predict("similarity", TEXT, candidates=["a"]).status == 200
    assert not (tmp_path / "ran").exists()


@pytest.mark.long
def test_a_models_own_code_answers_where_it_is_trusted(own_code: Path, tmp_path: Path) -> None:
    settings = {"GTE_UNINLU_DIR": str(own_code), "GTE_TRUST_REMOTE_CODE": "1"}
    with gunicorn(tmp_path, wait_for=None, **settings) as service:
        eventually(lambda: service.status_of("/ready") == 200, 120)
        assert (tmp_path / "ran").exists()
        (entity,) = service.predict("ner", TEXT, schema={"人物": None}).json["result"]["entities"]
        assert entity == {"text": TEXT[:2], "type": "人物", "start": 0, "end": 2}
        # It tells no scores, and none are made up.
        answer = service.predict("sentiment", TEXT)
        assert (answer.status, answer.json["code"]) == (503, "model_unavailable")


def test_a_directory_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    with gunicorn(tmp_path, wait_for="/health", GTE_UNINLU_DIR=str(tmp_path / "none")) as service:
        eventually(lambda: service.get("/ready").json["reason"] == "model_missing", 60)
        detail = service.predict("ner", TEXT).json["detail"]
        assert "modelscope download" in detail
        assert str(tmp_path) not in detail
