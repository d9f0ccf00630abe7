"""A task: a name, the engines it needs, and a function from a request to a result."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry


class TaskInputError(ValueError):
    """The request does not fit the task. ``field`` names the part of the request that is wrong."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


@dataclass(frozen=True)
class TaskInput:
    """A request that passed the general checks: at least one text, none empty, all within the limits."""

    texts: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text of a task that takes one."""
        return self.texts[0]


@dataclass(frozen=True)
class Task:
    """A ``task_type``.

    ``kinds``: the engines it needs, named in the answer's ``model``. ``parameters``: the names it takes; others are
    refused. ``required``: the parameters it needs. ``many``: whether ``input_text`` may be a list. ``by_rules``:
    whether our own rules make the answer from the engine's output; ``model`` then says so. ``extractor_answer``: the
    task answered by the universal extraction model, which is used instead if one is installed.
    """

    name: str
    summary: str
    kinds: tuple[EngineKind, ...]
    answer: Callable[[EngineRegistry, TaskInput], dict[str, Any]]
    parameters: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    many: bool = False
    by_rules: bool = False
    extractor_answer: Callable[[EngineRegistry, TaskInput], dict[str, Any]] | None = None

    def backend(self, engines: EngineRegistry) -> "TaskBackend":
        """What answers the task in this deployment."""
        if self.extractor_answer is not None and engines.has(EngineKind.EXTRACTOR):
            return TaskBackend((EngineKind.EXTRACTOR,), self.extractor_answer, by_rules=False)
        return TaskBackend(self.kinds, self.answer, self.by_rules)


@dataclass(frozen=True)
class TaskBackend:
    """The engines that a task needs in this deployment, and its function; see ``Task``."""

    kinds: tuple[EngineKind, ...]
    answer: Callable[[EngineRegistry, TaskInput], dict[str, Any]]
    by_rules: bool


def required(task_input: TaskInput, name: str) -> Any:
    """The parameter ``name``.

    Raises:
        TaskInputError: it is missing.
    """
    value = task_input.parameters.get(name)
    if value is None:
        raise TaskInputError(f"parameters.{name}", "this task needs it")
    return value


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """The cosine of the angle between two vectors of one length; 0 if one of them is zero."""
    lengths = math.hypot(*left) * math.hypot(*right)
    return sum(x * y for x, y in zip(left, right, strict=True)) / lengths if lengths else 0.0
