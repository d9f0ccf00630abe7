"""Spans of a text in simplified characters, as spans of the text that the client sent."""

from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

from service.engines.simplified import SimplifiedText


class _Span(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


Span = TypeVar("Span", bound=_Span)


def in_original(span: Span, text: SimplifiedText) -> Span:
    """``span``, of ``text.text``, in ``text.original``: its text is ``text.original[start:end]``."""
    start, end = text.span(span.start, span.end)
    return replace(span, text=text.original[start:end], start=start, end=end)
