"""One prediction: check the request, admit it, fit its texts to the model, ask the engine, translate its errors."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from service.admission import client, deadline
from service.admission.errors import ClientGoneError, DeadlineError, EngineTimeoutError
from service.admission.gate import OverloadedError, Place
from service.engines.interface import (
    Encoder,
    EngineKind,
    EngineUnavailableError,
    UnavailableReason,
    WindowExceededError,
)
from service.engines.registry import EngineRegistry
from service.http.problems import Problem
from service.monitoring import metrics
from service.prediction.context import Context
from service.prediction.limits import check_texts
from service.prediction.truncation import TRUNCATE, Cut, cut_to_length, fit_window
from service.settings import Settings
from service.tasks import qa
from service.tasks.task import Task, TaskBackend, TaskInput, TaskInputError

# Engines load in less time than this, so a client may try again then.
_RETRY_WHILE_LOADING = 2  # seconds
# The fields that parameters.truncate applies to.
_CUT_FIELDS = frozenset({"input_text", "parameters.candidates"})
# The field in which each part of a request that exceeds a model's window was sent.
_FIELDS = {"text": "input_text", "labels": "parameters.labels", "question": "parameters.question"}


@dataclass(frozen=True)
class PredictionResult:
    """A task's result, and the texts that were cut before it was made."""

    result: dict[str, Any]
    cuts: tuple[Cut, ...]


def predict(
    here: Context, place: Place, task: Task, input_text: str | list[str], parameters: dict[str, Any]
) -> PredictionResult:
    """The result of ``task`` for the client that holds ``place``, after the checks and in its turn.

    Raises:
        Problem: the request does not fit the task, its engine is not available, or there is no place or no time left.
    """
    request = _Request(task, input_text, parameters)
    request.check(here.settings)
    with _engine_errors_as_problems(request, here.settings):
        backend = task.backend(here.engines)
        _require_engines(here.engines, backend)
        _require_room(here, place, backend)
        metrics.QUEUE_WAIT.labels("gate").observe(place.require_turn())
        seconds_left = place.began + here.settings.prediction_timeout - time.monotonic()
        with client.asking(place.client), deadline.within(seconds_left):
            deadline.check()
            if backend.kinds == (EngineKind.ENCODER,):
                request.goes_on = True
                request.fit_window(here.engines.encoder())
            result = _answer(here.engines, backend, request)
    return PredictionResult(result, tuple(_merged(request.cuts)))


class _Request:
    """The texts of a request by field, and the cuts made in them. ``goes_on``: whether what was computed when it fails
    is kept for the one that repeats it (``UnfinishedVectors``)."""

    goes_on = False

    def __init__(self, task: Task, input_text: str | list[str], parameters: dict[str, Any]) -> None:
        if isinstance(input_text, list) and not task.many:
            raise _bad_request("input_text", f"{task.name} takes one text, not a list")
        self._parameters = {name: value for name, value in parameters.items() if name != TRUNCATE}
        self.truncate = bool(parameters.get(TRUNCATE))
        if task.name == qa.TASK.name and "question" not in parameters:
            # The question is at the end of the text, which truncation would remove.
            self.truncate = False
        self.texts = {"input_text": input_text if isinstance(input_text, list) else [input_text]}
        for name, value in self._parameters.items():
            field = f"parameters.{name}"
            if name not in task.parameters:
                raise _bad_request(field, f"{task.name} does not take it")
            # A schema is no text: the task that takes it checks its shape.
            if not isinstance(value, dict):
                self.texts[field] = value if isinstance(value, list) else [value]
        self.cuts: list[Cut] = []

    def check(self, settings: Settings) -> None:
        """Check every text against the limits, cut to length first if the client asks for it."""
        for field, texts in self.texts.items():
            if self.truncate and field in _CUT_FIELDS:
                self.texts[field], cuts = cut_to_length(field, texts, settings.max_text_chars)
                self.cuts += cuts
            check_texts(settings, field, self.texts[field])

    def fit_window(self, encoder: Encoder) -> None:
        """Cut, or refuse, the texts that are longer than the encoder's window."""
        for field in _CUT_FIELDS & self.texts.keys():
            self.texts[field], cuts = fit_window(encoder, field, self.texts[field], truncate=self.truncate)
            self.cuts += cuts

    def cut_input(self, length: int) -> None:
        """Cut the input text to ``length`` characters."""
        text = self.texts["input_text"][0]
        self.texts["input_text"] = [text[:length]]
        self.cuts.append(Cut("input_text", length, len(text)))

    def task_input(self) -> TaskInput:
        """The texts as cut, and the task's own parameters."""
        parameters = {
            name: self.texts[f"parameters.{name}"] if isinstance(value, list) else value
            for name, value in self._parameters.items()
        }
        return TaskInput(tuple(self.texts["input_text"]), parameters)


