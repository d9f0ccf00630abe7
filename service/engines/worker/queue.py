"""The requests in front of one engine: bounded by time, in a fair order, and only while their clients wait."""

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

from service.admission import client, deadline
from service.admission.errors import ClientGoneError, DeadlineError, EngineTimeoutError
from service.admission.fair_order import FairOrder, rank_of
from service.admission.gate import OverloadedError, end_turn, retry_after
from service.engines.interface import EngineKind, EngineUnavailableError
from service.monitoring import metrics

_CLIENT_CHECK = 0.25  # seconds between two checks whether the client is still there


class Job(ABC):
    """One request of the client that asks in this thread, and its outcome."""

    def __init__(self) -> None:
        self.client = client.current()
        self.arrived = time.monotonic()
        self.ends = self.arrived + deadline.at_most(math.inf)  # the prediction's deadline
        self.started: float | None = None  # when the engine got the first part of it
        self.error: Exception | None = None
        self.done = threading.Event()

    @property
    @abstractmethod
    def waiting_work(self) -> float:
        """The work that no batch has taken, in the unit of the queue's rate."""


JobT = TypeVar("JobT", bound=Job)
BatchT = TypeVar("BatchT")


class RequestQueue(ABC, Generic[JobT, BatchT]):
    """Requests ``submit`` a job and wait. The engine's threads take batches out of the queue (``wait``, ``take``) and
    report each as computed, in a method of the subclass, or as failed (``fail``)."""

    # A job is refused at once if it is expected to wait longer than this share of the longest wait.
    accepted_share = 1.0

    def __init__(
        self, kind: EngineKind, wait: float, seconds: float = math.inf, rate: float = 0.0, lanes: int = 1
    ) -> None:
        """``wait``: seconds after which a job that the engine has not begun is refused. ``seconds``: the longest that
        the engine may take for a job it has begun. ``lanes``: batches that are computed at once, each at about
        ``rate``: the work a second from which waits are estimated until batches have been measured; 0: unknown."""
        self._kind = kind
        self._wait = wait
        self._seconds = seconds
        self._rate = rate
        self._lanes = lanes
        self._order: FairOrder[JobT] = FairOrder()
        self._computing = 0.0  # work in the batches that the engine has
        self._changed = threading.Condition()
        # Looked up once: a lookup by label takes a lock.
        self._depth = metrics.QUEUE_DEPTH.labels(kind)
        self._wait_seconds = metrics.QUEUE_WAIT.labels(kind)
        # Why nothing is computed now, or None.
        self.failure: EngineUnavailableError | None = None

    @property
    def waiting(self) -> int:
        """Jobs that wait now."""
        return len(self._order)

    @property
    def waiting_work(self) -> float:
        """The work that waits now."""
        return sum(job.waiting_work for job in self._order)

    @property
    def computing(self) -> float:
        """The work in the batches that the engine has."""
        return self._computing

    @property
    def rate(self) -> float:
        """Work per second of the last batches; 0 if none has been measured."""
        return self._rate

    def submit_job(self, job: JobT) -> None:
        """Wait until the job is computed.

        Raises:
            OverloadedError: it could not be begun in time. ClientGoneError: its client left. EngineTimeoutError: it
            took too long, or the prediction's time is over. EngineUnavailableError: the engine was lost with it, failed
            on it, or did not come back in time.
        """
        if job.client.is_gone():
            raise ClientGoneError
        with self._changed:
            rank = rank_of(job.arrived, self._duration(job.waiting_work), self._wait / 2)
            self._require_room(job.client.name, rank)
            self._order.add(job, job.client.name, rank)
            self._depth.set(len(self._order))
            self._changed.notify_all()
        end_turn()
        while not job.done.wait(min(_CLIENT_CHECK, max(0.001, self._left(job)))):
            error = self._reason_to_give_up(job)
            if error is not None:
                self._withdraw(job, error)
        if job.error is not None:
            raise job.error

    def require_room(self, name: str) -> None:
        """Check that even the shortest request of the client of this name would begin in time.

        Raises:
            OverloadedError: it would not.
        """
        with self._changed:
            self._require_room(name, time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Whether a job waits, after at most ``seconds``."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(len(self._order)), seconds)

    def take(self) -> BatchT | None:
        """The next batch, or None if no job waits any more."""
        with self._changed:
            if not len(self._order):
                return None
            batch = self._take()
            self._computing += self._work_of(batch)
            self._depth.set(len(self._order))
            return batch

    def fail(self, batch: BatchT, error: Exception) -> None:
        """The batch is lost: its jobs fail, including those of their parts that no batch has taken."""
        with self._changed:
            self._computing -= self._work_of(batch)
            for job in self._jobs_of(batch):
                self._remove(job, error)

    @abstractmethod
    def _take(self) -> BatchT:
        """Remove the next batch from the queue, which is not empty. Called under the lock, as all below."""

    @abstractmethod
    def _work_of(self, batch: BatchT) -> float:
        """The work of a batch."""

    @abstractmethod
    def _jobs_of(self, batch: BatchT) -> Iterable[JobT]:
        """The jobs of a batch, each once."""

    def _too_slow(self) -> EngineTimeoutError:
        """The error of a job for which the engine took longer than it may."""
        return EngineTimeoutError(f"the {self._kind} took more than {self._seconds:g} s")

    def _require_room(self, name: str, rank: float) -> None:
        if not len(self._order):
            return
        ahead = self._order.ahead(name, rank, lambda job: job.waiting_work)
        expected = self._duration(self._computing + ahead)
        accepted = self.accepted_share * self._wait
        if expected > accepted:
            raise OverloadedError(
                f"{len(self._order)} requests wait for the {self._kind}, this one would for about {expected:.0f} s",
                # Not ``expected - accepted``: the room that is free by then goes to whoever comes first.
                retry_after(expected),
            )

    def _duration(self, work: float) -> float:
        """Seconds that the engine takes for so much work."""
        return work / (self._rate * self._lanes) if self._rate else 0.0

    def _start(self, job: JobT) -> None:
        """The engine gets the first part of ``job``."""
        job.started = time.monotonic()
        self._wait_seconds.observe(job.started - job.arrived)

    def _computed(self, batch: BatchT, seconds: float, weight: float) -> None:
        """The batch was computed in ``seconds``; ``weight``: of its rate in the mean."""
        work = self._work_of(batch)
        self._computing -= work
        self._rate += (weight if self._rate else 1.0) * (work / max(seconds, 1e-6) - self._rate)

    def _left(self, job: JobT) -> float:
        """Seconds until the job has to be given up."""
        latest = job.arrived + self._wait if job.started is None else job.started + self._seconds
        return min(latest, job.ends) - time.monotonic()

    def _reason_to_give_up(self, job: JobT) -> Exception | None:
        if job.client.is_gone():
            return ClientGoneError()
        if self._left(job) > 0:
            return None
        if time.monotonic() >= job.ends:
            return DeadlineError()
        if job.started is not None:
            return self._too_slow()
        if self.failure is not None:
            return self.failure
        return OverloadedError(
            f"the {self._kind} began no further request within {self._wait:g} s",
            retry_after(self._duration(self._computing + self.waiting_work)),
        )

    def _withdraw(self, job: JobT, error: Exception) -> None:
        with self._changed:
            self._remove(job, error)

    def _remove(self, job: JobT, error: Exception) -> None:
        if job in self._order:
            self._order.remove(job)
            self._depth.set(len(self._order))
        if not job.done.is_set():
            job.error = error
            job.done.set()
