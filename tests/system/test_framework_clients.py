"""LlamaIndex's and Haystack's embedders, as they come from PyPI, against the real service."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest

from service.keys import key_file
from tests.system.conftest import Gunicorn, eventually, gunicorn

# Importing the two takes longer than what they are asked, so each test imports its own.
pytestmark = pytest.mark.long

SENTENCE = "今天的天气很好，我们去公园散步，然后回家吃饭。"


@pytest.fixture(autouse=True, scope="module")
def _no_telemetry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gunicorn, str]]:
    """The service with its own limits, and the key that it wants."""
    directory = tmp_path_factory.mktemp("keyed")
    key = key_file.add(directory / "keys.json", "tests")
    with gunicorn(directory, GTE_API_KEYS_FILE=str(directory / "keys.json")) as started:
        yield started, key


def chunks(count: int, length: int) -> list[str]:
    """Texts that differ, as a splitter makes them."""
    return [(f"第{number}条。" + SENTENCE * 60)[:length] for number in range(count)]


def base(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def answered(service: Gunicorn, status: int = 200) -> int:
    """Requests for vectors that the access log has with ``status``."""
    return len(re.findall(rf'"POST /v1/embeddings [^"]*" {status} ', service.access_log))


class Front:
    """What stands before the service and says 429, with ``Retry-After: 2``, to the first ``refusals`` requests."""

    def __init__(self, behind: int, refusals: int) -> None:
        self.port = 0
        self.asked: list[float] = []
        self._behind = behind
        self._refusals = refusals

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.asked.append(time.monotonic())
        if len(self.asked) <= self._refusals:
            answer = b'{"error": {"message": "again later", "type": "invalid_request_error", "code": "rate_limited"}}'
            self._send(handler, 429, {"Retry-After": "2"}, answer)
            return
        with closing(http.client.HTTPConnection("127.0.0.1", self._behind, timeout=60)) as link:
            kept = ("Content-Type", "Authorization")
            link.request("POST", handler.path, body, {name: handler.headers[name] for name in kept})
            back = link.getresponse()
            self._send(handler, back.status, {}, back.read())

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        handler.send_response(status)
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        for name, value in fields.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def throttled(service: Gunicorn, refusals: int) -> Iterator[Front]:
    front = Front(service.port, refusals)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            front.serve(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        front.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield front
        finally:
            server.shutdown()


# --- LlamaIndex -------------------------------------------------------------------------------------------


def like(port: int, key: str, **options: Any) -> Any:
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    return OpenAILikeEmbedding(model_name="gte", api_base=base(port), api_key=key, **options)


def plain(port: int, key: str, **options: Any) -> Any:
    from llama_index.embeddings.openai import OpenAIEmbedding

    return OpenAIEmbedding(model_name="gte", api_base=base(port), api_key=key, **options)


@pytest.mark.parametrize("embedder", [like, plain])
def test_llama_index_gets_a_vector_for_each_of_a_hundred_documents(
    keyed: tuple[Gunicorn, str], embedder: Callable[..., Any]
) -> None:
    service, key = keyed
    before = answered(service)
    texts = chunks(100, 60)
    model = embedder(service.port, key)
    vectors = model.get_text_embedding_batch(texts)
    assert [len(vector) for vector in vectors] == [384] * 100
    assert model.get_query_embedding(texts[41]) == pytest.approx(vectors[41], abs=1e-4)
    # OpenAI's embedder sends all of them at once, the other ten at a time.
    eventually(lambda: answered(service) - before == (11 if embedder is like else 2))


def test_llama_index_asks_for_several_batches_at_once(keyed: tuple[Gunicorn, str]) -> None:
    service, key = keyed
    model = like(service.port, key, num_workers=4)
    vectors = asyncio.run(model.aget_text_embedding_batch(chunks(40, 60)))
    assert [len(vector) for vector in vectors] == [384] * 40


def test_llama_index_is_told_which_text_is_empty(keyed: tuple[Gunicorn, str]) -> None:
    service, key = keyed
    for blank in ("", " \n"):
        with pytest.raises(openai.BadRequestError) as refused:
            plain(service.port, key).get_text_embedding_batch(["北京", blank, "上海"])
        assert refused.value.param == "input.1"


def test_llama_index_waits_as_long_as_a_rate_limit_says(keyed: tuple[Gunicorn, str]) -> None:
    service, key = keyed
    with throttled(service, refusals=2) as front:
        assert len(like(front.port, key).get_text_embedding("北京")) == 384
        first, second, third = front.asked
    assert second - first >= 2
    assert third - second >= 2


def test_llama_index_does_not_repeat_a_wrong_key(keyed: tuple[Gunicorn, str]) -> None:
    service, _ = keyed
    before = answered(service, 401)
    with pytest.raises(openai.AuthenticationError):
        like(service.port, "gte_wrong").get_text_embedding("北京")
    eventually(lambda: answered(service, 401) > before)
    assert answered(service, 401) - before == 1


# --- Haystack ---------------------------------------------------------------------------------------------


def haystack(port: int, key: str, name: str = "OpenAIDocumentEmbedder", **options: Any) -> Any:
    from haystack.components import embedders
    from haystack.utils import Secret

    if name == "OpenAIDocumentEmbedder":
        options = {"progress_bar": False, **options}
    return getattr(embedders, name)(
        api_base_url=base(port), api_key=Secret.from_token(key), model="gte", **options
    )


def documents(texts: list[str]) -> list[Any]:
    from haystack import Document

    return [Document(content=text) for text in texts]


def test_haystack_gets_a_vector_for_each_document_of_its_own_batches(keyed: tuple[Gunicorn, str]) -> None:
    service, key = keyed
    before = answered(service)
    found = haystack(service.port, key).run(documents(chunks(40, 60)))
    assert [len(document.embedding) for document in found["documents"]] == [384] * 40
    eventually(lambda: answered(service) - before == 2)  # 32 and 8
    assert found["meta"]["usage"]["total_tokens"] > 0
    text = found["documents"][7]
    query = haystack(service.port, key, "OpenAITextEmbedder").run(text.content)["embedding"]
    assert query == pytest.approx(text.embedding, abs=1e-4)


def test_haystack_raises_where_it_is_told_to(
    keyed: tuple[Gunicorn, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Untold it leaves out the whole batch: the log has the place of the empty text."""
    service, key = keyed
    with caplog.at_level(logging.ERROR, "haystack"):
        found = haystack(service.port, key).run(documents(["北京", "", "上海"]))
    assert [document.embedding for document in found["documents"]] == [None] * 3
    assert "input.1: the text is empty" in caplog.text
    with pytest.raises(openai.BadRequestError, match=r"input\.1"):
        haystack(service.port, key, raise_on_failure=True).run(documents(["北京", "", "上海"]))


