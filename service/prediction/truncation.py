"""Truncate texts to what the service and its models read, if the request asks for it: ``parameters.truncate``."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.admission import deadline
from service.engines.interface import Encoder
from service.engines.simplified import simplified
from service.http.problems import Problem

# The parameter of every task that asks for it.
TRUNCATE = "truncate"

# [CLS] and [SEP] take part of a model's window.
_SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class Cut:
    """A text that was cut. ``field`` names it in the request; lengths in Unicode characters."""

    field: str
    kept: int
    length: int


def place(field: str, index: int, count: int) -> str:
    """The name of one of ``count`` texts in errors and cuts."""
    return field if count == 1 else f"{field}.{index}"


def cut_to_length(field: str, texts: Sequence[str], most: int) -> tuple[list[str], list[Cut]]:
    """``texts`` with at most ``most`` characters each, and the cuts."""
    cuts = [
        Cut(place(field, index, len(texts)), most, len(text))
        for index, text in enumerate(texts)
        if len(text) > most
    ]
    return [text[:most] for text in texts], cuts


def fit_window(
    encoder: Encoder, field: str, texts: Sequence[str], *, truncate: bool
) -> tuple[list[str], list[Cut]]:
    """``texts`` as far as ``encoder`` reads them, and the cuts.

    Raises:
        Problem: a text is longer than the model's window, and ``truncate`` is false. EngineTimeoutError,
        ClientGoneError: see ``deadline.check``.
    """
    window = encoder.window
    if window is None:
        return list(texts), []
    fitted, cuts = [], []
    for index, text in enumerate(texts):
        # A token covers at least one character that the model reads, so a short text need not be tokenized.
        if len(simplified(text).text) + _SPECIAL_TOKENS <= window or encoder.count_tokens(text) <= window:
            fitted.append(text)
            continue
        deadline.check()
        name = place(field, index, len(texts))
        if not truncate:
            raise Problem(
                "text_too_long",
                f"{name}: {encoder.count_tokens(text)} tokens, the model reads {window}; parameters.truncate cuts it",
                field=name,
            )
        length = _longest_prefix(encoder, text, window)
        fitted.append(text[:length])
        cuts.append(Cut(name, length, len(text)))
    return fitted, cuts


def _longest_prefix(encoder: Encoder, text: str, window: int) -> int:
    """Characters of the longest prefix that fits; at least one, which the model then cuts itself."""
    fits, too_long = 1, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if encoder.count_tokens(text[:middle]) <= window:
            fits = middle
        else:
            too_long = middle
    return fits
