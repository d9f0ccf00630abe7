"""The texts that wait for the GTE engine: batched by tokens, one text of each request in turn."""

from collections.abc import Callable, Iterable, Sequence

from service.engines.gte.protocol import Vectors
from service.engines.gte.tokens import Tokens
from service.engines.interface import EngineKind
from service.engines.worker.queue import Job, RequestQueue
from service.monitoring import metrics

# Looked up once: a lookup by label takes a lock.
_TEXTS = metrics.BATCH_SIZE.labels(EngineKind.ENCODER)
_TOKENS = metrics.TOKENS.labels(EngineKind.ENCODER)


class EncodingJob(Job):
    """The texts of one request."""

    def __init__(self, sequences: Sequence[Tokens]) -> None:
        super().__init__()
        self.sequences = sequences
        self.waiting_tokens = sum(map(len, sequences))  # that no batch has taken
        self.vectors: list[Vectors | None] = [None] * len(sequences)
        self.missing = len(sequences)
        self.next = 0  # the first sequence that no batch has taken


# Jobs, and for each the index of one of its sequences.
Batch = list[tuple[EncodingJob, int]]


class TokenQueue(RequestQueue[EncodingJob, Batch]):
    """Requests ``submit``; the engine's thread takes batches and calls ``complete`` or ``fail``."""

    # The engine may become slower while a job waits, and a refusal after the whole wait is the worst of both.
    accepted_share = 0.75

    def __init__(self, wait: float, batch_tokens: int, tokens_per_second: float) -> None:
        """``wait``: see ``RequestQueue``. ``batch_tokens``: the size of a batch. ``tokens_per_second``: the rate from
        which the queue estimates waits until batches have been measured."""
        super().__init__(EngineKind.ENCODER, wait)
        self._batch_tokens = batch_tokens
        self._rate = tokens_per_second
        self._computing = 0  # tokens in the batch that the engine has

    @property
    def rate(self) -> float:
        """Tokens per second of the last batches."""
        return self._rate

    @property
    def waiting_tokens(self) -> int:
        """Tokens that wait now."""
        return sum(job.waiting_tokens for job in self._jobs)

    def submit(self, sequences: Sequence[Tokens], client_is_gone: Callable[[], bool]) -> list[Vectors]:
        """The vectors of the sequences, once they are computed.

        Raises:
            OverloadedError, ClientGoneError, EngineTimeoutError, EngineUnavailableError: see ``submit_job``.
        """
        job = EncodingJob(sequences)
        self.submit_job(job, client_is_gone)
        return [vector for vector in job.vectors if vector is not None]

    def complete(self, batch: Batch, vectors: Vectors, seconds: float) -> None:
        """The engine has computed the batch in ``seconds``; ``vectors`` has one row for each of its sequences."""
        with self._changed:
            tokens = self._computing
            self._release()
            _TEXTS.observe(len(batch))
            _TOKENS.inc(tokens)
            # A long batch says more about the rate than a short one.
            weight = min(0.3, tokens / (4 * self._batch_tokens))
            self._rate += weight * (tokens / max(seconds, 1e-6) - self._rate)
            for (job, index), vector in zip(batch, vectors, strict=True):
                job.vectors[index] = vector
                job.missing -= 1
                if job.missing == 0:
                    job.done.set()

    def _seconds_ahead(self) -> float:
        return (self.waiting_tokens + self._computing) / self._rate

    def _take(self) -> Batch:
        """Each job in turn gives one sequence, in the order of arrival, until the batch is full: a request with many
        texts does not hold up those with one. A batch takes what is there and never waits for more."""
        batch: Batch = []
        tokens = 0
        while self._jobs:
            job = self._jobs[0]
            size = len(job.sequences[job.next])
            if batch and tokens + size > self._batch_tokens:
                break
            self._jobs.popleft()
            if job.started is None:
                self._start(job)
            batch.append((job, job.next))
            job.next += 1
            job.waiting_tokens -= size
            tokens += size
            if job.next < len(job.sequences):
                self._jobs.append(job)
        self._computing = tokens
        return batch

    def _jobs_of(self, batch: Batch) -> Iterable[EncodingJob]:
        return {id(job): job for job, _ in batch}.values()

    def _release(self) -> None:
        self._computing = 0
