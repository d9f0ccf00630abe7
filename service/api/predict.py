"""``/predict`` and ``/tasks``."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from service.api import entrance
from service.api.answers import json_answer, timestamp
from service.http.problems import Problem
from service.prediction import run
from service.prediction.context import Context, context
from service.prediction.limits import Texts
from service.prediction.truncation import TRUNCATE
from service.tasks.registry import TASKS
from service.tasks.task import Task
from service.version import version

api = APIBlueprint("predict", __name__, abp_tags=[Tag(name="predict", description="The tasks")])


class Parameters(BaseModel):
    """What a task takes besides the text; ``/tasks`` lists the parameters of each task."""

    model_config = ConfigDict(strict=True, extra="forbid")

    labels: Annotated[
        Texts | None, Field(min_length=1, description="classification: the labels to choose from")
    ] = None
    candidates: Annotated[
        Texts | None, Field(min_length=1, description="similarity: the texts to compare with, by topic")
    ] = None
    question: Annotated[
        str | None, Field(description='qa: the question, unless input_text is "context|question"')
    ] = None
    role: Annotated[
        Literal["query", "passage"] | None,
        Field(description="embedding: whether the texts are searched with (the default) or searched in"),
    ] = None
    # Named "schema", it would hide a method of BaseModel.
    extraction_schema: Annotated[
        dict[str, Any] | None,
        Field(alias="schema", description="ner, relation, event: what to extract, see docs/tasks.md"),
    ] = None
    truncate: Annotated[
        bool | None,
        Field(description="every task: cut what is too long for the service or its model, and say so"),
    ] = None


class PredictRequest(BaseModel):
    """A prediction to be made."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"example": {"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}},
    )

    task_type: str = Field(description=f"one of {', '.join(TASKS)}")
    input_text: str | Texts = Field(description="the text; embedding also takes a list")
    parameters: Parameters = Field(default_factory=Parameters)


class CutDescription(BaseModel):
    """A text that was cut."""

    field: str = Field(description="its place in the request")
    kept: int = Field(description="Unicode characters that were read")
    length: int = Field(description="Unicode characters that were sent")


class PredictAnswer(BaseModel):
    """A prediction."""

    result: dict[str, Any]
    task_type: str
    model: str = Field(description="the engine or engines that answered")
    version: str
    timestamp: str = Field(description="ISO 8601 with milliseconds and offset")
    request_id: str
    truncated: list[CutDescription] | None = Field(
        None, description="the texts that were cut, where parameters.truncate asked for it and any was"
    )


class TaskDescription(BaseModel):
    """A task of the contract."""

    task_type: str
    summary: str
    parameters: list[str] = Field(description="the names it takes")
    many: bool = Field(description="whether input_text may be a list")
    available: bool
    model: str | None = Field(description="the engine or engines behind it, where it is available")
    reason: str | None = Field(description="loading, model_missing or load_failed, where it is not")
    detail: str | None


class LimitsDescription(BaseModel):
    """What one request may hold at most."""

    max_text_chars: int = Field(description="Unicode characters of one text")
    max_batch: int = Field(description="texts")
    max_batch_chars: int = Field(description="Unicode characters of all texts")
    max_body_bytes: int


class TasksAnswer(BaseModel):
    """Every task, and the limits of a request."""

    tasks: list[TaskDescription]
    limits: LimitsDescription


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    field: str | None = None


PROBLEM_CONTENT: dict[str, Any] = {
    "content": {"application/problem+json": {"schema": ProblemDetails.model_json_schema()}}
}
ERRORS: dict[int | str, Any] = {
    status: {"description": meaning, **PROBLEM_CONTENT}
    for status, meaning in {
        400: "bad_json, bad_request, unknown_task, text_too_long or batch_too_large",
        413: "payload_too_large",
        415: "unsupported_media_type",
        429: "rate_limited (with Retry-After)",
        500: "internal",
        503: "model_unavailable or overloaded (with Retry-After)",
        504: "timeout",
    }.items()
}


@api.post("/predict", responses={200: PredictAnswer, **ERRORS}, summary="Make a prediction")
def predict(body: PredictRequest) -> Response:
    """The result of one task on one text, or on several where the task takes them."""
    task = TASKS.get(body.task_type)
    if task is None:
        raise Problem(
            "unknown_task",
            f"task_type: there is no task {body.task_type[:40]!r}; there are {', '.join(TASKS)}",
            field="task_type",
        )
    g.task = task.name
    parameters = body.parameters.model_dump(exclude_none=True, by_alias=True)
    prediction = run.predict(context(), entrance.place(), task, body.input_text, parameters)
    truncated = {"truncated": [asdict(cut) for cut in prediction.cuts]} if prediction.cuts else {}
    return json_answer(
        {
            "result": prediction.result,
            "task_type": task.name,
            "model": model_of(context(), task),
            "version": version(),
            "timestamp": timestamp(),
            "request_id": g.request_id,
            **truncated,
        }
    )


@api.get(
    "/tasks",
    responses={200: TasksAnswer},
    summary="The tasks, the model behind each, and why another is unavailable",
)
def tasks() -> Response:
    """Every task of the contract, available or not, and the limits of a request."""
    here = context()
    return json_answer(
        {
            "tasks": [_description(here, task) for task in TASKS.values()],
            "limits": {
                "max_text_chars": here.settings.max_text_chars,
                "max_batch": here.settings.max_batch,
                "max_batch_chars": here.settings.max_batch_chars,
                "max_body_bytes": here.settings.max_body_bytes,
            },
        }
    )


def model_of(here: Context, task: Task) -> str:
    """The names of the loaded engines behind ``task``; "rules" for a task that applies rules to their output."""
    names = here.engines.names()
    backend = task.backend(here.engines)
    return " + ".join([names[kind] for kind in backend.kinds if kind in names] + ["rules"] * backend.by_rules)


def _description(here: Context, task: Task) -> dict[str, Any]:
    failure = next(
        (failure for kind in task.backend(here.engines).kinds if (failure := here.engines.failure(kind))),
        None,
    )
    reason = failure.reason if failure else None
    return {
        "task_type": task.name,
        "summary": task.summary,
        "parameters": sorted({*task.parameters, TRUNCATE}),
        "many": task.many,
        "available": reason is None,
        "model": model_of(here, task) if reason is None else None,
        "reason": reason,
        "detail": failure.detail if failure else None,
    }
