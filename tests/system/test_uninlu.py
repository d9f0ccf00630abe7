"""The tasks on a UniNLU checkpoint of the true format; test_uninlu_engine.py has what becomes of lost processes."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.engines.uninlu.model import OutOfTimeError, UninluModel
from tests.made_uninlu import make
from tests.system.conftest import Gunicorn, eventually, gunicorn

pytest.importorskip("modelscope")

TEXT = "😀马云1999年在杭州创办了Alibaba集团。"
NER = {"人物": None, "组织机构": None}
RELATION = {"人物": {"毕业院校(组织机构)": None}}
EVENT = {"成立(事件触发词)": {"机构": None}}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model") / "uninlu")


@pytest.fixture(scope="module")
def extracting(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Gunicorn]:
    settings = {"GTE_UNINLU_DIR": str(checkpoint), "GTE_EXTRACT_TIMEOUT": "60", "GTE_LOAD_WAIT": "0"}
    with gunicorn(tmp_path_factory.mktemp("service"), wait_for="/health", **settings) as service:
        # The worker answers from its first moment, and says what is not there yet.
        assert service.predict("ner", TEXT).status in (200, 503)
        # Both import for seconds: side by side.
        request.getfixturevalue("modelscopes")
        eventually(lambda: service.status_of("/ready") == 200, 120)
        yield service


@pytest.fixture(scope="module")
def modelscopes(checkpoint: Path) -> Any:
    """ModelScope's own pipeline."""
    from modelscope.pipelines.nlp.siamese_uie_pipeline import SiameseUiePipeline

    return SiameseUiePipeline(model=str(checkpoint), device="cpu")


@pytest.fixture(scope="module")
def own(modelscopes: Any) -> list[list[list[dict[str, Any]]]]:
    """What it answers: the service has to answer the same."""
    asked = ((NER, False), (RELATION, False), (EVENT, True))
    return [
        modelscopes(TEXT, schema=schema, output_all_prefix=prefixes)["output"] for schema, prefixes in asked
    ]


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


# More than one of the model's windows of 384 tokens, and more than it can read of labels and text together.
LONG = "".join(f"第{number}年，王{chr(0x4E00 + 37 * number)}在杭州创办了公司。" for number in range(60))


def test_of_a_long_text_nothing_is_lost(extracting: Gunicorn, modelscopes: Any) -> None:
    """It is read in windows, to its end; spans are those of ModelScope's pipeline, wherever they stand."""
    answer = extracting.predict("ner", LONG, schema=NER)
    assert answer.status == 200
    assert "truncated" not in answer.json
    found = [(one["start"], one["end"]) for one in answer.json["result"]["entities"]]
    assert all(LONG[one["start"] : one["end"]] == one["text"] for one in answer.json["result"]["entities"])
    assert len(LONG) > 800
    assert max(found)[0] > len(LONG) - 200
    assert sorted(found) == sorted(tuple(one["offset"]) for (one,) in modelscopes(LONG, schema=NER)["output"])


def test_a_text_that_is_not_read_together_with_its_labels_is_refused_or_cut(extracting: Gunicorn) -> None:
    refused = extracting.predict("sentiment", LONG)
    assert (refused.status, refused.json["code"], refused.json["field"]) == (
        400,
        "text_too_long",
        "input_text",
    )
    assert "reads 384 at once" in refused.json["detail"]
    assert "parameters.truncate" in refused.json["detail"]
    cut = extracting.predict("sentiment", LONG, truncate=True)
    assert cut.status == 200
    (told,) = cut.json["truncated"]
    assert (told["field"], told["length"]) == ("input_text", len(LONG))
    fits = extracting.predict("sentiment", LONG[: told["kept"]])
    assert fits.json["result"] == cut.json["result"]
    assert "truncated" not in fits.json
    assert extracting.predict("sentiment", LONG[: told["kept"] + 1]).status == 400


def test_labels_and_questions_that_do_not_fit_are_refused_and_never_cut(extracting: Gunicorn) -> None:
    for task, text, parameters, field in (
        (
            "classification",
            TEXT,
            {"labels": [f"{number}" + "类" * 60 for number in range(8)]},
            "parameters.labels",
        ),
        ("qa", TEXT, {"question": "谁" * 127}, "parameters.question"),
        ("qa", TEXT + "|" + "谁" * 127, {}, "input_text"),
    ):
        refused = extracting.predict(task, text, **parameters, truncate=True)
        assert (refused.status, refused.json.get("code"), refused.json.get("field")) == (
            400,
            "text_too_long",
            field,
        )
    assert extracting.predict("qa", TEXT, question="谁" * 125).status == 200


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> UninluModel:
    return UninluModel(checkpoint, "siamese-uie", trusts_code=False)


