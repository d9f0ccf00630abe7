"""The requests that wait for the extractor: one after the other, each for a bounded time."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from service.admission.errors import EngineTimeoutError
from service.engines.interface import EngineKind
from service.engines.worker.queue import Job, RequestQueue
from service.monitoring import metrics

_NEWEST = 0.2  # weight of the newest request in the mean of the seconds that one takes
# Looked up once: a lookup by label takes a lock.
_REQUESTS = metrics.BATCH_SIZE.labels(EngineKind.EXTRACTOR)


class ExtractionJob(Job):
    """One request to the model."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__()
        self.request = request
        self.answer: dict[str, Any] | None = None


class ExtractionQueue(RequestQueue[ExtractionJob, ExtractionJob]):
    """Requests ``submit``; the engine's thread takes one at a time and calls ``complete`` or ``fail``."""

    def __init__(self, wait: float, seconds: float) -> None:
        """See ``RequestQueue``."""
        super().__init__(EngineKind.EXTRACTOR, wait, seconds)
        self._computing: ExtractionJob | None = None
        self._mean = 0.0  # seconds a request

    @property
    def computing(self) -> ExtractionJob | None:
        """The job that the engine has."""
        return self._computing

    def submit(self, request: dict[str, Any], client_is_gone: Callable[[], bool]) -> dict[str, Any]:
        """The model's answer.

        Raises:
            OverloadedError, ClientGoneError, EngineTimeoutError, EngineUnavailableError: see ``submit_job``.
        """
        job = ExtractionJob(request)
        self.submit_job(job, client_is_gone)
        assert job.answer is not None  # noqa: S101  for mypy: done without an error
        return job.answer

    def complete(self, job: ExtractionJob, answer: dict[str, Any]) -> None:
        """The engine has answered the request."""
        with self._changed:
            assert job.started is not None  # noqa: S101  for mypy: it was taken
            seconds = time.monotonic() - job.started
            _REQUESTS.observe(1)
            self._mean += (_NEWEST if self._mean else 1.0) * (seconds - self._mean)
            self._release()
            job.answer = answer
            job.done.set()

    def seconds_left(self, job: ExtractionJob) -> float:
        """Seconds that the engine may still take for a job."""
        return max(0.0, self._left(job))

    def _seconds_ahead(self) -> float:
        return self._mean * (len(self._jobs) + (self._computing is not None))

    def _take(self) -> ExtractionJob:
        job = self._computing = self._jobs.popleft()
        self._start(job)
        return job

    def _jobs_of(self, batch: ExtractionJob) -> Iterable[ExtractionJob]:
        return (batch,)

    def _release(self) -> None:
        self._computing = None

    def _too_slow(self) -> EngineTimeoutError:
        return too_slow(self._seconds)


def too_slow(seconds: float) -> EngineTimeoutError:
    """The error of a request that took the extractor longer than ``seconds``."""
    return EngineTimeoutError(
        f"the extractor took more than {seconds:g} s: a shorter text or a smaller schema takes less"
    )
