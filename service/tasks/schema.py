"""``parameters.schema``: what to extract, in the schema language of ModelScope's universal extraction.

An object whose keys are names of what to extract and whose values are ``null`` or the next level:

    ner         {"人物": null, "组织机构": null}
    relation    {"人物": {"毕业院校(组织机构)": null}}          subject type: {predicate(object type)}
    event       {"收购(事件触发词)": {"收购方": null}}          event type(trigger): {role}
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from service.tasks.task import TaskInput, TaskInputError

# Each name is a question to the model; those of the second level are asked again for every answer of the first.
MOST_NAMES = 64
LONGEST_NAME = 64  # Unicode characters

Schema = dict[str, dict[str, None] | None]

_QUALIFIED = re.compile(r"(?P<name>[^()（）]+)[(（](?P<qualifier>[^()（）]+)[)）]")

# The entity types of the embedded default, each with its names in ModelScope's examples.
TYPES: dict[str, frozenset[str]] = {
    "人物": frozenset({"PERSON"}),
    "组织机构": frozenset({"ORG"}),
    "地理位置": frozenset({"GPE", "LOC"}),
    "时间": frozenset({"TIME"}),
    "事件": frozenset({"EVENT"}),
    "作品": frozenset({"WORK_OF_ART"}),
    **{
        name: frozenset({name})
        for name in ("PERSON", "ORG", "GPE", "LOC", "TIME", "EVENT", "WORK_OF_ART", "MISC")
    },
}


def schema_of(task_input: TaskInput, levels: int) -> Schema | None:
    """The schema of a request, with ``levels`` levels (1 or 2), or None if there is none.

    Raises:
        TaskInputError: it has another shape, too many names, or an empty or too long name.
    """
    schema = task_input.parameters.get("schema")
    if schema is None:
        return None
    count = _check("parameters.schema", schema, levels)
    if count > MOST_NAMES:
        raise TaskInputError("parameters.schema", f"{count} names, at most {MOST_NAMES} are taken")
    checked: Schema = schema
    return checked


def _check(field: str, level: Any, levels: int) -> int:
    if not isinstance(level, Mapping) or not level:
        raise TaskInputError(field, "expected an object with at least one name")
    count = len(level)
    for name, below in level.items():
        if not name.strip() or len(name) > LONGEST_NAME:
            raise TaskInputError(field, f"a name must have 1 to {LONGEST_NAME} characters")
        place = f"{field}.{name}"
        if levels > 1:
            count += _check(place, below, levels - 1)
        elif below is not None:
            raise TaskInputError(place, "expected null here: this task's schema goes no deeper")
    return count


def qualified(name: str) -> tuple[str, str | None]:
    """A name and the part in brackets after it: ``毕业院校(组织机构)`` is ``("毕业院校", "组织机构")``."""
    match = _QUALIFIED.fullmatch(name.strip())
    return (match["name"].strip(), match["qualifier"].strip()) if match else (name.strip(), None)


def require_known(field: str, name: str, names: Collection[str], model: str) -> str:
    """``name``, which must be in the fixed vocabulary of the embedded default.

    Raises:
        TaskInputError: it is not; the detail lists the vocabulary.
    """
    if name not in names:
        raise TaskInputError(f"{field}.{name}", f"{model} knows only {', '.join(names)}")
    return name
