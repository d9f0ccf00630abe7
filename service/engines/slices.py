"""Cut a long text into slices: a step of the work then takes a bounded time and a bounded memory."""

from collections.abc import Iterator

# Where a text may be cut, the best places first: after a sentence, after a clause.
_ENDS = ("。！？!?；;\n", "，,、：: \u3000\t")


def slices_of(text: str, most: int) -> Iterator[str]:
    """``text`` in slices of at most ``most`` characters, which joined are the text. Each ends with the last sentence,
    else the last clause, that ends in its second half; else it is cut where it is full."""
    start = 0
    while len(text) - start > most:
        end = _end(text, start + most // 2, start + most)
        yield text[start:end]
        start = end
    yield text[start:]


def _end(text: str, first: int, last: int) -> int:
    for characters in _ENDS:
        place = max(text.rfind(character, first, last) for character in characters)
        if place >= 0:
            return place + 1
    return last