def test_what_is_asked_for_stays_in_a_prompt_that_is_too_long(model: UninluModel) -> None:
    """ModelScope's pipeline cuts it at its end, where it stands."""
    prompt = f"人物: {'甲' * 200}, 毕业院校: "
    read = model._tokenize([prompt], truncation=True, max_length=128)[0]
    assert prompt[: read.offsets[-2][1]].count("毕") == 0
    ours = model._pipeline.preprocessor([prompt], padding=True, truncation=True, max_length=128)[0]
    assert len(ours.ids) <= 128
    assert "".join(ours.tokens[1:-1]).endswith(",毕业院校:")
    assert ours.tokens[1:3] == ["人", "物"]
    short = f"人物: {'甲' * 20}, 毕业院校: "
    assert model._pipeline.preprocessor([short], max_length=128)[0].ids == model._tokenize([short])[0].ids


def test_an_extraction_that_takes_too_long_is_given_up_between_two_names(model: UninluModel) -> None:
    with pytest.raises(OutOfTimeError):
        model.paths(TEXT, NER, every_prefix=False, seconds=0.0)


def test_a_killed_engine_costs_the_request_it_held_and_is_serving_again_within_five_seconds(
    extracting: Gunicorn,
) -> None:
    worker = psutil.Process(extracting.records()[0]["pid"])
    (forkserver,) = worker.children()
    (engine,) = forkserver.children()
    assert forkserver.num_threads() == 1, "what is forked from several threads may hang"
    schema = {f"名称{number}": None for number in range(64)}
    used = engine.cpu_times().user
    with ThreadPoolExecutor(1) as requests:
        held = requests.submit(extracting.predict, "ner", LONG * 4, schema=schema)
        eventually(lambda: engine.cpu_times().user > used + 0.05, 30)
        began = time.monotonic()
        engine.kill()
        answer = held.result(30)
    assert (answer.status, answer.json["code"]) == (503, "model_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    eventually(lambda: extracting.predict("ner", TEXT).status == 200, 5)
    assert time.monotonic() - began < 5
    assert worker.is_running()
    assert forkserver.children() != [engine]
    metrics = extracting.get("/metrics").body.decode()
    assert 'gte_engine_restarts_total{engine="extractor",reason="killed"} 1.0' in metrics
    assert re.search(r'^gte_engine_load_seconds\{engine="extractor"\} [0-9.]+$', metrics, re.MULTILINE)
    assert re.search(r'^gte_memory_bytes\{process="engine"\} [1-9]', metrics, re.MULTILINE)


# A mock: what the repository of such a model would bring, in two files, which answer without a model. That ModelScope
# imports and builds it is real.
OWN_CODE = """
from modelscope.pipelines.base import Pipeline
from modelscope.pipelines.builder import PIPELINES
from .extraction import extract
open({marker!r}, "w").close()

@PIPELINES.register_module("rex-uninlu", module_name="made-pipe")
class Made(Pipeline):
    def __init__(self, model, preprocessor=None, **options):
        super().__init__(model=model, auto_collate=False, preprocessor=object(), **options)
    def __call__(self, text, schema, **options):
        return {{"output": extract(text, schema)}}
    def preprocess(self, inputs): return inputs
    def forward(self, inputs): return inputs
    def postprocess(self, inputs): return inputs
"""
OWN_EXTRACTION = """
def extract(text, schema):
    return [[{"type": name, "span": text[:2], "offset": [0, 2]}] for name in schema]
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
    (model / "extraction.py").write_text(OWN_EXTRACTION)
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
        # It is loaded after the fork, and still in time.
        (forkserver,) = psutil.Process(service.records()[0]["pid"]).children()
        (engine,) = forkserver.children()
        engine.kill()
        began = time.monotonic()
        eventually(lambda: service.predict("ner", TEXT, schema={"人物": None}).status == 200, 5)
        assert time.monotonic() - began < 5
        assert forkserver.children() != [engine]


def test_a_directory_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    with gunicorn(tmp_path, wait_for="/health", GTE_UNINLU_DIR=str(tmp_path / "none")) as service:
        eventually(lambda: service.get("/ready").json["reason"] == "model_missing", 60)
        detail = service.predict("ner", TEXT).json["detail"]
        assert "modelscope download" in detail
        assert str(tmp_path) not in detail
