"""``/predict`` and ``/tasks``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from service.admission import deadline
from service.admission.errors import EngineTimeoutError
from service.admission.gate import OverloadedError
from service.api.answers import json_answer, timestamp
from service.engines.interface import ClientGoneError, EngineUnavailableError, WindowExceededError
from service.http.problems import Problem
from service.monitoring import metrics
from service.prediction.context import Context, context
from service.prediction.limits import Texts, check_texts
from service.prediction.truncation import Cut, cut_to_length, fit_window
from service.tasks import qa
from service.tasks.registry import TASKS
from service.tasks.task import Task, TaskInput, TaskInputError
from service.version import version

api = APIBlueprint("predict", __name__, abp_tags=[Tag(name="predict", description="The tasks")])

# While engines load, which takes well under this, the client may come again.
_RETRY_WHILE_LOADING = 2  # seconds


class Parameters(BaseModel):
    """What a task takes beside the text; ``/tasks`` says which task takes which."""

    model_config = ConfigDict(strict=True, extra="forbid")

    labels: Annotated[
        Texts | None, Field(min_length=1, description="classification: the labels to choose from")
    ] = None
    candidates: Annotated[
        Texts | None, Field(min_length=1, description="similarity: the texts to compare with")
    ] = None
    question: Annotated[
        str | None, Field(description='qa: the question, unless input_text is "context|question"')
    ] = None
    role: Annotated[
        Literal["query", "passage"] | None,
        Field(description="embedding: whether the texts are searched with (the default) or searched in"),
    ] = None
    # Under its own name it would hide a method of BaseModel.
    extraction_schema: Annotated[
        dict[str, Any] | None,
        Field(alias="schema", description="ner, relation, event: what to extract, see docs/tasks.md"),
    ] = None
    truncate: Annotated[
        bool | None,
        Field(description="every task: cut what is too long for the service or its model, and say so"),
    ] = None


# The parameter of every task, and the fields that it speaks of.
TRUNCATE = "truncate"
_CUT_FIELDS = frozenset({"input_text", "parameters.candidates"})
# Where what is too long for a model's window stands in the request.
_PLACES = {"text": "input_text", "labels": "parameters.labels", "question": "parameters.question"}


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
    served = serve(
        context(), task, body.input_text, body.parameters.model_dump(exclude_none=True, by_alias=True)
    )
    truncated = {"truncated": [asdict(cut) for cut in served.cuts]} if served.cuts else {}
    return json_answer(
        {
            "result": served.result,
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
    """Every task of the contract, available or not; and what one request may hold at most."""
    here = context()
    return json_answer(
        {
            "tasks": [_described(here, task) for task in TASKS.values()],
            "limits": {
                "max_text_chars": here.settings.max_text_chars,
                "max_batch": here.settings.max_batch,
                "max_batch_chars": here.settings.max_batch_chars,
                "max_body_bytes": here.settings.max_body_bytes,
            },
        }
    )


@dataclass(frozen=True)
class Served:
    """A task's result, and which of its texts were cut before it was made."""

    result: dict[str, Any]
    cuts: tuple[Cut, ...]


