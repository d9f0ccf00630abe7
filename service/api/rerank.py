"""``/v1/rerank``: the rerank request of Jina's and Cohere's APIs, as RAGFlow, Dify and FastGPT send it; RAGFlow's
LocalAI provider asks at ``/rerank``, whatever path its base URL has.

No cross-encoder stands behind it: the scores are the encoder's cosines, as ``similarity`` gives them. They order
documents by topic; two models' scores cannot be compared, and a threshold has to be chosen for this model.
"""

from http import HTTPStatus
from typing import Annotated, Any

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from service.api import entrance
from service.api.answers import json_answer
from service.api.embeddings import OpenAIError
from service.api.field_names import field_names
from service.api.json_request import WHOLE
from service.api.predict import model_of
from service.prediction import run
from service.prediction.context import context
from service.tasks import rerank

api = APIBlueprint(
    "rerank", __name__, abp_tags=[Tag(name="rerank", description="Jina's and Cohere's rerank API")]
)


_WRITTEN = {"true": True, "false": False}


def _flag(value: Any) -> Any:
    return _WRITTEN.get(value.lower(), value) if isinstance(value, str) else value


class Document(BaseModel):
    """A document as an object, as Cohere's older clients send it; its other fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    text: str


class RerankRequest(BaseModel):
    """The request. Other fields of those APIs (``max_chunks_per_doc``) are ignored, as their clients expect."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        json_schema_extra={
            "example": {
                "model": "gte",
                "query": "北京冬奥会",
                "documents": ["2022年冬奥会在北京举行", "今天天气很好"],
            }
        },
    )

    query: str
    # Validation ends at the first that is neither: see Texts.
    documents: Annotated[list[str | Document], Field(fail_fast=True)]
    model: str | None = Field(None, description="accepted and not used: the service has one model")
    top_n: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        None, validation_alias=AliasChoices("top_n", "top_k"), description="how many results; null: all"
    )
    # RAGFlow's Xinference provider sends "true", a string.
    return_documents: Annotated[bool | None, BeforeValidator(_flag)] = Field(
        True, description="false: without the documents' texts"
    )


class RerankResult(BaseModel):
    """A document's place in the request, and its score."""

    index: int
    relevance_score: float = Field(description="the cosine of query and document, from 0 to 1")
    document: Document | None = None


class RerankAnswer(BaseModel):
    """The results, the closest first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: dict[str, int]


_ANSWERS: dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None] = {
    200: RerankAnswer,
    400: OpenAIError,
    413: OpenAIError,
    415: OpenAIError,
    429: OpenAIError,
    503: OpenAIError,
    504: OpenAIError,
}


@api.post("/v1/rerank", responses=_ANSWERS, summary="Documents in the order of their closeness to a query")
def rerank_documents(body: RerankRequest) -> Response:
    """The closest ``top_n`` documents; of equally close ones the earlier first."""
    return _reranked(body)


@api.post(
    "/rerank", responses={200: RerankAnswer}, summary="The same as /v1/rerank, for RAGFlow's LocalAI provider"
)
def rerank_at_the_root(body: RerankRequest) -> Response:
    """The same; errors are problem details."""
    return _reranked(body)


def _reranked(body: RerankRequest) -> Response:
    g.task = rerank.TASK.name
    here = context()
    documents = [document if isinstance(document, str) else document.text for document in body.documents]
    with field_names({"input_text": "query", "parameters.candidates": "documents"}):
        scores = run.predict(
            here, entrance.place(), rerank.TASK, body.query, {"candidates": documents}
        ).result["scores"]
    closest = sorted(range(len(documents)), key=lambda index: -scores[index])[: body.top_n]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in closest]
    if body.return_documents is not False:
        for result in results:
            result["document"] = {"text": documents[result["index"]]}
    tokens = sum(map(here.engines.encoder().count_tokens, [body.query, *documents]))
    return json_answer(
        {
            "id": g.request_id,
            "model": model_of(here, rerank.TASK),
            "results": results,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )
