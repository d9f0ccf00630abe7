"""Between the queue and the engine process: one thread that takes batches, and starts the process again when it is
lost."""

import logging
import threading
import time
from concurrent.futures import Future
from typing import get_args

from service.engines.forkserver.client import PAUSES, Loss, LostError, Template
from service.engines.gte.engine import BatchFailedError, Facts, GteEngine, GteLaunch
from service.engines.gte.queue import Queue
from service.engines.interface import EngineUnavailableError
from service.monitoring import metrics

_log = logging.getLogger("service")


class Dispatcher:
    """Owns the engine process and the queue in front of it."""

    def __init__(self, launch: GteLaunch, wait: float, batch_tokens: int) -> None:
        """Start the process and wait until it is loaded. ``wait``, ``batch_tokens``: see ``Queue``.

        Raises:
            EngineUnavailableError: the model cannot be loaded.
        """
        self._launch = launch
        self._failure: EngineUnavailableError | None = None
        self._template: Template | None = None
        self._engine: GteEngine | None = None
        self.restarts = 0
        started: Future[GteEngine] = Future()
        self._settled = threading.Event()
        threading.Thread(target=self._run, args=(started,), name="gte", daemon=True).start()
        engine = started.result()
        metrics.expect_restarts("encoder", get_args(Loss))
        self.facts: Facts = engine.facts
        self.queue = Queue(wait, batch_tokens, engine.facts.tokens_per_second)
        self._settled.set()

    @property
    def pid(self) -> int | None:
        """The engine process, or None while there is none."""
        engine = self._engine
        return engine.pid if engine else None

    def failure(self) -> EngineUnavailableError | None:
        """Why nothing is computed now, or None. Requests may be submitted all the same: they wait."""
        return self._failure

    def _run(self, started: "Future[GteEngine]") -> None:
        try:
            self._engine = engine = self._started()
        except LostError as error:
            failure = EngineUnavailableError(
                "encoder",
                "load_failed",
                "the engine process ended while it loaded the model: see the error log",
            )
            _log.error("%s", error)
            started.set_exception(failure)
            return
        except BaseException as error:  # noqa: BLE001  whoever waits must be told, whatever it is
            started.set_exception(error)
            return
        started.set_result(engine)
        self._settled.wait()
        while True:
            batch = self.queue.take()
            sequences = [job.sequences[place] for job, place in batch]
            began = time.monotonic()
            try:
                vectors = engine.encode(sequences, sum(map(len, sequences)) / self.queue.rate)
            except BatchFailedError as error:
                _log.error("the engine failed on a batch of %d texts: %s", len(batch), error)
                self.queue.fail(batch, "the engine failed on this request or on one beside it: try again")
            except LostError as error:
                self._failure = EngineUnavailableError(
                    "encoder", "loading", "the engine was lost and is being started again"
                )
                self.queue.fail(batch, "the engine was lost with this request and is being started again")
                _log.error("%s; it held %d texts and is started again", error, len(batch))
                engine = self._restarted()
                metrics.ENGINE_RESTARTS.labels("encoder", error.reason).inc()
            except Exception as error:  # noqa: BLE001  see below
                # Nothing that is known; but whoever waits must not wait for ever.
                _log.exception("a batch of %d texts failed", len(batch))
                self.queue.fail(batch, f"the engine failed ({type(error).__name__}): try again")
            else:
                self.queue.complete(batch, vectors, time.monotonic() - began)

    def _started(self) -> GteEngine:
        """A new engine: a fork of the template, or of a new one where that is lost."""
        if self._template is not None and self._template.is_lost():
            _log.error("the engine's template, process %d, was lost; another is loaded", self._template.pid)
            self._template.end()
            self._template = None
        if self._template is None:
            self._template = self._launch.template()
        try:
            return GteEngine(self._template)
        except LostError:
            # Whichever of the two it was: what a template cannot give is asked of another.
            self._template.end()
            self._template = None
            raise

    def _restarted(self) -> GteEngine:
        self._engine = None
        attempt = 0
        while True:
            time.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1
            try:
                self._engine = engine = self._started()
            except EngineUnavailableError as failure:
                self._failure = failure
                _log.error("the engine cannot be started again: %s", failure.detail)
            except (LostError, OSError) as error:
                _log.error("the engine cannot be started again: %s", error)
            else:
                self._failure = None
                self.restarts += 1
                _log.warning(
                    "the engine is back after %.1f s (process %d)", engine.facts.start_seconds, engine.pid
                )
                return engine