def serve(here: Context, task: Task, input_text: str | list[str], parameters: dict[str, Any]) -> Served:
    """The result of ``task``, after the checks and behind the gate.

    Raises:
        Problem: the request does not fit the task, its engine is not available, there is no place, or no time left.
    """
    if isinstance(input_text, list) and not task.many:
        raise Problem(
            "bad_request", f"input_text: {task.name} takes one text, not a list", field="input_text"
        )
    truncate = bool(parameters.get(TRUNCATE))
    if truncate and task.name == qa.TASK.name and "question" not in parameters:
        # The question stands at the end, and would be what is lost.
        truncate = False
    texts = {"input_text": input_text if isinstance(input_text, list) else [input_text]}
    for name, value in parameters.items():
        if name == TRUNCATE:
            continue
        field = f"parameters.{name}"
        if name not in task.parameters:
            raise Problem("bad_request", f"{field}: {task.name} does not take it", field=field)
        # A schema is no text: the task that takes it checks its shape.
        if not isinstance(value, dict):
            texts[field] = value if isinstance(value, list) else [value]
    cuts: list[Cut] = []
    for field in texts:
        if truncate and field in _CUT_FIELDS:
            texts[field], cut = cut_to_length(field, texts[field], here.settings.max_text_chars)
            cuts += cut
        check_texts(here.settings, field, texts[field])
    try:
        backing = task.backing(here.roster)
        for slot in backing.slots:
            failure = here.roster.failure(slot)
            # A lasting failure needs no place at the gate to be told.
            if failure is not None and failure.reason != "loading":
                raise failure
        with deadline.within(here.settings.prediction_timeout), here.admission.admit() as waited:
            metrics.QUEUE_WAIT.labels("gate").observe(waited)
            deadline.check()
            if backing.slots == ("encoder",):
                for field in _CUT_FIELDS & texts.keys():
                    texts[field], cut = fit_window(
                        here.roster.encoder(), field, texts[field], truncate=truncate
                    )
                    cuts += cut
            try:
                result = backing.answer(here.roster, _input_of(texts, parameters))
            except WindowExceededError as excess:
                if not (truncate and excess.kept):
                    raise
                text = texts["input_text"][0]
                texts["input_text"] = [text[: excess.kept]]
                cuts.append(Cut("input_text", excess.kept, len(text)))
                result = backing.answer(here.roster, _input_of(texts, parameters))
            return Served(result, tuple(_last_of_each(cuts)))
    except TaskInputError as error:
        raise Problem("bad_request", f"{error.field}: {error.detail}", field=error.field) from None
    except EngineUnavailableError as failure:
        retry = _RETRY_WHILE_LOADING if failure.reason == "loading" else None
        raise Problem("model_unavailable", failure.detail, retry_after=retry) from None
    except EngineTimeoutError as late:
        raise Problem("timeout", str(late)) from None
    except WindowExceededError as excess:
        # A question may stand in the text.
        field = _PLACES[excess.part] if _PLACES[excess.part] in texts else "input_text"
        remedy = "; parameters.truncate cuts it" if excess.kept else ""
        detail = f"{field}: {excess.tokens} tokens, the model reads {excess.window} at once{remedy}"
        raise Problem("text_too_long", detail, field=field) from None
    except ClientGoneError:
        # Nobody reads it; the log must not count it as a failure of the service.
        raise Problem("bad_request", "the client closed the connection before its turn came") from None
    except OverloadedError as overload:
        raise Problem("overloaded", overload.detail, retry_after=overload.retry_after) from None


def _input_of(texts: Mapping[str, list[str]], parameters: Mapping[str, Any]) -> TaskInput:
    """What the task gets: the texts as they were cut, and no parameter that is not its own."""
    kept = {name: value for name, value in parameters.items() if name != TRUNCATE}
    for name, value in kept.items():
        if isinstance(value, list):
            kept[name] = texts[f"parameters.{name}"]
    return TaskInput(tuple(texts["input_text"]), kept)


def _last_of_each(cuts: Sequence[Cut]) -> Iterator[Cut]:
    """A text that was cut twice is told of once: what is left of it, and what it was."""
    first: dict[str, int] = {}
    last: dict[str, Cut] = {}
    for cut in cuts:
        first.setdefault(cut.field, cut.length)
        last[cut.field] = cut
    for field, cut in last.items():
        yield replace(cut, length=first[field])


def model_of(here: Context, task: Task) -> str:
    """The names of the engines behind ``task``, as far as they stand, and of what stands on them."""
    names = here.roster.names()
    backing = task.backing(here.roster)
    return " + ".join([names[slot] for slot in backing.slots if slot in names] + ["rules"] * backing.by_rules)


def _described(here: Context, task: Task) -> dict[str, Any]:
    failure = next(
        (failure for slot in task.backing(here.roster).slots if (failure := here.roster.failure(slot))), None
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
