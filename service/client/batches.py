"""A list of texts as requests within the limits of the service."""

import contextlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from .errors import ApiError

# What this client puts into one request at most, so that its answer comes in time and a repetition costs little.
BATCH = 256  # texts
_BATCH_CHARS = 10_000  # Unicode characters
# The most that a request contains besides the texts, when they are counted against max_body_bytes.
_BESIDE_TEXTS = 4096


@dataclass(frozen=True)
class Limits:
    """Limits of one request: the service's defaults, until ``/tasks`` has answered its own."""

    max_batch: int = 2048
    max_batch_chars: int = 1024 * 1024
    max_body_bytes: int = 1024 * 1024


def batches(texts: Iterable[str], limits: Limits) -> Iterator[list[str]]:
    """``texts`` in order, in the fewest batches within the limits and this client's own. A text that alone exceeds a
    limit of the service is a batch of its own, which the service refuses. Reads no further than the batch it gives."""
    most = min(limits.max_batch, BATCH)
    most_chars = min(limits.max_batch_chars, _BATCH_CHARS)
    batch: list[str] = []
    characters = size = 0
    for text in texts:
        length = len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")) + 2
        if batch and (
            len(batch) >= most
            or characters + len(text) > most_chars
            or size + length > limits.max_body_bytes - _BESIDE_TEXTS
        ):
            yield batch
            batch, characters, size = [], 0, 0
        batch.append(text)
        characters += len(text)
        size += length
    if batch:
        yield batch


@contextlib.contextmanager
def indexed_from(count: int | None, start: int, name: str) -> Iterator[None]:
    """Let an error name a text of a batch by its index among all ``count`` texts; None: nobody knows how many."""
    try:
        yield
    except ApiError as error:
        place, _, index = (error.field or "").rpartition(".")
        if place == name and index.isdigit():
            error.field = f"{name}.{start + int(index)}"
        elif error.field == name and error.code in ("text_too_long", "bad_request") and count != 1:
            error.field = f"{name}.{start}"  # the batch had one text
        raise


async def windows(texts: AsyncIterable[str] | Iterable[str], most: int) -> AsyncIterator[list[str]]:
    """``texts`` in order, so many at a time."""
    window: list[str] = []
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            window.append(text)
            if len(window) == most:
                yield window
                window = []
    else:
        for text in texts:
            window.append(text)
            if len(window) == most:
                yield window
                window = []
    if window:
        yield window
