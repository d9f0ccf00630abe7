"""The requests in front of the extractor, in the order of arrival, each for a bounded time."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from service.admission import deadline
from service.admission.errors import EngineTimeoutError
from service.admission.gate import OverloadedError, retry_after
from service.engines.interface import ClientGoneError, EngineUnavailableError
from service.monitoring import metrics

_DEPTH = metrics.QUEUE_DEPTH.labels("extractor")
_WAIT = metrics.QUEUE_WAIT.labels("extractor")

_LOOK = 0.25  # seconds between two looks whether the client is still there
_NEWEST = 0.2  # weight of the newest request in the mean of the seconds that one takes


class ExtractionJob:
    """One request, and what has become of it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.arrived = time.monotonic()
        self.ends = self.arrived + deadline.at_most(math.inf)  # the prediction's deadline
        self.started: float | None = None  # when the extractor got it
        self.answer: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.done = threading.Event()


class RequestQueue:
    """Requests ``submit`` and wait; the thread that owns the extractor ``take``s one after the other and says what
    became of it with ``answer`` or ``fail``."""

    def __init__(self, wait: float, seconds: float) -> None:
        """``wait``: seconds after which a request that has not been taken is refused; one that would wait longer, at
        the pace of the last ones, is refused at once. ``seconds``: the most that one may take from then on."""
        self._wait = wait
        self._seconds = seconds
        self._jobs: deque[ExtractionJob] = deque()
        self._held: ExtractionJob | None = None
        self._mean = 0.0  # seconds a request
        self._changed = threading.Condition()
        # Why nothing is taken now, or None.
        self.failure: EngineUnavailableError | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return len(self._jobs)

    def submit(self, request: dict[str, Any], client_is_gone: Callable[[], bool]) -> dict[str, Any]:
        """The extractor's answer.

        Raises:
            OverloadedError: it could not be taken in time, or was not. ClientGoneError: ``client_is_gone`` said so.
            EngineTimeoutError: it took too long, or the prediction's time was over. EngineUnavailableError: the
            extractor was lost with it, or did not come back in time.
        """
        job = ExtractionJob(request)
        if client_is_gone():
            raise ClientGoneError
        with self._changed:
            expected = self._mean * (len(self._jobs) + (self._held is not None))
            if self._jobs and expected > self._wait:
                raise OverloadedError(
                    f"{len(self._jobs)} requests wait for the extractor, about {expected:.0f} s",
                    retry_after(expected - self._wait),
                )
            self._jobs.append(job)
            _DEPTH.set(len(self._jobs))
            self._changed.notify_all()
        while not job.done.wait(min(_LOOK, max(0.001, self._left(job)))):
            error = self._given_up(job, client_is_gone)
            if error is not None:
                self._withdraw(job, error)
        if job.error is not None:
            raise job.error
        assert job.answer is not None  # noqa: S101  for mypy: done without an error
        return job.answer

    def wait(self, seconds: float) -> bool:
        """Whether a request waits, after at most ``seconds``."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._jobs), seconds)

    def take(self) -> tuple[ExtractionJob, float] | None:
        """The first request and the seconds that it has, or None where none waits any more."""
        with self._changed:
            if not self._jobs:
                return None
            job = self._held = self._jobs.popleft()
            _DEPTH.set(len(self._jobs))
            job.started = time.monotonic()
            _WAIT.observe(job.started - job.arrived)
            return job, max(0.0, self._left(job))

    def answer(self, job: ExtractionJob, answer: dict[str, Any]) -> None:
        """The request that was taken has its answer."""
        with self._changed:
            assert job.started is not None  # noqa: S101  for mypy: it was taken
            took = time.monotonic() - job.started
            self._mean += (_NEWEST if self._mean else 1.0) * (took - self._mean)
            self._held = None
            job.answer = answer
            job.done.set()

    def fail(self, job: ExtractionJob, error: Exception) -> None:
        """The request that was taken is lost."""
        with self._changed:
            self._held = None
            self._end(job, error)

    def _left(self, job: ExtractionJob) -> float:
        """Seconds until the request has to be given up, as things stand."""
        latest = job.arrived + self._wait if job.started is None else job.started + self._seconds
        return min(latest, job.ends) - time.monotonic()

    def _given_up(self, job: ExtractionJob, client_is_gone: Callable[[], bool]) -> Exception | None:
        if client_is_gone():
            return ClientGoneError()
        if self._left(job) > 0:
            return None
        if time.monotonic() >= job.ends:
            return EngineTimeoutError("the time of this prediction is over")
        if job.started is not None:
            return too_slow(self._seconds)
        if self.failure is not None:
            return self.failure
        return OverloadedError(
            f"the extractor took no request within {self._wait:g} s", retry_after(self._mean * self.waiting)
        )

    def _withdraw(self, job: ExtractionJob, error: Exception) -> None:
        with self._changed:
            if not job.done.is_set():
                self._end(job, error)

    def _end(self, job: ExtractionJob, error: Exception) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            _DEPTH.set(len(self._jobs))
        if not job.done.is_set():
            job.error = error
            job.done.set()


def too_slow(seconds: float) -> EngineTimeoutError:
    """What a client is told of a request that took longer than ``seconds``."""
    return EngineTimeoutError(
        f"the extractor took more than {seconds:g} s: a shorter text or a smaller schema takes less"
    )
