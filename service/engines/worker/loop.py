"""The thread that owns an engine: it puts what waits to the engine, and replaces the engine when it is lost."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Generic

from service.engines.forkserver.client import LossReason, LostError
from service.engines.interface import EngineKind, EngineUnavailableError, UnavailableReason
from service.engines.worker.engine_source import EngineSource, EngineT
from service.engines.worker.queue import BatchT, RequestQueue
from service.monitoring import metrics

_log = logging.getLogger("service")

_IDLE_CHECK = 0.25  # seconds between two checks of an idle engine


class BatchFailedError(Exception):
    """The engine failed on this batch and goes on with the next."""


class EngineWorker(Generic[EngineT, BatchT]):
    """An engine, and the thread that serves a queue with it."""

    def __init__(
        self,
        kind: EngineKind,
        source: EngineSource[EngineT],
        engine: EngineT,
        queue: RequestQueue[Any, BatchT],
        compute: Callable[[EngineT, BatchT], None],
    ) -> None:
        """Start the thread. ``engine`` is the first of ``source``.

        ``compute`` has the engine compute a batch and reports the results to the queue. It may raise LostError or
        BatchFailedError.
        """
        self._kind = kind
        self._source = source
        self._engine = engine
        self._queue = queue
        self._compute = compute
        self._seconds = metrics.BATCH_SECONDS.labels(kind)
        metrics.expect_restarts(kind, LossReason)
        threading.Thread(target=self._run, name=kind, daemon=True).start()

    @property
    def engine(self) -> EngineT:
        """The engine that serves now, or the one that was lost, until another has taken its place."""
        return self._engine

    @property
    def pids(self) -> tuple[int | None, int]:
        """The forkserver (None while there is none) and the engine."""
        return self._source.pid, self._engine.pid

    def failure(self) -> EngineUnavailableError | None:
        """Why nothing is computed now, or None. Requests may be submitted all the same: they wait."""
        return self._queue.failure

    def _run(self) -> None:
        while True:
            is_waiting = self._queue.wait(_IDLE_CHECK)
            try:
                self._keep_alive()
                if is_waiting:
                    self._serve_next()
            except Exception:  # noqa: BLE001  requests must not wait for ever
                _log.exception("the %s's thread failed and goes on", self._kind)
                time.sleep(_IDLE_CHECK)

    def _keep_alive(self) -> None:
        loss = self._engine.idle_loss()
        if loss is not None:
            self._replace(loss)
        elif self._source.renew():
            # The engine of the lost forkserver shares no weights with the new one, and has no parent to report its end.
            self._engine.end()
            self._engine = self._next_engine()

    def _serve_next(self) -> None:
        batch = self._queue.take()
        if batch is None:
            return
        began = time.monotonic()
        try:
            self._compute(self._engine, batch)
        except BatchFailedError as error:
            _log.error("the %s failed on a batch: %s", self._kind, error)
            self._fail(batch, "failed on this request or on one beside it: try again")
        except LostError as loss:
            self._fail(batch, "was lost with this request and is being started again")
            self._replace(loss)
        except BaseException as error:
            self._fail(batch, f"failed ({type(error).__name__}): try again")
            raise
        else:
            self._seconds.observe(time.monotonic() - began)

    def _fail(self, batch: BatchT, detail: str) -> None:
        self._queue.fail(batch, self._unavailable(detail))

    def _unavailable(self, detail: str) -> EngineUnavailableError:
        return EngineUnavailableError(
            self._kind, UnavailableReason.LOADING, f"the {self._kind}'s process {detail}"
        )

    def _next_engine(self) -> EngineT:
        engine = self._source.engine_at_last(self._set_failure)
        self._queue.failure = None
        return engine

    def _set_failure(self, failure: EngineUnavailableError) -> None:
        self._queue.failure = failure

    def _replace(self, loss: LostError) -> None:
        began = time.monotonic()
        self._set_failure(self._unavailable("was lost and is being started again"))
        _log.error("%s; it is started again", loss)
        self._engine = self._next_engine()
        metrics.ENGINE_RESTARTS.labels(self._kind, loss.reason).inc()
        _log.warning(
            "the %s is back after %.1f s (process %d)",
            self._kind,
            time.monotonic() - began,
            self._engine.pid,
        )
