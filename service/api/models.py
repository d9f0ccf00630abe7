"""``/v1/models``: OpenAI's list of models. The service has one, the encoder behind ``/v1/embeddings``."""

import re
import time
from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from service.api.answers import json_answer
from service.api.embeddings import OpenAIError
from service.engines.interface import EngineKind
from service.http.problems import Problem
from service.prediction.context import context

api = APIBlueprint("models", __name__, abp_tags=[Tag(name="openai", description="OpenAI's embeddings API")])

# OpenAI's clients require a time of creation; the wheel and the model's files have none in common.
_STARTED = int(time.time())
# What stands in a URL's path as it is (RFC 3986, pchar), a slash between names included.
_ESCAPED = re.compile(r"[^\w.~/@:-]+", re.ASCII)


class Model(BaseModel):
    """A model, as OpenAI describes one."""

    id: str
    object: str
    created: int = Field(description="when this worker process was started, in Unix seconds")
    owned_by: str


class ModelList(BaseModel):
    """OpenAI's list."""

    object: str
    data: list[Model]


class ModelPath(BaseModel):
    """A model's id, in the path."""

    model: str


@api.get("/v1/models", responses={200: ModelList}, summary="The model behind /v1/embeddings")
def models() -> Response:
    """A list of one, or an empty one while the encoder is not available."""
    name = _served()
    return json_answer({"object": "list", "data": [_description(name)] if name else []})


@api.get(
    "/v1/models/<path:model>", responses={200: Model, 404: OpenAIError}, summary="One model of /v1/models"
)
def model(path: ModelPath) -> Response:
    """The model, if it is the one that is served: by its id, or as answers name it."""
    name = _served()
    if name is None or path.model not in (model_id(name), name):
        served = f"the model here is {model_id(name)}" if name else "no model is available here now"
        raise Problem("not_found", f"{served}; requests may name it as they like", field="model")
    return json_answer(_description(name))


def model_id(name: str) -> str:
    """An engine's name without what it adds in parentheses (package, version, precision), fit for a URL's path."""
    return _ESCAPED.sub("-", name.partition(" (")[0]).strip("-/") or "model"


def _served() -> str | None:
    here = context()
    if here.engines.failure(EngineKind.ENCODER) is not None:
        return None
    return here.engines.encoder().name


def _description(name: str) -> dict[str, Any]:
    return {"id": model_id(name), "object": "model", "created": _STARTED, "owned_by": "gte-api"}
