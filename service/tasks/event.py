"""``event``: the events of a text and their participants."""

from dataclasses import asdict
from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.engines.simplified import SimplifiedText, simplified
from service.tasks import extraction
from service.tasks.masked_text import mask
from service.tasks.original_span import in_original
from service.tasks.rules.event import ROLES, EventMatch, events_of
from service.tasks.schema import Schema, qualified, require_known, schema_of
from service.tasks.task import Task, TaskInput

FIELD = "parameters.schema"


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"events": [{"type", "trigger", "arguments"}]}``; with a schema, only the types and roles in it."""
    schema = schema_of(task_input, levels=2)
    lexical = engines.lexical()
    roles_by_type = None if schema is None else _roles_by_type(schema, lexical.name)
    text = simplified(task_input.text)
    tokens = lexical.tokens(text.text)
    events = events_of(text.text, tokens, mask(text.text, tokens))
    return {
        "events": [
            _event(event, text, None if roles_by_type is None else roles_by_type[event.type])
            for event in events
            if roles_by_type is None or event.type in roles_by_type
        ]
    }


def _roles_by_type(schema: Schema, model: str) -> dict[str, set[str]]:
    roles_by_type: dict[str, set[str]] = {}
    for name, roles in schema.items():
        kind = require_known(FIELD, qualified(name)[0], ROLES, model)
        roles_by_type[kind] = {
            require_known(f"{FIELD}.{name}", qualified(role)[0], sorted(ROLES[kind]), model)
            for role in roles or {}
        }
    return roles_by_type


def _event(event: EventMatch, text: SimplifiedText, roles: set[str] | None) -> dict[str, Any]:
    start, end = text.span(event.start, event.end)
    return {
        "type": event.type,
        "trigger": {"text": text.original[start:end], "start": start, "end": end},
        "arguments": [
            asdict(in_original(one, text)) for one in event.arguments if roles is None or one.role in roles
        ],
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
