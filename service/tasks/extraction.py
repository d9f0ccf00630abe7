"""The tasks answered by the universal extraction model, if one is installed.

The requests to the model follow its card (``service/engines/uninlu/model.py``). Without a schema the model is asked for
what the embedded default extracts, and types and predicates have the same names.
"""

from dataclasses import asdict
from typing import Any

from service.engines.interface import TextSpan
from service.engines.registry import EngineRegistry
from service.tasks.question import split
from service.tasks.rules.event import ROLES
from service.tasks.schema import qualified, schema_of
from service.tasks.task import TaskInput, TaskInputError, required
from service.tasks.zero_shot import best

_TYPES = {"人物": "PERSON", "地理位置": "LOC", "组织机构": "ORG", "时间": "TIME", "作品": "WORK_OF_ART"}
_RELATIONS: dict[str, Any] = {
    "人物": {
        "出生地(地理位置)": None,
        "出生日期(时间)": None,
        "毕业院校(组织机构)": None,
        "任职(组织机构)": None,
        "配偶(人物)": None,
    },
    "组织机构": {"创始人(人物)": None, "成立日期(时间)": None, "总部地点(地理位置)": None},
    "作品": {"作者(人物)": None},
}
_TRIGGER = "(事件触发词)"
_EVENTS: dict[str, Any] = {f"{kind}{_TRIGGER}": dict.fromkeys(sorted(roles)) for kind, roles in ROLES.items()}
_SENTIMENTS = {"正向": "positive", "负向": "negative", "中性": "neutral"}


def ner(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """As ``ner.answer``; entities may overlap if the schema's types do."""
    schema = schema_of(task_input, levels=1)
    paths = engines.extractor().paths(task_input.text, schema or dict.fromkeys(_TYPES))
    names = {} if schema else _TYPES
    entities = [_entity(path[0], names) for path in paths]
    return {"entities": sorted(entities, key=lambda one: (one["start"], one["end"]))}


def relation(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """As ``relation.answer``; the type of an object is the name in brackets after the predicate."""
    schema = schema_of(task_input, levels=2)
    names = {} if schema else _TYPES
    relations = []
    for subject, predicate_span in engines.extractor().paths(task_input.text, schema or _RELATIONS):
        predicate, kind = qualified(predicate_span.type)
        relations.append(
            {
                "subject": _entity(subject, names),
                "predicate": predicate,
                "object": {**asdict(predicate_span), "type": names.get(kind or "", kind or "")},
            }
        )
    return {"relations": relations}


def event(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """As ``event.answer``; one event for each trigger, even without arguments."""
    schema = schema_of(task_input, levels=2)
    requested = {
        name if qualified(name)[1] else f"{name}{_TRIGGER}": roles
        for name, roles in (schema or _EVENTS).items()
    }
    events: dict[TextSpan, list[dict[str, Any]]] = {}
    for trigger, *arguments in engines.extractor().paths(task_input.text, requested, every_prefix=True):
        events.setdefault(trigger, []).extend(
            {"role": one.type, "text": one.text, "start": one.start, "end": one.end} for one in arguments
        )
    return {
        "events": [
            {
                "type": qualified(trigger.type)[0],
                "trigger": {"text": trigger.text, "start": trigger.start, "end": trigger.end},
                "arguments": arguments,
            }
            for trigger, arguments in events.items()
        ]
    }


def sentiment(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """As ``sentiment.answer``."""
    scores = engines.extractor().choose(task_input.text, list(_SENTIMENTS), "情感分类")
    return _chosen({_SENTIMENTS[label]: score for label, score in scores.items()})


def classification(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """As ``classification.answer``."""
    labels = list(dict.fromkeys(required(task_input, "labels")))
    for label in labels:
        if "," in label or "|" in label:
            raise TaskInputError("parameters.labels", "this model's labels may not hold a comma or a bar")
    return _chosen(engines.extractor().choose(task_input.text, labels, "分类"))


def qa(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """As ``qa.answer``, but empty at 0 with the score 0 if the model finds no answer."""
    context, question = split(task_input.text, task_input.parameters.get("question"))
    span, score = engines.extractor().find(context, question)
    return {"answer": span.text, "start": span.start, "end": span.end, "score": round(score, 6)}


def _entity(span: TextSpan, names: dict[str, str]) -> dict[str, Any]:
    return {"text": span.text, "type": names.get(span.type, span.type), "start": span.start, "end": span.end}


def _chosen(scores: dict[str, float]) -> dict[str, Any]:
    rounded = {label: round(score, 6) for label, score in scores.items()}
    label = best(rounded)
    return {"label": label, "score": rounded[label], "scores": rounded}
