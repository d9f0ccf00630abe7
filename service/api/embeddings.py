"""``/v1/embeddings``: OpenAI's embeddings request and answer, so that its client libraries work unchanged."""

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from service.api import entrance
from service.api.answers import json_answer
from service.api.field_names import field_names
from service.api.json_request import WHOLE
from service.api.predict import model_of
from service.engines.interface import EngineKind
from service.http.problems import Problem
from service.prediction import run
from service.prediction.context import context
from service.prediction.limits import Texts
from service.tasks import embedding

api = APIBlueprint(
    "embeddings", __name__, abp_tags=[Tag(name="openai", description="OpenAI's embeddings API")]
)


class EmbeddingsRequest(BaseModel):
    """OpenAI's request. Other fields of OpenAI's API (``user``) are ignored, as its clients expect."""

    model_config = ConfigDict(
        strict=True, extra="ignore", json_schema_extra={"example": {"model": "gte", "input": "北京冬奥会"}}
    )

    input: str | Texts = Field(description="one text or several; token numbers are not taken")
    model: str | None = Field(None, description="accepted and not used: the service has one model")
    encoding_format: Literal["float", "base64"] | None = Field("float", description="null: float")
    dimensions: Annotated[int, WHOLE] | None = Field(
        None, description="only the model's own dimension is taken"
    )
    input_type: Literal["query", "passage"] | None = Field(
        "query", description="not of OpenAI: whether the texts are searched with or searched in; null: query"
    )

    @field_validator("input", mode="before")
    @classmethod
    def _no_token_numbers(cls, value: Any) -> Any:
        # OpenAI's API also takes token numbers, so clients may send them; they belong to OpenAI's vocabulary, not to
        # this model's.
        first = value[0] if isinstance(value, list) and value else None
        first = first[0] if isinstance(first, list) and first else first
        if isinstance(first, int) and not isinstance(first, bool):
            raise PydanticCustomError(
                "token_numbers",
                "token numbers are not taken, for they are of another model's vocabulary: send the text"
                " (langchain-openai: check_embedding_ctx_length=False)",
            )
        return value


class Embedding(BaseModel):
    """One vector."""

    object: str
    index: int
    embedding: list[float] | str = Field(description="numbers, or base64 of little-endian 32-bit floats")


class EmbeddingsAnswer(BaseModel):
    """OpenAI's answer."""

    object: str
    data: list[Embedding]
    model: str
    usage: dict[str, int]


class OpenAIError(BaseModel):
    """OpenAI's error object."""

    error: dict[str, Any]


@api.post(
    "/v1/embeddings",
    responses={
        200: EmbeddingsAnswer,
        400: OpenAIError,
        413: OpenAIError,
        415: OpenAIError,
        429: OpenAIError,
        503: OpenAIError,
        504: OpenAIError,
    },
    summary="Vectors of texts, as OpenAI's clients ask for them",
)
def embeddings(body: EmbeddingsRequest) -> Response:
    """The vectors in the order of the texts."""
    g.task = embedding.TASK.name
    here = context()
    if body.dimensions is not None and here.engines.failure(EngineKind.ENCODER) is None:
        # Before anything is computed.
        _require_dimension(body.dimensions, here.engines.encoder().dimension)
    with field_names({"input_text": "input"}):
        result = run.predict(
            here, entrance.place(), embedding.TASK, body.input, {"role": body.input_type or "query"}
        ).result
    if body.dimensions is not None:
        _require_dimension(body.dimensions, result["dimension"])
    texts = [body.input] if isinstance(body.input, str) else body.input
    encoder = here.engines.encoder()
    tokens = sum(map(encoder.count_tokens, texts))
    return json_answer(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": encoded(vector, body.encoding_format)}
                for index, vector in enumerate(result["embeddings"])
            ],
            "model": model_of(here, embedding.TASK),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _require_dimension(requested: int, dimension: int) -> None:
    if requested != dimension:
        raise Problem(
            "bad_request",
            f"dimensions: this model's vectors have {dimension} dimensions and cannot be shortened",
            field="dimensions",
        )


def encoded(vector: Sequence[float], encoding_format: str | None) -> list[float] | str:
    """A vector as numbers, or as base64 of little-endian 32-bit floats."""
    if encoding_format == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
    return list(vector)
