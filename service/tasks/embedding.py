"""``embedding``: vectors of texts."""

from typing import Any

from service.engines.interface import EngineKind, Role
from service.engines.registry import EngineRegistry
from service.tasks.distinct import encode_distinct
from service.tasks.task import Task, TaskInput


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"embeddings": [[...]], "dimension": n}``: one unit vector per text, in order; ``n`` depends on
    the engine."""
    encoder = engines.encoder()
    role: Role = task_input.parameters.get("role") or "query"
    return {"embeddings": encode_distinct(encoder, task_input.texts, role), "dimension": encoder.dimension}


TASK = Task(
    "embedding", "Vectors of texts", (EngineKind.ENCODER,), answer, parameters=frozenset({"role"}), many=True
)
