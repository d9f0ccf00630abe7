"""GTE as the tasks use it: an ``Encoder``."""

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from service.engines.forkserver.client import LostError
from service.engines.gte.checkpoint import MODEL, read_configuration, require_model
from service.engines.gte.engine import GteEngine, GteLaunch
from service.engines.gte.tokens import Tokenizer, Tokens
from service.engines.interface import (
    EngineKind,
    EngineUnavailableError,
    Role,
    UnavailableReason,
    not_installed,
)
from service.engines.vectors import Vectors
from service.engines.worker.engine_source import EngineSource
from service.engines.worker.loop import EngineWorker
from service.engines.worker.text_queue import Batch, TextQueue

_log = logging.getLogger("service")


class Gte:
    """The encoder of a directory. For any number of threads."""

    def __init__(
        self,
        directory: Path,
        *,
        precision: str,
        threads: int,
        window: int,
        wait: float,
        batch_tokens: int,
        cached: int,
    ) -> None:
        """Load the model and start its engine.

        ``window``: the most tokens of a text, bounded by the model's own window. ``cached``: how many results are
        cached. The others: see ``GteLaunch``, ``TextQueue``.

        Raises:
            EngineUnavailableError: the directory holds no usable model; the detail says what to do.
        """
        require_model(directory)
        configuration = read_configuration(directory)
        self._cache = _Cache(cached)
        launch = GteLaunch(directory, precision, threads)
        with ThreadPoolExecutor(1, "gte load") as pool:
            # Without loads_ahead: a second copy of weights this large may not fit into memory.
            load = pool.submit(EngineSource, launch.forkserver(), GteEngine, loads_ahead=False)
            try:
                self._tokenizer = _tokenizer(directory, min(window, configuration.positions))
            except EngineUnavailableError:
                _end(load)
                raise
            engine = self._start(launch, load, wait, batch_tokens)
        self.window = self._tokenizer.window
        self.dimension = engine.facts.dimension
        self.name = f"{MODEL} ({engine.facts.precision})"

    def _start(
        self, launch: GteLaunch, load: "Future[EngineSource[GteEngine]]", wait: float, batch_tokens: int
    ) -> GteEngine:
        try:
            source = load.result()
            engine = source.first_engine()
        except LostError as loss:
            _log.error("%s", loss)
            raise _failed("the engine process ended while it loaded the model: see the error log") from None
        facts = engine.facts
        _log.info(
            "gte: %s, products in %s on %s with %d threads, %.1f s from fork to ready, %.0f tokens/s; measured %s",
            facts.precision,
            facts.products,
            facts.device,
            launch.threads,
            facts.start_seconds,
            facts.tokens_per_second,
            facts.measured,
        )
        if facts.precision == "int8" and not facts.compiled:
            _log.warning(
                "gte: int8 takes about 1.2 times as long as it need: gte-ops was built without a compiler"
                " (docs/engines.md)"
            )
        self.queue: TextQueue[Tokens] = TextQueue(
            wait, batch_tokens, facts.tokens_per_second, lambda tokens: tokens.tobytes()
        )
        self._worker = EngineWorker(EngineKind.ENCODER, source, engine, self.queue, self._compute)
        return engine

    @property
    def pids(self) -> tuple[int | None, int]:
        """See ``EngineWorker.pids``."""
        return self._worker.pids

    def require_room(self, client: str) -> None:
        """See ``RequestQueue.require_room``."""
        self.queue.require_room(client)

    def failure(self) -> EngineUnavailableError | None:
        """See ``EngineWorker.failure``."""
        return self._worker.failure()

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:  # noqa: ARG002
        """See ``Encoder.encode``. GTE treats both roles alike. A text longer than the window is truncated as
        ModelScope's pipeline does; ``count_tokens`` tells whether it would be. Equal texts are computed once.

        Raises:
            OverloadedError, ClientGoneError, EngineTimeoutError, EngineUnavailableError: see ``RequestQueue``.
        """
        sequences = self._tokenizer.encode(texts)
        keys = [sequence.tobytes() for sequence in sequences]
        vectors_by_key = {key: vector for key in keys if (vector := self._cache.get(key)) is not None}
        missing = {
            key: sequence for key, sequence in zip(keys, sequences, strict=True) if key not in vectors_by_key
        }
        if missing:
            vectors = self.queue.submit(list(missing.values()))
            for key, vector in zip(missing, vectors, strict=True):
                vectors_by_key[key] = vector
                self._cache.put(key, vector)
        return [vectors_by_key[key].tolist() for key in keys]

    def count_tokens(self, text: str) -> int:
        """See ``Encoder.count_tokens``: of the whole text, also beyond the window."""
        return self._tokenizer.count(text)

    def _compute(self, engine: GteEngine, batch: Batch[Tokens]) -> None:
        sequences = [job.texts[index] for job, index in batch]
        began = time.monotonic()
        vectors = engine.encode(sequences, sum(map(len, sequences)) / self.queue.rate)
        self.queue.complete(batch, list(vectors), time.monotonic() - began)


def _end(load: "Future[EngineSource[GteEngine]]") -> None:
    """End what a load that is of no use any more has started or will start."""
    with contextlib.suppress(LostError, EngineUnavailableError, OSError):
        load.result().end()


def _tokenizer(directory: Path, window: int) -> Tokenizer:
    try:
        return Tokenizer(directory, window)
    except ImportError as error:
        raise EngineUnavailableError(
            EngineKind.ENCODER, UnavailableReason.MODEL_MISSING, not_installed(error, "model")
        ) from None
    except Exception as error:  # noqa: BLE001  a vocabulary can be wrong in any way
        _log.exception("the vocabulary in %s cannot be used", directory)
        raise _failed(
            f"the vocabulary in GTE_MODEL_DIR cannot be used ({type(error).__name__}): see the error log"
        ) from None


def _failed(detail: str) -> EngineUnavailableError:
    return EngineUnavailableError(EngineKind.ENCODER, UnavailableReason.LOAD_FAILED, detail)


class _Cache:
    """The results used last. Empty and without cost if ``size`` is 0."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[bytes, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Vectors | None:
        if not self._size:
            return None
        with self._lock:
            vector = self._entries.get(key)
            if vector is not None:
                self._entries.move_to_end(key)
            return vector

    def put(self, key: bytes, vector: Vectors) -> None:
        if not self._size:
            return
        with self._lock:
            # A copy: the row is a view that would keep its whole batch.
            self._entries[key] = vector.copy()
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
