"""``ner``: the named entities of a text, with offsets."""

from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.engines.simplified import simplified
from service.tasks import extraction
from service.tasks.original_span import in_original
from service.tasks.rules.entities import entities_of
from service.tasks.schema import TYPES, require_known, schema_of
from service.tasks.task import Task, TaskInput


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"entities": [{"text", "type", "start", "end"}]}`` in text order; with a schema, only those of its
    types."""
    schema = schema_of(task_input, levels=1)
    lexical = engines.lexical()
    types = None
    if schema is not None:
        names = [require_known("parameters.schema", name, TYPES, lexical.name) for name in schema]
        types = frozenset[str]().union(*(TYPES[name] for name in names))
    text = simplified(task_input.text)
    entities = entities_of(lexical.tokens(text.text))
    return {
        "entities": [
            vars(in_original(entity, text)) for entity in entities if types is None or entity.type in types
        ]
    }


TASK = Task(
    "ner",
    "Named entities with their types and offsets",
    (EngineKind.LEXICAL,),
    answer,
    parameters=frozenset({"schema"}),
    extractor_answer=extraction.ner,
)
