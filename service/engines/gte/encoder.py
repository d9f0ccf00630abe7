"""GTE as the tasks see it: an ``Encoder``."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from service.engines.gte.checkpoint import MODEL, read_configuration, require_model
from service.engines.gte.dispatcher import Dispatcher
from service.engines.gte.engine import GteLaunch
from service.engines.gte.protocol import Vectors
from service.engines.gte.tokens import Tokenizer
from service.engines.interface import EngineUnavailableError, Role, not_installed

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
        client_is_gone: Callable[[], bool],
    ) -> None:
        """Load the model and start its engine.

        ``window``: the most tokens of a text, at most as many as the model takes. ``cached``: results that are kept.
        The others: see ``GteLaunch``, ``Queue``.

        Raises:
            EngineUnavailableError: the directory holds no model that can be served; the detail says what to do.
        """
        require_model(directory)
        configuration = read_configuration(directory)
        try:
            tokenizer = Tokenizer(directory, min(window, configuration.positions))
        except ImportError as error:
            raise EngineUnavailableError("encoder", "model_missing", not_installed(error, "model")) from None
        except Exception as error:  # noqa: BLE001  a vocabulary can be wrong in any way
            _log.exception("the vocabulary in %s cannot be used", directory)
            detail = (
                f"the vocabulary in GTE_MODEL_DIR cannot be used ({type(error).__name__}): see the error log"
            )
            raise EngineUnavailableError("encoder", "load_failed", detail) from None
        self._tokenizer = tokenizer
        self._dispatcher = Dispatcher(GteLaunch(directory, precision, threads), wait, batch_tokens)
        self._client_is_gone = client_is_gone
        self._cache = _Cache(cached)
        facts = self._dispatcher.facts
        self.dimension = facts.dimension
        self.window = tokenizer.window
        self.name = f"{MODEL} ({facts.precision})"
        _log.info(
            "gte: %s, products in %s on %s with %d threads, %.1f s from fork to ready, %.0f tokens/s; measured %s",
            facts.precision,
            facts.products,
            facts.device,
            threads,
            facts.start_seconds,
            facts.tokens_per_second,
            facts.measured,
        )

    @property
    def dispatcher(self) -> Dispatcher:
        """What stands behind: for the metrics."""
        return self._dispatcher

    def failure(self) -> EngineUnavailableError | None:
        """Why nothing is computed now, or None; requests wait meanwhile."""
        return self._dispatcher.failure()

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:  # noqa: ARG002
        """See ``Encoder.encode``. GTE makes no difference between the roles. A text beyond the window is cut, as
        ModelScope's pipeline cuts it; ``count_tokens`` tells before. Equal texts are computed once.

        Raises:
            OverloadedError, ClientGoneError, EngineUnavailableError: see ``Queue.submit``.
        """
        sequences = self._tokenizer.encode(texts)
        keys = [sequence.tobytes() for sequence in sequences]
        known = {key: vector for key in keys if (vector := self._cache.get(key)) is not None}
        missing = {key: sequence for key, sequence in zip(keys, sequences, strict=True) if key not in known}
        if missing:
            vectors = self._dispatcher.queue.submit(list(missing.values()), self._client_is_gone)
            for key, vector in zip(missing, vectors, strict=True):
                known[key] = vector
                self._cache.put(key, vector)
        return [known[key].tolist() for key in keys]

    def count_tokens(self, text: str) -> int:
        """See ``Encoder.count_tokens``: of the whole text, also beyond the window."""
        return self._tokenizer.count(text)


class _Cache:
    """The results that were asked for last. Empty and without cost where ``size`` is 0."""

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
