"""The texts that wait for an encoder: batched by tokens, each text taken in the fair order."""

from collections.abc import Callable, Hashable, Iterable, Sequence, Sized
from typing import Generic, TypeVar

from service.engines.interface import EngineKind
from service.engines.vectors import Vectors
from service.engines.worker.queue import Job, RequestQueue
from service.engines.worker.unfinished import UnfinishedVectors
from service.monitoring import metrics

# Looked up once: a lookup by label takes a lock.
_TEXTS = metrics.BATCH_SIZE.labels(EngineKind.ENCODER)
_TOKENS = metrics.TOKENS.labels(EngineKind.ENCODER)

# A text as the engine takes it; its length is in tokens.
TextT = TypeVar("TextT", bound=Sized)


class EncodingJob(Job, Generic[TextT]):
    """The texts of one request."""

    def __init__(self, texts: Sequence[TextT]) -> None:
        super().__init__()
        self.texts = texts
        self.waiting_tokens = sum(map(len, texts))  # that no batch has taken
        self.vectors: list[Vectors | None] = [None] * len(texts)
        self.missing = len(texts)
        self.next = 0  # the first text that no batch has taken

    @property
    def waiting_work(self) -> float:
        """See ``Job``: tokens."""
        return self.waiting_tokens


# Jobs, and for each the index of one of its texts.
Batch = list[tuple[EncodingJob[TextT], int]]


class TextQueue(RequestQueue[EncodingJob[TextT], Batch[TextT]]):
    """Requests ``submit``; the engine's threads take batches and call ``complete`` or ``fail``."""

    # The engine may become slower while a job waits, and a refusal after the whole wait is the worst of both.
    accepted_share = 0.75

    def __init__(
        self,
        wait: float,
        batch_tokens: int,
        tokens_per_second: float,
        key_of: Callable[[TextT], Hashable],
        lanes: int = 1,
    ) -> None:
        """``wait``, ``lanes``: see ``RequestQueue``. ``batch_tokens``: the size of a batch; 1: one text each.
        ``tokens_per_second``: the rate of a lane from which waits are estimated until batches have been measured.
        ``key_of``: what texts with the same vector have in common."""
        super().__init__(EngineKind.ENCODER, wait, rate=tokens_per_second, lanes=lanes)
        self._batch_tokens = batch_tokens
        self._key_of = key_of
        self._unfinished = UnfinishedVectors()

    def submit(self, texts: Sequence[TextT]) -> list[Vectors]:
        """The vectors of the texts, once they are computed. What a request has got when it fails is not computed again
        for the one that repeats it.

        Raises:
            OverloadedError, ClientGoneError, EngineTimeoutError, EngineUnavailableError: see ``submit_job``.
        """
        keys = [self._key_of(text) for text in texts]
        vectors = self._unfinished.take(keys)
        missing = [index for index, vector in enumerate(vectors) if vector is None]
        job = EncodingJob([texts[index] for index in missing])
        try:
            if missing:
                self.submit_job(job)
        except BaseException:
            self._unfinished.keep(zip(keys, vectors, strict=True))
            self._unfinished.keep((keys[index], row) for index, row in zip(missing, job.vectors, strict=True))
            raise
        for index, row in zip(missing, job.vectors, strict=True):
            vectors[index] = row
        return [vector for vector in vectors if vector is not None]

    def complete(self, batch: Batch[TextT], vectors: Sequence[Vectors], seconds: float) -> None:
        """The engine has computed the batch in ``seconds``; ``vectors`` has one row for each of its texts."""
        with self._changed:
            tokens = self._work_of(batch)
            _TEXTS.observe(len(batch))
            _TOKENS.inc(tokens)
            # A long batch says more about the rate than a short one.
            self._computed(batch, seconds, min(0.3, tokens / (4 * max(self._batch_tokens, 64))))
            for (job, index), vector in zip(batch, vectors, strict=True):
                job.vectors[index] = vector
                job.missing -= 1
                if job.error is not None:  # it failed while this was computed
                    self._unfinished.keep([(self._key_of(job.texts[index]), vector)])
                if job.missing == 0:
                    job.done.set()

    def _take(self) -> Batch[TextT]:
        """One text after the other in the fair order, until the batch is full. A batch takes what is there and never
        waits for more."""
        batch: Batch[TextT] = []
        tokens = 0
        while len(self._order):
            job = self._order.first()
            size = len(job.texts[job.next])
            if batch and tokens + size > self._batch_tokens:
                break
            if job.started is None:
                self._start(job)
            self._order.charge(job, size)
            batch.append((job, job.next))
            job.next += 1
            job.waiting_tokens -= size
            tokens += size
            if job.next == len(job.texts):
                self._order.remove(job)
        return batch

    def _work_of(self, batch: Batch[TextT]) -> int:
        return sum(len(job.texts[index]) for job, index in batch)

    def _jobs_of(self, batch: Batch[TextT]) -> Iterable[EncodingJob[TextT]]:
        return {id(job): job for job, _ in batch}.values()