def _require_engines(engines: EngineRegistry, backend: TaskBackend) -> None:
    """A lasting failure is reported without waiting for a place at the gate."""
    for kind in backend.kinds:
        failure = engines.failure(kind)
        if failure is not None and failure.reason is not UnavailableReason.LOADING:
            raise failure


def _require_room(here: Context, place: Place, backend: TaskBackend) -> None:
    """Refuse a request for a large model, before anything is done for it, that could not be begun in time."""
    for kind in backend.kinds:
        if kind is not EngineKind.LEXICAL:
            place.make_dear()
            here.engines.require_room(kind, place.client.name)


def _answer(engines: EngineRegistry, backend: TaskBackend, request: _Request) -> dict[str, Any]:
    try:
        return backend.answer(engines, request.task_input())
    except WindowExceededError as excess:
        if not (request.truncate and excess.kept):
            raise
        request.cut_input(excess.kept)
        return backend.answer(engines, request.task_input())


@contextmanager
def _engine_errors_as_problems(request: _Request, settings: Settings) -> Iterator[None]:
    try:
        yield
    except TaskInputError as error:
        raise _bad_request(error.field, error.detail) from None
    except EngineUnavailableError as failure:
        retry = _RETRY_WHILE_LOADING if failure.reason is UnavailableReason.LOADING else None
        raise Problem("model_unavailable", failure.detail, retry_after=retry) from None
    except DeadlineError:
        raise Problem("timeout", _out_of_time(request, settings)) from None
    except EngineTimeoutError as timeout:
        raise Problem("timeout", str(timeout)) from None
    except WindowExceededError as excess:
        raise _too_long(excess, request) from None
    except ClientGoneError:
        # No client reads it, but the log must not count it as a failure of the service.
        raise Problem("bad_request", "the client closed the connection before its turn came") from None
    except OverloadedError as overload:
        raise Problem("overloaded", overload.detail, retry_after=overload.retry_after) from None


def _out_of_time(request: _Request, settings: Settings) -> str:
    count = max(map(len, request.texts.values()))
    again = "the same again, or " if request.goes_on else ""
    less = f"send {again}fewer than {count} texts in one request" if count > 1 else "ask again"
    return f"no answer within {settings.prediction_timeout:g} s: {less}, or raise GTE_PREDICTION_TIMEOUT"


def _too_long(excess: WindowExceededError, request: _Request) -> Problem:
    field = _FIELDS[excess.part]
    if field not in request.texts:  # a question may be part of the input text
        field = "input_text"
    remedy = "; parameters.truncate cuts it" if excess.kept else ""
    detail = f"{field}: {excess.tokens} tokens, the model reads {excess.window} at once{remedy}"
    return Problem("text_too_long", detail, field=field)


def _bad_request(field: str, detail: str) -> Problem:
    return Problem("bad_request", f"{field}: {detail}", field=field)


def _merged(cuts: Sequence[Cut]) -> Iterator[Cut]:
    """One cut a text, also if it was cut twice: from its first length to its last."""
    first: dict[str, int] = {}
    last: dict[str, Cut] = {}
    for cut in cuts:
        first.setdefault(cut.field, cut.length)
        last[cut.field] = cut
    for field, cut in last.items():
        yield replace(cut, length=first[field])
