"""``classification``: which of the given labels fits a text best."""

from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.tasks import extraction
from service.tasks.task import Task, TaskInput, required
from service.tasks.zero_shot import best, score


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"label", "score", "scores"}``; see ``hypotheses`` for what the scores mean."""
    labels: list[str] = required(task_input, "labels")
    hypotheses = {label: (f"这是一条关于{label}的内容。",) for label in labels}
    scores = score(engines.encoder(), task_input.text, hypotheses)
    label = best(scores)
    return {"label": label, "score": scores[label], "scores": scores}


TASK = Task(
    "classification",
    "The label that fits a text best, of those given",
    (EngineKind.ENCODER,),
    answer,
    parameters=frozenset({"labels"}),
    required=frozenset({"labels"}),
    extractor_answer=extraction.classification,
)
