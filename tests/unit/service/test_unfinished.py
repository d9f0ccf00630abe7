"""A request that is repeated goes on where the one before failed."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy
import pytest

from service.admission import client, deadline
from service.admission.client import Client
from service.admission.errors import DeadlineError
from service.engines.worker.text_queue import TextQueue
from service.engines.worker.unfinished import UnfinishedVectors


@dataclass(frozen=True)
class Text:
    text: str

    def __len__(self) -> int:
        return len(self.text)


class SlowEngine:
    """Computes one text after the other, so many a request; what it computed stands in ``computed``."""

    def __init__(self) -> None:
        self.queue: TextQueue[Text] = TextQueue(30.0, 1, 1000.0, lambda text: text.text)
        self.computed: list[str] = []
        self.most = 0
        self._over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def ask(self, texts: list[str], seconds: float) -> list[float]:
        with client.asking(Client("a")), deadline.within(seconds):
            return [float(row[0]) for row in self.queue.submit([Text(text) for text in texts])]

    def _run(self) -> None:
        while True:
            if not self.queue.wait(0.01) or len(self.computed) >= self.most:
                time.sleep(0.001)
                continue
            batch = self.queue.take()
            if batch is not None:
                (text,) = (job.texts[index].text for job, index in batch)
                self.computed.append(text)
                self.queue.complete(batch, [numpy.array([float(len(text))], numpy.float32)], 0.001)


def test_a_repeated_request_computes_only_what_the_first_had_not() -> None:
    engine = SlowEngine()
    texts = ["a", "bb", "ccc", "dddd"]
    engine.most = 2
    with pytest.raises(DeadlineError):
        engine.ask(texts, 0.5)
    assert engine.computed == ["a", "bb"]
    # And one that fails again keeps what both have computed.
    engine.most = 3
    with pytest.raises(DeadlineError):
        engine.ask(texts, 0.5)
    engine.most = 100
    assert engine.ask(texts, 30.0) == [1.0, 2.0, 3.0, 4.0]
    assert engine.computed == texts
    # What was answered is not kept: memory is for requests that failed.
    assert len(engine.queue._unfinished) == 0
    assert engine.ask(["a"], 30.0) == [1.0]
    assert engine.computed == [*texts, "a"]


def test_what_was_under_way_when_the_request_failed_is_kept_too() -> None:
    queue: TextQueue[Text] = TextQueue(30.0, 1, 1000.0, lambda text: text.text)

    def ask(seconds: float) -> int:
        with client.asking(Client("a")), deadline.within(seconds):
            return len(queue.submit([Text("a")]))

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, 0.2)
        assert queue.wait(30.0)
        batch = queue.take()
        assert batch is not None
        assert isinstance(first.exception(30.0), DeadlineError)
        queue.complete(batch, [numpy.zeros(1, numpy.float32)], 0.2)
    assert ask(30.0) == 1
    assert queue.waiting == 0


def test_the_oldest_are_dropped_when_there_are_too_many_and_all_after_ten_minutes() -> None:
    now = 0.0
    kept = UnfinishedVectors(most=2, now=lambda: now)
    row = numpy.zeros(1, numpy.float32)
    kept.keep([("a", row), ("b", row), ("c", row), ("d", None)])
    assert [one is not None for one in kept.take(["a", "b", "d"])] == [False, True, False]
    now = 601.0
    assert kept.take(["x"]) == [None]
    assert len(kept) == 0, "what is too old is dropped, not only not given"
    kept.keep([("e", row)])
    now = 1300.0
    kept.keep([("f", row)])
    assert len(kept) == 1


def test_a_kept_vector_does_not_keep_its_whole_batch() -> None:
    kept = UnfinishedVectors()
    batch = numpy.zeros((64, 1024), numpy.float32)
    kept.keep([("a", batch[3])])
    (vector,) = kept.take(["a"])
    assert vector is not None
    assert vector.base is None
