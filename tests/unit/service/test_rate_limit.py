"""The rate limit of each client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission import rate_limit
from service.admission.rate_limit import RateLimit


class Clock:
    """A clock that is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_burst_and_one_more_are_taken_at_once_then_one_after_each_interval() -> None:
    clock = Clock()
    limit = RateLimit(1.0, 3, clock)
    assert [limit.take("a") for _ in range(6)] == [None, None, None, None, 1, 1]
    clock.now += 1.0
    assert [limit.take("a") for _ in range(2)] == [None, 1]
    clock.now += 100.0
    assert [limit.take("a") for _ in range(5)] == [None, None, None, None, 1]


def test_each_client_has_a_limit_of_its_own() -> None:
    limit = RateLimit(1 / 60, 0, Clock())
    assert limit.take("a") is None
    assert limit.take("a") == 60
    assert limit.take("b") is None


def test_a_look_counts_nothing() -> None:
    limit = RateLimit(1.0, 0, Clock())
    assert [limit.excess("a") for _ in range(5)] == [None] * 5
    limit.take("a")
    assert limit.excess("a") == 1


def test_what_is_given_back_was_never_counted() -> None:
    clock = Clock()
    limit = RateLimit(1.0, 1, clock)
    for _ in range(5):
        assert limit.take("a") is None
        limit.give_back("a")
    assert limit._even == {}
    assert [limit.take("a") for _ in range(2)] == [None, None]
    limit.give_back("a")
    assert [limit.take("a") for _ in range(2)] == [None, 1]
    # Of a client that was forgotten meanwhile, nothing.
    limit.give_back("b")
    assert [limit.take("b") for _ in range(3)] == [None, None, 1]


def test_many_clients_are_forgotten_but_not_the_one_that_asks_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_MOST_CLIENTS", 100)
    limit = RateLimit(1.0, 5, Clock())
    for _ in range(6):
        limit.take("greedy")
    for number in range(1000):
        limit.take(f"{number}")
    assert limit.take("greedy") == 1
    assert len(limit._even) <= 100


@given(
    st.integers(1, 50),
    st.integers(0, 20),
    st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=60),
)
def test_in_no_window_is_more_taken_than_the_rate_and_the_burst(
    rate: int, burst: int, pauses: list[float]
) -> None:
    clock = Clock()
    limit = RateLimit(float(rate), burst, clock)
    taken = []
    for pause in pauses:
        clock.now += pause
        wait = limit.take("a")
        if wait is None:
            taken.append(clock.now)
        else:
            assert wait >= 1
            # Whoever follows Retry-After is taken.
            clock.now += wait
            assert limit.take("a") is None
            taken.append(clock.now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + 1 + (taken[last] - taken[first]) * rate + 1e-6
