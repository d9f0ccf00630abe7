"""What waits for the engine: texts of many requests, bounded, taken out by turns and by tokens."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from service.admission import deadline
from service.admission.errors import EngineTimeoutError
from service.admission.gate import OverloadedError, retry_after
from service.engines.gte.protocol import Vectors
from service.engines.gte.tokens import Tokens
from service.engines.interface import ClientGoneError, EngineUnavailableError
from service.monitoring import metrics

# Looked up once: a lookup by label takes a lock.
_DEPTH = metrics.QUEUE_DEPTH.labels("encoder")
_WAIT = metrics.QUEUE_WAIT.labels("encoder")
_TEXTS = metrics.BATCH_SIZE.labels("encoder")
_SECONDS = metrics.BATCH_SECONDS.labels("encoder")
_TOKENS = metrics.TOKENS.labels("encoder")

# Of the longest wait, what may be expected of a request that is taken: the engine may become slower meanwhile, and a
# refusal after the whole wait is the worst of both.
_EXPECTED = 0.75
_LOOK = 0.25  # seconds between two looks whether the client is still there


class EncodingJob:
    """The texts of one request, and what has become of them."""

    def __init__(self, sequences: Sequence[Tokens]) -> None:
        self.sequences = sequences
        self.tokens = sum(map(len, sequences))
        self.vectors: list[Vectors | None] = [None] * len(sequences)
        self.missing = len(sequences)
        self.next = 0  # the first sequence that no batch has taken
        self.arrived = time.monotonic()
        self.started: float | None = None  # when the first batch took one
        self.error: Exception | None = None
        self.done = threading.Event()

    @property
    def waiting_tokens(self) -> int:
        """Tokens that no batch has taken."""
        return sum(map(len, self.sequences[self.next :]))


class Queue:
    """Jobs in front of one engine. Requests ``submit`` and wait; the dispatcher ``take``s batches and says what
    became of them with ``complete`` or ``fail``."""

    def __init__(self, wait: float, batch_tokens: int, tokens_per_second: float) -> None:
        """``wait``: seconds after which a job that no batch has begun is refused; one that is expected to wait for
        three quarters of it, at the rate of the last batches, is refused at once. ``batch_tokens``: the size of a
        batch."""
        self._wait = wait
        self._batch_tokens = batch_tokens
        self._rate = tokens_per_second
        self._jobs: deque[EncodingJob] = deque()
        self._queued = 0  # tokens of the jobs that no batch has taken
        self._held = 0  # tokens in the batch that the engine has
        self._changed = threading.Condition()

    @property
    def rate(self) -> float:
        """Tokens per second of the last batches."""
        return self._rate

    @property
    def waiting(self) -> tuple[int, int]:
        """Jobs and tokens that wait now."""
        return len(self._jobs), self._queued

    def submit(self, sequences: Sequence[Tokens], client_is_gone: Callable[[], bool]) -> list[Vectors]:
        """The vectors of the sequences, once they are computed.

        Raises:
            OverloadedError: there is more in the queue than can be begun in time, or it was not begun in time.
            ClientGoneError: ``client_is_gone`` said so before its turn came. EngineTimeoutError: the prediction's time
            was over. EngineUnavailableError: the engine was lost, or failed, with one of the sequences.
        """
        job = EncodingJob(sequences)
        with self._changed:
            seconds = (self._queued + self._held) / self._rate
            if seconds > _EXPECTED * self._wait and self._jobs:
                raise OverloadedError(
                    f"{len(self._jobs)} requests with {self._queued} tokens are waiting, about {seconds:.0f} s",
                    retry_after(seconds - _EXPECTED * self._wait),
                )
            self._jobs.append(job)
            self._queued += job.tokens
            _DEPTH.set(len(self._jobs))
            self._changed.notify()
        while not job.done.wait(_LOOK):
            if client_is_gone():
                self._withdraw(job, ClientGoneError())
            elif job.started is None and time.monotonic() - job.arrived > self._wait:
                self._withdraw(
                    job,
                    OverloadedError(
                        f"no batch had room within {self._wait:g} s", retry_after(self._queued / self._rate)
                    ),
                )
            elif deadline.remaining() == 0.0:
                self._withdraw(job, EngineTimeoutError("the time of this prediction is over"))
        if job.error is not None:
            raise job.error
        return [vector for vector in job.vectors if vector is not None]

    def take(self) -> list[tuple[EncodingJob, int]]:
        """The next batch, as jobs and places in them; waits until there is one.

        Each job in turn gives one sequence, in the order of arrival, until the tokens suffice: so a request with many
        texts does not hold up those with one. What is there is taken: a batch never waits for company.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._jobs))
            batch: list[tuple[EncodingJob, int]] = []
            tokens = 0
            while self._jobs:
                job = self._jobs[0]
                size = len(job.sequences[job.next])
                if batch and tokens + size > self._batch_tokens:
                    break
                self._jobs.popleft()
                if job.started is None:
                    job.started = time.monotonic()
                    _WAIT.observe(job.started - job.arrived)
                batch.append((job, job.next))
                job.next += 1
                tokens += size
                if job.next < len(job.sequences):
                    self._jobs.append(job)
            self._queued -= tokens
            self._held = tokens
            _DEPTH.set(len(self._jobs))
            return batch

    def complete(self, batch: Sequence[tuple[EncodingJob, int]], vectors: Vectors, seconds: float) -> None:
        """The batch has been computed within ``seconds``; ``vectors`` has a row for each of its sequences."""
        with self._changed:
            tokens, self._held = self._held, 0
            _TEXTS.observe(len(batch))
            _SECONDS.observe(seconds)
            _TOKENS.inc(tokens)
            # A long batch says more about the rate than a short one.
            weight = min(0.3, tokens / (4 * self._batch_tokens))
            self._rate += weight * (tokens / max(seconds, 1e-6) - self._rate)
            for (job, place), vector in zip(batch, vectors, strict=True):
                job.vectors[place] = vector
                job.missing -= 1
                if job.missing == 0:
                    job.done.set()

    def fail(self, batch: Sequence[tuple[EncodingJob, int]], detail: str) -> None:
        """The batch is lost: its jobs fail, also with what no batch has taken of them."""
        with self._changed:
            self._held = 0
            for job in {id(job): job for job, _ in batch}.values():
                self._remove(job, EngineUnavailableError("encoder", "loading", detail))

    def _withdraw(self, job: EncodingJob, error: Exception) -> None:
        with self._changed:
            if not job.done.is_set():
                self._remove(job, error)

    def _remove(self, job: EncodingJob, error: Exception) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            self._queued -= job.waiting_tokens
            _DEPTH.set(len(self._jobs))
        job.error = error
        job.done.set()
