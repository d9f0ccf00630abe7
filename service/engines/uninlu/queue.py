"""The requests that wait for the extractor: one after the other, in the fair order, each for a bounded time."""

import time
from collections.abc import Iterable
from typing import Any

from service.admission.errors import EngineTimeoutError
from service.engines.interface import EngineKind
from service.engines.worker.queue import Job, RequestQueue
from service.monitoring import metrics

_NEWEST = 0.2  # weight of the newest request in the mean rate
# Looked up once: a lookup by label takes a lock.
_REQUESTS = metrics.BATCH_SIZE.labels(EngineKind.EXTRACTOR)


class ExtractionJob(Job):
    """One request to the model. Its work: characters, times the names that are asked for."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__()
        self.request = request
        self.answer: dict[str, Any] | None = None
        self.work = float(max(1, len(request.get("text", ""))) * _names(request.get("schema")))

    @property
    def waiting_work(self) -> float:
        """See ``Job``."""
        return self.work


def _names(schema: Any) -> int:
    return sum(map(_names, schema.values())) + len(schema) if isinstance(schema, dict) and schema else 1


class ExtractionQueue(RequestQueue[ExtractionJob, ExtractionJob]):
    """Requests ``submit``; the engine's thread takes one at a time and calls ``complete`` or ``fail``."""

    def __init__(self, wait: float, seconds: float) -> None:
        """See ``RequestQueue``."""
        super().__init__(EngineKind.EXTRACTOR, wait, seconds)

    def submit(self, request: dict[str, Any]) -> dict[str, Any]:
        """The model's answer.

        Raises:
            OverloadedError, ClientGoneError, EngineTimeoutError, EngineUnavailableError: see ``submit_job``.
        """
        job = ExtractionJob(request)
        self.submit_job(job)
        assert job.answer is not None  # noqa: S101  for mypy: done without an error
        return job.answer

    def complete(self, job: ExtractionJob, answer: dict[str, Any]) -> None:
        """The engine has answered the request."""
        with self._changed:
            assert job.started is not None  # noqa: S101  for mypy: it was taken
            _REQUESTS.observe(1)
            self._computed(job, time.monotonic() - job.started, _NEWEST)
            job.answer = answer
            job.done.set()

    def seconds_left(self, job: ExtractionJob) -> float:
        """Seconds that the engine may still take for a job."""
        return max(0.0, self._left(job))

    def _take(self) -> ExtractionJob:
        job = self._order.first()
        self._order.charge(job, job.work)
        self._order.remove(job)
        self._start(job)
        return job

    def _work_of(self, batch: ExtractionJob) -> float:
        return batch.work

    def _jobs_of(self, batch: ExtractionJob) -> Iterable[ExtractionJob]:
        return (batch,)

    def _too_slow(self) -> EngineTimeoutError:
        return too_slow(self._seconds)


def too_slow(seconds: float) -> EngineTimeoutError:
    """The error of a request that took the extractor longer than ``seconds``."""
    return EngineTimeoutError(
        f"the extractor took more than {seconds:g} s: a shorter text or a smaller schema takes less"
    )
