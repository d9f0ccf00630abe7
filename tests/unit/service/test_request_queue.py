"""The requests in front of an engine: in a fair order, for a bounded time, and only while their clients are there."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from service.admission import client, deadline
from service.admission.client import Client
from service.admission.errors import ClientGoneError, EngineTimeoutError
from service.admission.gate import OverloadedError, Places, Turns, arrived_with
from service.engines.interface import EngineKind, EngineUnavailableError, UnavailableReason
from service.engines.uninlu.queue import ExtractionQueue

PATIENCE = 30.0
LOST = EngineUnavailableError(EngineKind.EXTRACTOR, UnavailableReason.LOADING, "lost")


def ask(queue: ExtractionQueue, request: dict[str, Any], asker: Client = Client("a")) -> dict[str, Any]:  # noqa: B008
    with client.asking(asker):
        return queue.submit(request)


@pytest.fixture
def requests() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Waiting:
    """Requests of which the first has been taken, and the others wait in their order."""

    def __init__(
        self,
        queue: ExtractionQueue,
        requests: ThreadPoolExecutor,
        count: int,
        gone: Callable[[], bool] = bool,
    ) -> None:
        self.held = requests.submit(ask, queue, {"number": 0})
        assert queue.wait(PATIENCE)
        job = queue.take()
        assert job is not None
        self.job, self.seconds = job, queue.seconds_left(job)
        self.futures: list[Future[Any]] = []
        for number in range(1, count + 1):
            self.futures.append(requests.submit(ask, queue, {"number": number}, Client("a", gone)))
            until = time.monotonic() + PATIENCE
            while queue.waiting < number and time.monotonic() < until:
                time.sleep(0.001)


def test_each_gets_its_answer_in_the_order_of_arrival(requests: ThreadPoolExecutor) -> None:
    queue = ExtractionQueue(wait=PATIENCE, seconds=7)
    waiting = Waiting(queue, requests, 3)
    assert waiting.seconds == pytest.approx(7, abs=0.5)
    queue.complete(waiting.job, {"answer": 0})
    order = []
    while (job := queue.take()) is not None:
        order.append(job.request["number"])
        queue.complete(job, {"answer": job.request["number"]})
    assert order == [1, 2, 3]
    assert [one.result(PATIENCE)["answer"] for one in (waiting.held, *waiting.futures)] == [0, 1, 2, 3]


def test_the_loss_of_the_engine_costs_the_request_it_held_and_no_other(requests: ThreadPoolExecutor) -> None:
    queue = ExtractionQueue(wait=PATIENCE, seconds=PATIENCE)
    waiting = Waiting(queue, requests, 2)
    queue.failure = LOST
    queue.fail(waiting.job, LOST)
    assert waiting.held.exception(PATIENCE) is LOST
    assert queue.waiting == 2
    assert not any(one.done() for one in waiting.futures)
    while (job := queue.take()) is not None:
        queue.complete(job, {"answer": "there"})
    assert [one.result(PATIENCE)["answer"] for one in waiting.futures] == ["there"] * 2


def test_who_would_wait_too_long_is_refused_at_once(requests: ThreadPoolExecutor) -> None:
    """By the pace of the last requests; the one in the hands of the engine counts. It is told when all that is ahead
    of it should be done."""
    queue = ExtractionQueue(wait=20, seconds=PATIENCE)
    waiting = Waiting(queue, requests, 1)
    queue._rate = 0.08  # a character in 12.5 s
    began = time.monotonic()
    with pytest.raises(OverloadedError) as refused:
        ask(queue, {})
    assert time.monotonic() - began < 0.2
    assert refused.value.retry_after == 25
    queue.fail(waiting.job, LOST)
    job = queue.take()
    assert job is not None
    queue.fail(job, LOST)
    # Nobody waits now: whoever comes is next.
    assert requests.submit(ask, queue, {})
    assert queue.wait(PATIENCE)
    last = queue.take()
    assert last is not None
    queue.complete(last, {"answer": 1})


def test_who_was_not_taken_in_time_is_refused() -> None:
    queue = ExtractionQueue(wait=0.1, seconds=PATIENCE)
    with pytest.raises(OverloadedError) as refused:
        ask(queue, {})
    assert refused.value.retry_after >= 1
    assert queue.waiting == 0


def test_where_the_engine_did_not_come_back_in_time_the_refusal_says_so() -> None:
    queue = ExtractionQueue(wait=0.1, seconds=PATIENCE)
    queue.failure = LOST
    with pytest.raises(EngineUnavailableError) as refused:
        ask(queue, {})
    assert refused.value is LOST


def test_a_client_that_went_away_loses_its_place(requests: ThreadPoolExecutor) -> None:
    gone = threading.Event()
    queue = ExtractionQueue(wait=PATIENCE, seconds=PATIENCE)
    waiting = Waiting(queue, requests, 3, gone.is_set)
    gone.set()
    for one in waiting.futures:
        assert isinstance(one.exception(PATIENCE), ClientGoneError)
    assert queue.waiting == 0
    queue.fail(waiting.job, LOST)
    taken = requests.submit(lambda: queue.wait(0.5) and queue.take())
    with pytest.raises(ClientGoneError):
        ask(queue, {}, Client("a", gone.is_set))
    assert not taken.result(PATIENCE), "the engine got a request whose client was gone from the first"


def test_the_predictions_deadline_ends_the_wait_and_shortens_what_the_engine_gets(
    requests: ThreadPoolExecutor,
) -> None:
    queue = ExtractionQueue(wait=PATIENCE, seconds=PATIENCE)
    began = time.monotonic()
    with deadline.within(0.2), pytest.raises(EngineTimeoutError):
        ask(queue, {})
    assert time.monotonic() - began < 1.5

    def hurried() -> Any:
        with deadline.within(0.5):
            return ask(queue, {})

    held = requests.submit(hurried)
    assert queue.wait(PATIENCE)
    job = queue.take()
    assert job is not None
    assert queue.seconds_left(job) <= 0.5
    assert isinstance(held.exception(PATIENCE), EngineTimeoutError), "held by an engine that does not answer"


def test_who_was_taken_has_the_extractors_time_and_no_more(requests: ThreadPoolExecutor) -> None:
    queue = ExtractionQueue(wait=PATIENCE, seconds=0.2)
    waiting = Waiting(queue, requests, 0)
    late = waiting.held.exception(PATIENCE)
    assert isinstance(late, EngineTimeoutError)
    assert "0.2 s" in str(late)
    queue.complete(waiting.job, {"answer": "too late"})


def test_a_client_of_many_long_requests_waits_for_one_of_a_short_one(requests: ThreadPoolExecutor) -> None:
    queue = ExtractionQueue(wait=PATIENCE, seconds=PATIENCE)
    waiting = Waiting(queue, requests, 3)
    other = requests.submit(ask, queue, {"number": 9}, Client("b"))
    until = time.monotonic() + PATIENCE
    while queue.waiting < 4 and time.monotonic() < until:
        time.sleep(0.001)
    queue.complete(waiting.job, {"answer": 0})
    order = []
    while (job := queue.take()) is not None:
        order.append(job.request["number"])
        queue.complete(job, {"answer": 0})
    assert order[0] == 9
    assert other.result(PATIENCE) == {"answer": 0}


def test_who_waits_for_an_engine_lets_others_compute(requests: ThreadPoolExecutor) -> None:
    queue = ExtractionQueue(wait=PATIENCE, seconds=7)
    turns = Turns(1, wait=PATIENCE)

    def served() -> Any:
        with arrived_with(Places(1).take(Client("a")), turns, 100):
            return ask(queue, {})

    future = requests.submit(served)
    assert queue.wait(PATIENCE)
    turns.take(Client("b"), 100).end()
    job = queue.take()
    assert job is not None
    queue.complete(job, {"answer": 1})
    assert future.result(PATIENCE) == {"answer": 1}
