"""``/openapi.json``: flask-openapi3's description of the routes, corrected where the service differs from it."""

import re
from collections.abc import Iterable
from typing import Any

from service.api import access, predict
from service.engines.interface import EngineKind
from service.http.problems import OPENAI_PREFIX
from service.prediction.context import Context
from service.prediction.truncation import TRUNCATE
from service.settings import Settings
from service.tasks import event, ner, qa, relation
from service.tasks.question import EDGES
from service.tasks.registry import TASKS
from service.tasks.rules.event import ROLES
from service.tasks.rules.relation import PREDICATES
from service.tasks.schema import LONGEST_NAME, TYPES
from service.tasks.task import Task

_SCHEME = "key"
_NULL = {"type": "null"}
_OPENAI_ERROR = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}}
# Python strips U+001C to U+001F and U+0085 as blanks too; \s of a JSON schema (ECMA-262, WhiteSpace) has none of them.
_NOT_BLANK = r"[^\s\u001c-\u001f\u0085]"
# Characters that alone are no context for a question, as a class of a regular expression.
_NO_CONTEXT = re.escape("".join(char for char in EDGES if not char.isspace())) + r"\s"


def corrected(description: dict[str, Any], here: Context) -> dict[str, Any]:
    """``description`` with the requests of each task, the errors that the service returns, and API keys if in use.

    flask-openapi3 describes an array of errors for each route's 400; here every error is one problem details object, or
    OpenAI's under ``/v1/``. A component must not be null (OpenAPI 3.1, 4.8.7).
    """
    settings = here.settings
    components = {
        name: value for name, value in description.get("components", {}).items() if value is not None
    }
    with_keys = settings.api_keys_file is not None
    if with_keys:
        components["securitySchemes"] = {
            _SCHEME: {"type": "http", "scheme": "bearer", "description": "an API key of this service"}
        }
    schemas = components["schemas"]
    parameters = schemas["Parameters"]["properties"]
    schemas["PredictRequest"] = {
        "title": "PredictRequest",
        "description": schemas["PredictRequest"]["description"],
        "example": schemas["PredictRequest"]["example"],
        "oneOf": [_request(task, parameters, here) for task in TASKS.values()],
    }
    if here.engines.failure(EngineKind.ENCODER) is None:
        dimensions = schemas["EmbeddingsRequest"]["properties"]["dimensions"]
        dimensions["anyOf"] = [{"type": "integer", "const": here.engines.encoder().dimension}, _NULL]
    schemas["EmbeddingsRequest"]["properties"]["input"] |= {"anyOf": [_text(settings), _texts(settings)]}
    _limit_rerank(schemas, settings)
    description["components"] = components
    for path, operations in description["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            if _is_array(answers.get("400", {})):
                del answers["400"]
            if not path.startswith(OPENAI_PREFIX):
                answers.setdefault("default", {"description": "an error", **predict.PROBLEM_CONTENT})
            if with_keys and access.needs_key(path):
                operation["security"] = [{_SCHEME: []}]
                content = _OPENAI_ERROR if path.startswith(OPENAI_PREFIX) else predict.PROBLEM_CONTENT
                answers["401"] = {"description": "unauthorized (with WWW-Authenticate)", **content}
    return description


def _text(settings: Settings) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": settings.max_text_chars, "pattern": _NOT_BLANK}


def _texts(settings: Settings) -> dict[str, Any]:
    return {"type": "array", "items": _text(settings), "minItems": 1, "maxItems": settings.max_batch}


def _limit_rerank(schemas: dict[str, Any], settings: Settings) -> None:
    schemas["Document"]["properties"]["text"] |= _text(settings)
    request = schemas["RerankRequest"]["properties"]
    request["query"] |= _text(settings)
    document = {"anyOf": [_text(settings), {"$ref": "#/components/schemas/Document"}]}
    request["documents"] |= {**_texts(settings), "items": document}


def _request(task: Task, parameters: dict[str, Any], here: Context) -> dict[str, Any]:
    """The requests that ``task`` takes: the fields of the general model that go together."""
    properties: dict[str, Any] = {}
    for name in sorted({*task.parameters, TRUNCATE} & parameters.keys()):
        kinds = [kind for kind in parameters[name]["anyOf"] if kind != _NULL]
        if name == "schema":
            kinds = [_extraction_schema(task, any_names=here.engines.has(EngineKind.EXTRACTOR))]
        settings = here.settings
        kinds = [_limited(kind, settings) for kind in kinds]
        if name not in task.required:
            kinds.append(_NULL)
        properties[name] = {**parameters[name], "anyOf": kinds}
    request: dict[str, Any] = {
        "title": task.name,
        "description": task.summary,
        "type": "object",
        "properties": {
            "task_type": {"const": task.name},
            "input_text": {"anyOf": [_text(settings), _texts(settings)]} if task.many else _text(settings),
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": sorted(task.required),
                "additionalProperties": False,
            },
        },
        "required": ["task_type", "input_text", *(["parameters"] if task.required else [])],
        "additionalProperties": False,
    }
    return _with_a_question(request) if task is TASKS[qa.TASK.name] else request


