"""What a task is: a name, the engines it stands on, and a function from a request to a result."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.engines.interface import Slot
from service.engines.registry import EngineRegistry


class TaskInputError(ValueError):
    """The request does not fit the task. ``field`` names the part of the request that is wrong."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


@dataclass(frozen=True)
class TaskInput:
    """A request that has passed the general checks: at least one text, none empty, all within the bounds."""

    texts: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text of a task that takes one."""
        return self.texts[0]


@dataclass(frozen=True)
class Task:
    """A ``task_type``.

    ``slots``: the engines it needs, named in the answer's ``model``. ``parameters``: the names it takes; another one is
    refused. ``required``: those of them that it cannot do without. ``many``: whether ``input_text`` may be a list.
    ``by_rules``: whether rules of ours stand on the engine and make the answer; ``model`` then says so. ``extracted``:
    the same task as the universal extraction model answers it; where one is installed, that is what answers.
    """

    name: str
    summary: str
    slots: tuple[Slot, ...]
    answer: Callable[[EngineRegistry, TaskInput], dict[str, Any]]
    parameters: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    many: bool = False
    by_rules: bool = False
    extracted: Callable[[EngineRegistry, TaskInput], dict[str, Any]] | None = None

    def backing(self, roster: EngineRegistry) -> "Backing":
        """What answers in this deployment."""
        if self.extracted is not None and roster.has("extractor"):
            return Backing(("extractor",), self.extracted, by_rules=False)
        return Backing(self.slots, self.answer, self.by_rules)


@dataclass(frozen=True)
class Backing:
    """The engines that a task stands on, and how it is answered by them; see ``Task``."""

    slots: tuple[Slot, ...]
    answer: Callable[[EngineRegistry, TaskInput], dict[str, Any]]
    by_rules: bool


def required(task_input: TaskInput, name: str) -> Any:
    """The parameter ``name``.

    Raises:
        TaskInputError: it is not there.
    """
    value = task_input.parameters.get(name)
    if value is None:
        raise TaskInputError(f"parameters.{name}", "this task needs it")
    return value


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """The cosine of the angle between two vectors of one length; 0 where one of them has none."""
    lengths = math.hypot(*left) * math.hypot(*right)
    return sum(x * y for x, y in zip(left, right, strict=True)) / lengths if lengths else 0.0
