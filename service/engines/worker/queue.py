"""The requests in front of one engine: bounded by time, in the order of arrival, and only while their clients wait."""

import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from service.admission import deadline
from service.admission.errors import EngineTimeoutError
from service.admission.gate import OverloadedError, retry_after
from service.engines.interface import ClientGoneError, EngineKind, EngineUnavailableError
from service.monitoring import metrics

_CLIENT_CHECK = 0.25  # seconds between two checks whether the client is still there


class Job:
    """One request, and its outcome."""

    def __init__(self) -> None:
        self.arrived = time.monotonic()
        self.ends = self.arrived + deadline.at_most(math.inf)  # the prediction's deadline
        self.started: float | None = None  # when the engine got the first part of it
        self.error: Exception | None = None
        self.done = threading.Event()


JobT = TypeVar("JobT", bound=Job)
BatchT = TypeVar("BatchT")


class RequestQueue(ABC, Generic[JobT, BatchT]):
    """Requests ``submit`` a job and wait. The engine's thread takes batches out of the queue (``wait``, ``take``) and
    reports each as computed, in a method of the subclass, or as failed (``fail``)."""

    # A job is refused at once if it is expected to wait longer than this share of the longest wait.
    accepted_share = 1.0

    def __init__(self, kind: EngineKind, wait: float, seconds: float = math.inf) -> None:
        """``wait``: seconds after which a job that the engine has not begun is refused. ``seconds``: the longest that
        the engine may take for a job it has begun."""
        self._kind = kind
        self._wait = wait
        self._seconds = seconds
        self._jobs: deque[JobT] = deque()
        self._changed = threading.Condition()
        # Looked up once: a lookup by label takes a lock.
        self._depth = metrics.QUEUE_DEPTH.labels(kind)
        self._wait_seconds = metrics.QUEUE_WAIT.labels(kind)
        # Why nothing is computed now, or None.
        self.failure: EngineUnavailableError | None = None

    @property
    def waiting(self) -> int:
        """Jobs that wait now."""
        return len(self._jobs)

    def submit_job(self, job: JobT, client_is_gone: Callable[[], bool]) -> None:
        """Wait until the job is computed.

        Raises:
            OverloadedError: it could not be begun in time. ClientGoneError: ``client_is_gone`` returned true.
            EngineTimeoutError: it took too long, or the prediction's time is over. EngineUnavailableError: the engine
            was lost with it, failed on it, or did not come back in time.
        """
        if client_is_gone():
            raise ClientGoneError
        with self._changed:
            expected = self._seconds_ahead()
            accepted = self.accepted_share * self._wait
            if self._jobs and expected > accepted:
                raise OverloadedError(
                    f"{len(self._jobs)} requests wait for the {self._kind}, about {expected:.0f} s",
                    retry_after(expected - accepted),
                )
            self._jobs.append(job)
            self._depth.set(len(self._jobs))
            self._changed.notify_all()
        while not job.done.wait(min(_CLIENT_CHECK, max(0.001, self._left(job)))):
            error = self._reason_to_give_up(job, client_is_gone)
            if error is not None:
                self._withdraw(job, error)
        if job.error is not None:
            raise job.error

    def wait(self, seconds: float) -> bool:
        """Whether a job waits, after at most ``seconds``."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._jobs), seconds)

    def take(self) -> BatchT | None:
        """The next batch, or None if no job waits any more."""
        with self._changed:
            if not self._jobs:
                return None
            batch = self._take()
            self._depth.set(len(self._jobs))
            return batch

    def fail(self, batch: BatchT, error: Exception) -> None:
        """The batch is lost: its jobs fail, including those of their parts that no batch has taken."""
        with self._changed:
            self._release()
            for job in self._jobs_of(batch):
                self._remove(job, error)

    @abstractmethod
    def _seconds_ahead(self) -> float:
        """Seconds that a job that arrives now is expected to wait. Called under the lock, as all below."""

    @abstractmethod
    def _take(self) -> BatchT:
        """Remove the next batch from the queue, which is not empty."""

    @abstractmethod
    def _jobs_of(self, batch: BatchT) -> Iterable[JobT]:
        """The jobs of a batch, each once."""

    @abstractmethod
    def _release(self) -> None:
        """The engine no longer holds a batch."""

    def _too_slow(self) -> EngineTimeoutError:
        """The error of a job for which the engine took longer than it may."""
        return EngineTimeoutError(f"the {self._kind} took more than {self._seconds:g} s")

    def _start(self, job: JobT) -> None:
        """The engine gets the first part of ``job``."""
        job.started = time.monotonic()
        self._wait_seconds.observe(job.started - job.arrived)

    def _left(self, job: JobT) -> float:
        """Seconds until the job has to be given up."""
        latest = job.arrived + self._wait if job.started is None else job.started + self._seconds
        return min(latest, job.ends) - time.monotonic()

    def _reason_to_give_up(self, job: JobT, client_is_gone: Callable[[], bool]) -> Exception | None:
        if client_is_gone():
            return ClientGoneError()
        if self._left(job) > 0:
            return None
        if time.monotonic() >= job.ends:
            return EngineTimeoutError("the time of this prediction is over")
        if job.started is not None:
            return self._too_slow()
        if self.failure is not None:
            return self.failure
        return OverloadedError(
            f"the {self._kind} began no further request within {self._wait:g} s",
            retry_after(self._seconds_ahead()),
        )

    def _withdraw(self, job: JobT, error: Exception) -> None:
        with self._changed:
            self._remove(job, error)

    def _remove(self, job: JobT, error: Exception) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            self._depth.set(len(self._jobs))
        if not job.done.is_set():
            job.error = error
            job.done.set()
