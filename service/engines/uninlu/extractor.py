"""UniNLU as the tasks use it: an ``Extractor``."""

import logging
from collections.abc import Sequence
from typing import Any

from service.engines.forkserver.client import LostError
from service.engines.interface import (
    EngineKind,
    EngineUnavailableError,
    TextSpan,
    UnavailableReason,
    WindowExceededError,
)
from service.engines.uninlu.checkpoint import MODEL
from service.engines.uninlu.engine import UninluEngine, UninluLaunch
from service.engines.uninlu.queue import ExtractionJob, ExtractionQueue, too_slow
from service.engines.worker.engine_source import EngineSource
from service.engines.worker.loop import EngineWorker

_log = logging.getLogger("service")

_GRACE = 5.0  # seconds after which a request that the engine should have given up by itself counts as stuck


class UniNlu:
    """The extractor. Any thread may ask; requests are answered one after the other."""

    def __init__(self, launch: UninluLaunch, *, seconds: float, wait: float) -> None:
        """Load the model. ``seconds``, ``wait``: see ``RequestQueue``.

        Raises:
            EngineUnavailableError: it cannot be loaded.
        """
        self.name = f"{MODEL} (GTE_UNINLU_DIR)"
        self._seconds = seconds
        self.queue = ExtractionQueue(wait, seconds)
        try:
            # The weights are small enough to load a second copy while the lost forkserver's engine serves on.
            source = EngineSource(launch.forkserver(), launch.engine, loads_ahead=True)
            engine = source.first_engine()
        except LostError as loss:
            _log.error("%s", loss)
            detail = "the extractor's process was lost while it loaded the model: see the error log"
            raise _failed(detail) from None
        self._worker = EngineWorker(EngineKind.EXTRACTOR, source, engine, self.queue, self._compute)

    @property
    def pids(self) -> tuple[int | None, int]:
        """See ``EngineWorker.pids``."""
        return self._worker.pids

    def paths(self, text: str, schema: dict[str, Any], *, every_prefix: bool = False) -> list[list[TextSpan]]:
        """See ``Extractor.paths``."""
        paths = self._ask("paths", text=text, schema=schema, every_prefix=every_prefix)
        return [[TextSpan(**span) for span in path] for path in paths]

    def choose(self, text: str, labels: Sequence[str], question: str) -> dict[str, float]:
        """See ``Extractor.choose``."""
        self._require_scores()
        scores: dict[str, float] = self._ask("choose", text=text, labels=list(labels), question=question)
        return scores

    def find(self, text: str, question: str) -> tuple[TextSpan, float]:
        """See ``Extractor.find``."""
        self._require_scores()
        span = self._ask("find", text=text, question=question)
        score = span.pop("score")
        return TextSpan(**span), float(score)

    def require_room(self, client: str) -> None:
        """See ``RequestQueue.require_room``."""
        self.queue.require_room(client)

    def failure(self) -> EngineUnavailableError | None:
        """See ``EngineWorker.failure``."""
        return self._worker.failure()

    def _require_scores(self) -> None:
        # A pipeline of a model's own code may keep its scores elsewhere; an even split would be made up.
        if not self._worker.engine.has_scores:
            raise _failed(
                f"the model in GTE_UNINLU_DIR returns no scores, which this task needs: use {MODEL}"
            )

    def _ask(self, method: str, **arguments: Any) -> Any:
        answer = self.queue.submit({"method": method, **arguments})
        failure = answer.pop("failure", None)
        if failure == "timeout":
            raise too_slow(self._seconds)
        if failure == "window":
            raise WindowExceededError(**answer)
        if failure is not None:
            raise RuntimeError(f"the extractor failed with {failure}")
        return answer["answer"]

    def _compute(self, engine: UninluEngine, job: ExtractionJob) -> None:
        seconds = self.queue.seconds_left(job)
        self.queue.complete(job, engine.ask({"seconds": seconds, **job.request}, seconds + _GRACE))


def _failed(detail: str) -> EngineUnavailableError:
    return EngineUnavailableError(EngineKind.EXTRACTOR, UnavailableReason.LOAD_FAILED, detail)
