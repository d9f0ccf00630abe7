"""The requests of programs that are no Python package: as each of them writes it, and what each reads of the answer.

Bodies and headers are ours, after the programs' sources: Dify (openai_api_compatible), RAGFlow (rag/llm), FastGPT
(openai for Node, axios), One API (Go, relayed), Spring AI (Jackson, the JDK's HttpClient).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from service.engines.interface import EngineKind
from service.settings import read_settings
from tests.unit.service.test_app import client_with
from tests.unit.service.test_tasks import LetterEncoder

SETTINGS = replace(read_settings({}), load_wait=0.0)
CHUNK = "第1条。" + "今天的天气很好。" * 80


@dataclass(frozen=True)
class Sent:
    """One request: where, with which headers and body; ``vectors``: how many come back."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    vectors: int = 0
    encoded: bool = False

    def answer(self) -> Any:
        client = client_with({EngineKind.ENCODER: LetterEncoder}, settings=SETTINGS)
        headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-none", **self.headers}
        answer = client.post(self.path, data=json.dumps(self.body), headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json


EMBEDDINGS = {
    "Dify: documents": Sent(
        "/v1/embeddings",
        {"input": [CHUNK] * 10, "model": "gte", "user": "4b1f", "encoding_format": "float"},
        {"User-Agent": "python-requests/2.32.3", "Accept": "*/*"},
        vectors=10,
    ),
    "Dify: check of the credentials": Sent("/v1/embeddings", {"input": "ping", "model": "gte"}, vectors=1),
    "RAGFlow: a batch": Sent(
        "/v1/embeddings",
        {"input": [CHUNK] * 16, "model": "gte", "encoding_format": "float", "drop_params": True},
        {"User-Agent": "OpenAI/Python 1.99.0", "X-Stainless-Lang": "python", "X-Stainless-Retry-Count": "0"},
        vectors=16,
    ),
    "FastGPT: openai for Node, which asks for base64": Sent(
        "/v1/embeddings",
        {"model": "gte", "input": [CHUNK], "encoding_format": "base64"},
        {"User-Agent": "OpenAI/JS 4.61.0", "X-Stainless-Lang": "js", "X-Stainless-Timeout": "60"},
        vectors=1,
        encoded=True,
    ),
    "FastGPT: fields of a model's configuration": Sent(
        "/v1/embeddings", {"defaultConfig": {}, "type": "db", "model": "gte", "input": [CHUNK]}, vectors=1
    ),
    "One API: relayed": Sent(
        "/v1/embeddings",
        {"model": "gte", "input": CHUNK, "encoding_format": "float", "messages": None, "stream": False},
        {"User-Agent": "Go-http-client/1.1", "Accept": "application/json", "Accept-Encoding": "gzip"},
        vectors=1,
    ),
    "Spring AI: a list, and nothing that is null": Sent(
        "/v1/embeddings",
        {"input": ["北京冬奥会", "上海世博会"], "model": "text-embedding-ada-002"},
        {"User-Agent": "Java-http-client/21.0.4", "Accept": "application/json, application/*+json"},
        vectors=2,
    ),
    "Spring AI: written with nulls": Sent(
        "/v1/embeddings",
        {
            "input": ["北京"],
            "model": "gte",
            "encoding_format": None,
            "dimensions": None,
            "user": None,
            "input_type": None,
        },
        vectors=1,
    ),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_a_request_for_vectors_is_answered_as_its_program_reads_it(name: str) -> None:
    sent = EMBEDDINGS[name]
    answer = sent.answer()
    assert [one["index"] for one in answer["data"]] == list(range(sent.vectors))
    assert all(one["object"] == "embedding" for one in answer["data"])
    vector = answer["data"][0]["embedding"]
    assert len(base64.b64decode(vector)) % 4 == 0 if sent.encoded else isinstance(vector[0], float)
    # Dify, RAGFlow and One API count what is used by it, and fail without.
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0
    assert answer["model"]


DOCUMENTS = ["今天天气很好", "2022年冬奥会在北京举行", CHUNK]
QUESTION = {"model": "gte", "query": "2022年冬奥会在北京举行", "documents": DOCUMENTS}
RERANKS = {
    "Dify: all documents": Sent("/v1/rerank", {**QUESTION, "top_n": None, "return_documents": True}),
    "Dify: so many": Sent("/v1/rerank", {**QUESTION, "top_n": 2, "return_documents": True}),
    "RAGFlow: OpenAI-API-Compatible, Jina": Sent("/v1/rerank", {**QUESTION, "top_n": 3}),
    "RAGFlow: LocalAI, which drops the base URL's path": Sent("/rerank", {**QUESTION, "top_n": 3}),
    "RAGFlow: Xinference, flags as strings": Sent(
        "/v1/rerank", {**QUESTION, "return_documents": "true", "return_len": "true"}
    ),
    "FastGPT": Sent(
        "/v1/rerank", QUESTION, {"User-Agent": "axios/1.7.7", "Accept": "application/json, text/plain, */*"}
    ),
    "One API: Cohere's fields": Sent(
        "/v1/rerank", {**QUESTION, "top_n": 3, "max_chunks_per_doc": 10, "rank_fields": None}
    ),
}


@pytest.mark.parametrize("name", RERANKS)
def test_a_request_to_rerank_is_answered_as_its_program_reads_it(name: str) -> None:
    sent = RERANKS[name]
    answer = sent.answer()
    assert len(answer["results"]) == (sent.body.get("top_n") or len(DOCUMENTS))
    # The closest first, and the place in what was sent: FastGPT takes its own documents by it.
    assert answer["results"][0]["index"] == 1
    assert all(isinstance(one["relevance_score"], float) for one in answer["results"])
    assert answer["results"][0]["document"]["text"] == DOCUMENTS[1]
    assert answer["id"]
    assert answer["usage"]["total_tokens"] > 0


def test_a_flag_that_is_none_is_refused_by_its_name() -> None:
    client = client_with({EngineKind.ENCODER: LetterEncoder}, settings=SETTINGS)
    answer = client.post("/v1/rerank", json={**QUESTION, "return_documents": "perhaps"})
    assert (answer.status_code, answer.json["error"]["param"]) == (400, "return_documents")


def test_at_the_root_too_a_wrong_request_names_the_field() -> None:
    client = client_with({EngineKind.ENCODER: LetterEncoder}, settings=SETTINGS)
    answer = client.post("/rerank", json={"query": "a"})
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert answer.json["field"] == "documents"
