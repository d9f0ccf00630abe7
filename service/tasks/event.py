"""``event``: what happened, with who and what took part in it."""

from dataclasses import asdict
from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.tasks import extraction
from service.tasks.masked_text import mask
from service.tasks.rules.event import ROLES, EventMatch, events_of
from service.tasks.schema import Schema, known, qualified, schema_of
from service.tasks.task import Task, TaskInput

FIELD = "parameters.schema"


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"events": [{"type", "trigger", "arguments"}]}``; with a schema, those types and roles alone that it
    names."""
    schema = schema_of(task_input, levels=2)
    lexical = engines.lexical()
    wanted = None if schema is None else _wanted(schema, lexical.name)
    tokens = lexical.tokens(task_input.text)
    events = events_of(task_input.text, tokens, mask(task_input.text, tokens))
    return {
        "events": [
            _described(event, None if wanted is None else wanted[event.type])
            for event in events
            if wanted is None or event.type in wanted
        ]
    }


def _wanted(schema: Schema, model: str) -> dict[str, set[str]]:
    wanted: dict[str, set[str]] = {}
    for name, roles in schema.items():
        kind = known(FIELD, qualified(name)[0], ROLES, model)
        wanted[kind] = {
            known(f"{FIELD}.{name}", qualified(role)[0], sorted(ROLES[kind]), model) for role in roles or {}
        }
    return wanted


def _described(event: EventMatch, roles: set[str] | None) -> dict[str, Any]:
    return {
        "type": event.type,
        "trigger": {"text": event.trigger, "start": event.start, "end": event.end},
        "arguments": [asdict(one) for one in event.arguments if roles is None or one.role in roles],
    }


TASK = Task(
    "event",
    "Events with their triggers and arguments",
    (EngineKind.LEXICAL,),
    answer,
    parameters=frozenset({"schema"}),
    by_rules=True,
    extractor_answer=extraction.event,
)
