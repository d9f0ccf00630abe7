"""What a fault case is made of: the stack it happens to, the fault, what a client sees, and the cause to be named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from tests.lab.client import Answer
from tests.lab.stack import Stack


class NotHereError(Exception):
    """This machine does not let the fault be caused; the message says what it would take."""


Inject = Callable[[Stack], None]
Sees = Callable[[Stack], object]


@dataclass(frozen=True)
class Case:
    """One fault. ``explains``: codes that must stand in the cause's `explains`, proven but only following from it.
    ``says``: words that must stand in the cause's summary or fix."""

    code: str
    name: str
    inject: Inject
    sees: Sees
    severity: str
    first: str
    beside: frozenset[str] = frozenset()
    explains: frozenset[str] = frozenset()
    says: tuple[str, ...] = ()
    stack: dict[str, Any] = field(default_factory=dict)
    impossible: Callable[[], str | None] = lambda: None


def fault(
    code: str,
    *,
    sees: Sees,
    severity: str = "fail",
    first: str | None = None,
    beside: tuple[str, ...] = (),
    explains: tuple[str, ...] = (),
    says: tuple[str, ...] = (),
    impossible: Callable[[], str | None] = lambda: None,
    **stack: Any,
) -> Callable[[Inject], Case]:
    """Declare a case: ``stack`` is how the stack is brought up, the function breaks it, ``sees`` is true once a
    client meets the fault. ``beside``: other causes that are really there too, ``first`` the one of them that hurts
    more. ``says``: words of its summary or fix. ``impossible``: why it cannot be caused on this machine, None where it
    can."""

    def declare(inject: Inject) -> Case:
        return Case(
            code,
            inject.__name__,
            inject,
            sees,
            severity,
            first or code,
            frozenset(beside),
            frozenset(explains),
            says,
            stack,
            impossible,
        )

    return declare


def cases_of(module: ModuleType) -> tuple[Case, ...]:
    """The cases a module declares, in the order it does."""
    return tuple(value for value in vars(module).values() if isinstance(value, Case))


def answers(status: int, *, path: str = "/predict") -> Sees:
    """The front door answers ``status``."""

    def sees(stack: Stack) -> bool:
        return _ask(stack, path).status == status

    return sees


def meets(error: str, *, timeout: float = 10.0) -> Sees:
    """The client gets no answer but this error; ``error`` is a part of it."""

    def sees(stack: Stack) -> bool:
        return error in (stack.predict(timeout=timeout).error or "")

    return sees


def page(status: int = 200) -> Sees:
    """The prediction is answered with an HTML page."""

    def sees(stack: Stack) -> bool:
        answer = stack.predict()
        return answer.status == status and answer.content_type == "text/html"

    return sees


def _ask(stack: Stack, path: str) -> Answer:
    return stack.predict() if path == "/predict" else stack.request(path=path)
