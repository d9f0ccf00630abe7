"""``relation``: who or what stands in which relation to whom or what."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.tasks import extraction
from service.tasks.masked_text import mask
from service.tasks.rules.relation import PREDICATES, RelationMatch, relations_of
from service.tasks.schema import TYPES, Schema, known, qualified, schema_of
from service.tasks.task import Task, TaskInput

FIELD = "parameters.schema"


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"relations": [{"subject", "predicate", "object"}]}``, subject and object as entities of ``ner``; with a
    schema, those relations alone that it names."""
    schema = schema_of(task_input, levels=2)
    lexical = engines.lexical()
    wanted = None if schema is None else _wanted(schema, lexical.name)
    relations = relations_of(mask(task_input.text, lexical.tokens(task_input.text)))
    return {"relations": [asdict(one) for one in _kept(relations, wanted)]}


def _wanted(schema: Schema, model: str) -> set[tuple[str, str, str]]:
    """Subject type, predicate and object type of every relation that the schema names."""
    wanted = set()
    for subject, predicates in schema.items():
        known(FIELD, subject, TYPES, model)
        for name in predicates or {}:
            predicate, qualifier = qualified(name)
            place = f"{FIELD}.{subject}"
            known(place, predicate, PREDICATES, model)
            objects = (
                TYPES[known(place, qualifier, TYPES, model)]
                if qualifier
                else frozenset().union(*TYPES.values())
            )
            wanted |= {(one, predicate, other) for one in TYPES[subject] for other in objects}
    return wanted


def _kept(
    relations: Iterable[RelationMatch], wanted: set[tuple[str, str, str]] | None
) -> list[RelationMatch]:
    return [
        one
        for one in relations
        if wanted is None or (one.subject.type, one.predicate, one.object.type) in wanted
    ]


TASK = Task(
    "relation",
    "Relations between entities",
    (EngineKind.LEXICAL,),
    answer,
    parameters=frozenset({"schema"}),
    by_rules=True,
    extractor_answer=extraction.relation,
)
