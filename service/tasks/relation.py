"""``relation``: the relations between the entities of a text."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.engines.simplified import simplified
from service.tasks import extraction
from service.tasks.masked_text import mask
from service.tasks.original_span import in_original
from service.tasks.rules.relation import PREDICATES, RelationMatch, relations_of
from service.tasks.schema import TYPES, Schema, qualified, require_known, schema_of
from service.tasks.task import Task, TaskInput

FIELD = "parameters.schema"


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"relations": [{"subject", "predicate", "object"}]}``, subject and object as entities of ``ner``; with a
    schema, only the relations in it."""
    schema = schema_of(task_input, levels=2)
    lexical = engines.lexical()
    triples = None if schema is None else _triples(schema, lexical.name)
    text = simplified(task_input.text)
    relations = relations_of(mask(text.text, lexical.tokens(text.text)))
    return {
        "relations": [
            {
                "subject": asdict(in_original(one.subject, text)),
                "predicate": one.predicate,
                "object": asdict(in_original(one.object, text)),
            }
            for one in _in_schema(relations, triples)
        ]
    }


def _triples(schema: Schema, model: str) -> set[tuple[str, str, str]]:
    """Subject type, predicate and object type of every relation that the schema names."""
    triples = set()
    for subject, predicates in schema.items():
        require_known(FIELD, subject, TYPES, model)
        for name in predicates or {}:
            predicate, qualifier = qualified(name)
            place = f"{FIELD}.{subject}"
            require_known(place, predicate, PREDICATES, model)
            objects = (
                TYPES[require_known(place, qualifier, TYPES, model)]
                if qualifier
                else frozenset().union(*TYPES.values())
            )
            triples |= {(one, predicate, other) for one in TYPES[subject] for other in objects}
    return triples


def _in_schema(
    relations: Iterable[RelationMatch], triples: set[tuple[str, str, str]] | None
) -> list[RelationMatch]:
    return [
        one
        for one in relations
        if triples is None or (one.subject.type, one.predicate, one.object.type) in triples
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
