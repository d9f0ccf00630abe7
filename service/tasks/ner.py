"""``ner``: the named entities of a text, with offsets."""

from dataclasses import asdict
from typing import Any

from service.engines.roster import Roster
from service.tasks.entities import entities_of
from service.tasks.task import Task, TaskInput


def answer(roster: Roster, task_input: TaskInput) -> dict[str, Any]:
    """``{"entities": [{"text", "type", "start", "end"}]}`` in order of their place in the text."""
    tokens = roster.lexical().tokens(task_input.text)
    return {"entities": [asdict(entity) for entity in entities_of(tokens)]}


TASK = Task("ner", "Named entities with their types and offsets", ("lexical",), answer)
