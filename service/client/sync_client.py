"""The client for threads."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from .batches import Limits, batches, indexed_from
from .calls import Calls
from .connections import Connections
from .errors import BadRequestError
from .results import Answer, Choice, Event, Prediction, Relation, Span, State, choice, event, span, understood
from .retries import DEFAULT_PATIENCE, SYSTEM_CLOCK, Clock, Patience

Role = Literal["query", "passage"]
_T = TypeVar("_T")


class GteClient:
    """The service at one address. Thread-safe; close it, or use it as a context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        patience: Patience = DEFAULT_PATIENCE,
        verify: bool | str = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """``base_url``: where nginx or the service listens, ``https://gte-api.example.com``.

        ``verify``: a file of certificate authorities instead of the usual ones; False disables the check.
        """
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must begin with https:// or http://, got {base_url!r}")
        self._connections = Connections(api_key, verify)
        self._calls = Calls(base_url, self._connections, patience, clock)
        self._lock = threading.Lock()
        self._limits: Limits | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all threads. A later call opens new ones."""
        self._connections.close()

    # Tasks. Each raises GteError: BadRequestError, UnauthorizedError, UnavailableError, TooSlowError, ...

    def ner(self, text: str) -> list[Span]:
        """The named entities of ``text``, in order."""
        return self._read("ner", text, {}, lambda result: [span(entity) for entity in result["entities"]])

    def relation(self, text: str, **parameters: Any) -> list[Relation]:
        """The relations in ``text``."""
        return self._read(
            "relation",
            text,
            parameters,
            lambda result: [
                Relation(span(one["subject"]), str(one["predicate"]), span(one["object"]))
                for one in result["relations"]
            ],
        )

    def event(self, text: str, **parameters: Any) -> list[Event]:
        """The events in ``text``."""
        return self._read("event", text, parameters, lambda result: [event(one) for one in result["events"]])

    def sentiment(self, text: str) -> Choice:
        """``positive``, ``negative`` or ``neutral``."""
        return self._read("sentiment", text, {}, choice)

    def classify(self, text: str, labels: Sequence[str]) -> Choice:
        """Which of ``labels`` fits ``text`` best."""
        return self._read("classification", text, {"labels": list(labels)}, choice)

    def answer(self, question: str, context: str) -> Answer:
        """The answer to ``question`` in ``context``."""
        return self._read(
            "qa",
            context,
            {"question": question},
            lambda result: Answer(
                str(result["answer"]), int(result["start"]), int(result["end"]), float(result["score"])
            ),
        )

    def similarity(self, text: str, candidates: Sequence[str]) -> list[float]:
        """The cosine of ``text`` with each of ``candidates``, in order. There may be any number of candidates."""
        if isinstance(candidates, str):
            raise TypeError("expected a list of texts, got one text")
        scores: list[float] = []
        limits = self._service_limits() if len(candidates) > 1 else Limits()
        for batch in batches(candidates, limits):
            with indexed_from(len(candidates), len(scores), "parameters.candidates"):
                scores += self._list("similarity", "scores", batch, text, {"candidates": batch})
        return scores

    def embed(
        self, texts: str | Sequence[str], *, role: Role = "query", truncate: bool = False
    ) -> list[list[float]]:
        """A vector of length 1 for each text, in order. There may be any number of texts; they are sent in several
        requests.

        ``role``: ``query`` for texts to search with, ``passage`` for texts to search in. ``truncate``: truncate a text
        that is too long for the model instead of failing; ``predict`` reports which.
        """
        texts = [texts] if isinstance(texts, str) else texts
        if not texts:
            return []
        limits = self._service_limits() if len(texts) > 1 else Limits()
        return list(self._vectors(texts, len(texts), limits, embedding_parameters(role, truncate)))

    def embed_stream(
        self, texts: Iterable[str], *, role: Role = "query", truncate: bool = False
    ) -> Iterator[list[float]]:
        """``embed`` for a list of any length, or a generator: the vectors one by one, in order, while the texts are
        read. At most one request's texts and vectors are in memory. If a request fails, the vectors before it have been
        given, and the error's ``field`` counts from the first text of all."""
        if isinstance(texts, str):
            raise TypeError("expected texts, got one text")
        return self._vectors(texts, None, None, embedding_parameters(role, truncate))

    def predict(self, task_type: str, input_text: str | Sequence[str], **parameters: Any) -> Prediction:
        """Any task, with its unprocessed answer."""
        text = input_text if isinstance(input_text, str) else list(input_text)
        members, request_id = self._calls.json_of(
            "POST", "/predict", {"task_type": task_type, "input_text": text, "parameters": parameters}
        )
        with understood(request_id):
            return Prediction(
                result=dict(members["result"]),
                task_type=str(members["task_type"]),
                model=str(members["model"]),
                version=str(members["version"]),
                timestamp=str(members["timestamp"]),
                request_id=str(members["request_id"]),
            )

    # State

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks of this deployment, the model behind each, and why another is unavailable."""
        members, request_id = self._calls.json_of("GET", "/tasks")
        with understood(request_id):
            return [dict(task) for task in members["tasks"]]

    def health(self) -> State:
        """Whether the service is alive. Not repeated: the question is about now."""
        members, _ = self._calls.json_of("GET", "/health", repetitions=0)
        return State(members.get("status") == "ok", None, "", members)

    def ready(self) -> State:
        """Whether a prediction would be served now; a negative answer is no error. Not repeated."""
        members, _ = self._calls.json_of("GET", "/ready", repetitions=0, also=frozenset({503}))
        return State(
            members.get("ready") is True, members.get("reason"), str(members.get("detail", "")), members
        )

    def _vectors(
        self,
        texts: Iterable[str],
        count: int | None,
        limits: Limits | None,
        parameters: dict[str, Any],
        done: int = 0,
    ) -> Iterator[list[float]]:
        """``count``: of the texts, if it is known. ``limits``: None to ask the service for them. ``done``: texts of the
        same list before these."""
        for batch in batches(texts, limits or self._service_limits()):
            with indexed_from(count, done, "input_text"):
                vectors = self._list("embedding", "embeddings", batch, batch, parameters)
            done += len(batch)
            yield from vectors

    def _embedded(self, texts: list[str], parameters: dict[str, Any], done: int) -> list[list[float]]:
        return list(self._vectors(texts, None, None, parameters, done))

    def _service_limits(self) -> Limits:
        with self._lock:
            limits = self._limits
        if limits is not None:
            return limits
        members, request_id = self._calls.json_of("GET", "/tasks")
        own_limits = members.get("limits", {})
        with understood(request_id):
            limits = Limits(
                **{name: int(own_limits[name]) for name in Limits.__annotations__ if name in own_limits}
            )
        with self._lock:
            self._limits = limits
        return limits

    def _read(
        self,
        task_type: str,
        input_text: str | Sequence[str],
        parameters: dict[str, Any],
        result_of: Callable[[Mapping[str, Any]], _T],
    ) -> _T:
        prediction = self.predict(task_type, input_text, **parameters)
        with understood(prediction.request_id):
            return result_of(prediction.result)

    def _list(
        self,
        task_type: str,
        member: str,
        batch: Sequence[str],
        input_text: str | Sequence[str],
        parameters: dict[str, Any],
    ) -> list[Any]:
        """The ``member`` of a result: one value for each text of ``batch``."""

        def values(result: Mapping[str, Any]) -> list[Any]:
            members = list(result[member])
            if len(members) != len(batch):
                raise ValueError(f"{len(members)} values for {len(batch)} texts")
            return members

        try:
            return self._read(task_type, input_text, parameters, values)
        except BadRequestError as error:
            if error.code in ("batch_too_large", "payload_too_large"):
                # The service may have been restarted with lower limits: the next call asks for them.
                with self._lock:
                    self._limits = None
            raise


def embedding_parameters(role: Role, truncate: bool) -> dict[str, Any]:
    return {"role": role, **({"truncate": True} if truncate else {})}
