"""``event``: no engine of this version extracts events."""

from typing import Any

from service.engines.roster import Roster
from service.tasks.task import Task, TaskInput

UNAVAILABLE = (
    "event extraction needs a ModelScope UniNLU model, for which this version has no engine; to prepare for"
    " one that has: pip install 'gte-ops[model]' &&"
    " modelscope download --model iic/nlp_structbert_siamese-uninlu_chinese-base"
)


def answer(_roster: Roster, _task_input: TaskInput) -> dict[str, Any]:
    """Never called: the task is announced as unavailable."""
    raise NotImplementedError


TASK = Task("event", "Events with their triggers and arguments", (), answer, unavailable=UNAVAILABLE)