def test_haystack_waits_as_long_as_a_rate_limit_says(keyed: tuple[Gunicorn, str]) -> None:
    service, key = keyed
    with throttled(service, refusals=1) as front:
        found = haystack(front.port, key).run(documents(["北京"]))
        assert len(found["documents"][0].embedding) == 384
        first, second = front.asked
    assert second - first >= 2


def test_haystack_with_a_wrong_key_says_so(keyed: tuple[Gunicorn, str]) -> None:
    service, _ = keyed
    with pytest.raises(openai.AuthenticationError):
        haystack(service.port, "gte_wrong", raise_on_failure=True).run(documents(["北京"]))


# --- OpenAI's limit ---------------------------------------------------------------------------------------


def test_as_many_texts_as_openai_takes_and_not_one_more(keyed: tuple[Gunicorn, str]) -> None:
    service, key = keyed
    texts = [str(number) for number in range(2048)]
    vectors = plain(service.port, key, embed_batch_size=2048).get_text_embedding_batch(texts)
    assert [len(vector) for vector in vectors] == [384] * 2048
    with pytest.raises(openai.BadRequestError, match="2048") as refused:
        openai.OpenAI(base_url=base(service.port), api_key=key, max_retries=0).embeddings.create(
            model="gte", input=[*texts, "one more"]
        )
    assert refused.value.code == "batch_too_large"
