"""``similarity``: how close each candidate is to a text."""

from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.tasks.distinct import encode_distinct
from service.tasks.task import Task, TaskInput, cosine, required


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"scores": [...]}``: the cosine of the text with each candidate, in the order given: how close their topics
    are. A statement and its opposite have one topic, so this is no measure of agreement.

    Both sides take the role ``query``, as E5's authors advise for symmetric comparison.
    """
    candidates = required(task_input, "candidates")
    text, *others = encode_distinct(engines.encoder(), [task_input.text, *candidates])
    return {"scores": [round(cosine(text, other), 6) for other in others]}


TASK = Task(
    "similarity",
    "Cosine similarity of a text with each candidate: whether they have one topic, not whether they agree",
    (EngineKind.ENCODER,),
    answer,
    parameters=frozenset({"candidates"}),
    required=frozenset({"candidates"}),
)