def _extraction_schema(task: Task, *, any_names: bool) -> dict[str, Any]:
    """The values of ``parameters.schema`` (``service/tasks/schema.py``): with any names if a model interprets them,
    else with the names that the rules know."""
    any_name = rf"^(?=[\s\S]*\S)[\s\S]{{1,{LONGEST_NAME}}}$"
    types, bracketed = _one_of(TYPES), r"([(（][^()（）]+[)）])?$"
    if any_names:
        level = _level({any_name: _NULL})
        return level if task is ner.TASK else _level({any_name: level})
    if task is ner.TASK:
        return _level({f"^{types}$": _NULL})
    if task is relation.TASK:
        predicates = _level({rf"^{_one_of(PREDICATES)}([(（]{types}[)）])?$": _NULL})
        return _level({f"^{types}$": predicates})
    assert task is event.TASK, task.name  # noqa: S101  no other takes a schema
    return _level(
        {
            f"^{re.escape(kind)}{bracketed}": _level({f"^{_one_of(sorted(roles))}{bracketed}": _NULL})
            for kind, roles in ROLES.items()
        }
    )


def _level(names: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "minProperties": 1, "patternProperties": names, "additionalProperties": False}


def _one_of(names: Iterable[str]) -> str:
    return f"({'|'.join(map(re.escape, names))})"


def _with_a_question(request: dict[str, Any]) -> dict[str, Any]:
    """The question is in the parameters, or follows the last ``|`` of the text."""
    text = {**request["properties"]["input_text"], "pattern": rf"[^{_NO_CONTEXT}]"}
    inline = {**text, "pattern": rf"[^{_NO_CONTEXT}][^\|]*\|[^\|]*[^\s\|][^\|]*$"}
    parameters = request["properties"]["parameters"]
    question = {
        **parameters["properties"]["question"],
        "anyOf": [parameters["properties"]["question"]["anyOf"][0]],
    }
    with_question = {
        **parameters,
        "properties": {**parameters["properties"], "question": question},
        "required": ["question"],
    }
    return {
        "title": request["title"],
        "description": request["description"],
        "anyOf": [
            {
                **request,
                "properties": {**request["properties"], "input_text": text, "parameters": with_question},
                "required": ["task_type", "input_text", "parameters"],
            },
            {
                **request,
                "properties": {
                    **request["properties"],
                    "input_text": inline,
                    "parameters": {
                        **parameters,
                        "properties": {**parameters["properties"], "question": _NULL},
                    },
                },
            },
        ],
    }


def _limited(kind: dict[str, Any], settings: Settings) -> dict[str, Any]:
    if kind.get("type") == "array" and kind.get("items") == {"type": "string"}:
        return {**kind, **_texts(settings)}
    if kind == {"type": "string"}:
        return _text(settings)
    return kind


def _is_array(answer: dict[str, Any]) -> bool:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return bool(schema.get("type") == "array")
