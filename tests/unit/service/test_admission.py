"""The gate in front of the engines."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.admission.gate import Admission, OverloadedError


def occupy(gate: Admission, pool: ThreadPoolExecutor, until: threading.Event) -> None:
    """Take one place in a thread of ``pool`` and hold it."""
    inside = threading.Event()

    def hold() -> None:
        with gate.admit():
            inside.set()
            until.wait(10)

    pool.submit(hold)
    assert inside.wait(10)


def wait_for_waiting(gate: Admission, count: int) -> None:
    """Until ``count`` wait at the gate."""
    tick = threading.Event()
    for _ in range(1000):
        if gate.waiting == count:
            return
        tick.wait(0.01)
    pytest.fail(f"{gate.waiting} wait, not {count}")


def test_beyond_the_queue_the_refusal_comes_at_once() -> None:
    gate = Admission(concurrent=1, queue=0, wait=60)
    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        occupy(gate, pool, done)
        with pytest.raises(OverloadedError) as refusal, gate.admit():
            pytest.fail("there was no place")
        assert refusal.value.retry_after >= 1
        assert gate.inside == gate.capacity == 1
        done.set()
    assert gate.inside == 0


def test_who_waits_too_long_is_refused_and_gives_the_place_in_the_queue_back() -> None:
    gate = Admission(concurrent=1, queue=1, wait=0.01)
    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        occupy(gate, pool, done)
        for _ in range(3):
            with pytest.raises(OverloadedError, match="within"), gate.admit():
                pytest.fail("there was no place")
        assert gate.waiting == 0
        done.set()


def test_those_who_wait_are_served_in_order() -> None:
    gate = Admission(concurrent=1, queue=5, wait=10)
    done = threading.Event()
    served: list[int] = []

    def serve(number: int) -> None:
        with gate.admit():
            served.append(number)

    with ThreadPoolExecutor(8) as pool:
        occupy(gate, pool, done)
        for number in range(5):
            pool.submit(serve, number)
            wait_for_waiting(gate, number + 1)
        done.set()
    assert served == [0, 1, 2, 3, 4]


def test_an_error_inside_frees_the_place() -> None:
    gate = Admission(concurrent=1, queue=0, wait=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.admit():
            raise ZeroDivisionError
    assert gate.inside == 0


def test_never_more_inside_than_allowed() -> None:
    gate = Admission(concurrent=3, queue=100, wait=10)
    lock = threading.Lock()
    inside = most = 0

    def work(_: int) -> None:
        nonlocal inside, most
        with gate.admit():
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(500)))
    assert 1 <= most <= 3
    assert gate.inside == 0
