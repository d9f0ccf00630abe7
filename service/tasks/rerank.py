"""Rerank: how close each document is to a query. No ``task_type``: ``/v1/rerank`` asks for it."""

from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.tasks.distinct import encode_distinct
from service.tasks.task import Task, TaskInput, cosine, required


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"scores": [...]}``: the cosine of the query with each document, in the order given, not below 0.

    The query takes the role ``query``, a document ``passage``, as E5's authors advise for search.
    """
    documents = required(task_input, "candidates")
    encoder = engines.encoder()
    (query,) = encoder.encode([task_input.text])
    vectors = encode_distinct(encoder, documents, "passage")
    return {"scores": [round(max(0.0, cosine(query, vector)), 6) for vector in vectors]}


TASK = Task(
    "rerank",
    "How close each document is to a query",
    (EngineKind.ENCODER,),
    answer,
    parameters=frozenset({"candidates"}),
    required=frozenset({"candidates"}),
)
