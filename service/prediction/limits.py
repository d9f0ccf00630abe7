"""Bounds on the texts of one request, checked before any model sees them."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from service.http.problems import Problem
from service.prediction.truncation import place
from service.settings import Settings

# The texts of a request before they are checked. Validation ends at the first that is no string: an error for each of
# the half a million numbers that a body may contain would cost 0.5 GB and block every other thread for seconds.
Texts = Annotated[list[str], Field(fail_fast=True)]


def check_texts(settings: Settings, field: str, texts: Sequence[str]) -> None:
    """Check the texts in ``field`` of a request; lengths are in Unicode characters.

    Raises:
        Problem: there are none or too many, or one is empty or too long.
    """
    if not texts:
        raise Problem("bad_request", f"{field}: the list is empty", field=field)
    if len(texts) > settings.max_batch:
        raise Problem(
            "batch_too_large",
            f"{field}: {len(texts)} texts, at most {settings.max_batch} are taken",
            field=field,
        )
    for index, text in enumerate(texts):
        name = place(field, index, len(texts))
        if not text.strip():
            raise Problem("bad_request", f"{name}: the text is empty", field=name)
        if len(text) > settings.max_text_chars:
            raise Problem(
                "text_too_long",
                f"{name}: {len(text)} characters, at most {settings.max_text_chars} are taken",
                field=name,
            )
    total = sum(map(len, texts))
    if total > settings.max_batch_chars:
        raise Problem(
            "batch_too_large",
            f"{field}: {total} characters in all, at most {settings.max_batch_chars} are taken",
            field=field,
        )
