"""The simulation of benchmarks/: its queue against the formula, its balancer against nginx's rules."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.fleet_simulation import (
    CONNECT_TIMEOUT,
    FAIL_TIMEOUT,
    Failure,
    Outcome,
    Scenario,
    Simulation,
)


def run(**values: object) -> Outcome:
    defaults: dict[str, object] = {"hosts": 3, "rate": 5.0, "use": 0.5, "seconds": 300.0}
    return Simulation(Scenario(**(defaults | values))).run()  # type: ignore[arg-type]


def test_a_seed_makes_a_run_repeatable() -> None:
    assert run(failed=1).waits == run(failed=1).waits
    assert run(seed=1).waits != run(seed=2).waits


@pytest.mark.parametrize("use", [0.5, 0.7])
def test_one_host_waits_as_the_formula_of_m_m_1_says(use: float) -> None:
    """1 / (rate - arrivals), Kleinrock, Queueing Systems I, 3.2."""
    outcome = run(hosts=1, use=use, seconds=20_000.0)
    assert statistics.fmean(outcome.waits) == pytest.approx(1 / (5.0 * (1 - use)), rel=0.05)


def test_every_request_is_answered_or_lost() -> None:
    healthy, failing = run(seed=3), run(seed=3, failed=1)
    assert healthy.lost == 0
    assert healthy.detoured == 0
    assert failing.detoured > 0


def test_a_stopped_host_loses_only_what_it_had_and_delays_nobody() -> None:
    outcome = run(failed=1, failure=Failure.STOPPED, seed=5)
    met = 300.0 - 100.0
    assert outcome.lost < 10
    # One attempt in every fail_timeout.
    assert 1 <= outcome.detoured <= met / FAIL_TIMEOUT + 1


def test_a_host_that_is_cut_off_delays_those_that_meet_it_by_the_connect_timeout() -> None:
    outcome = run(failed=1, seed=5)
    delayed = [wait for wait in outcome.waits if wait > CONNECT_TIMEOUT]
    assert len(delayed) >= outcome.detoured
    # In each round of fail_timeout the requests of two seconds meet it, a third of them.
    rounds = 200.0 / (FAIL_TIMEOUT + CONNECT_TIMEOUT)
    assert outcome.detoured == pytest.approx(rounds * CONNECT_TIMEOUT * 7.5 / 3, rel=0.6)
